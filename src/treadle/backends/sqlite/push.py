"""Adding jobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from treadle.backends.common.ends import pushed_as
from treadle.backends.common.jobrow import Code, Facts, Flag, JobRow, encode, flags_of
from treadle.backends.common.lines import key_line, line_rank
from treadle.backends.common.pushing import check_queues, instant, repeated
from treadle.backends.sqlite.ends import dependency_of, fail_dependant, place, remove, tell
from treadle.backends.sqlite.lines import key_full, leave, set_key_slots
from treadle.backends.sqlite.tx import Surprise, Tx
from treadle.backends.sqlite.unique import hold, look
from treadle.queuenames import ancestors, covers
from treadle.records import NewJob, OnFailure, Pushed, PushStatus

__all__ = ["move_due", "push"]

_CREATED = Pushed(PushStatus.CREATED)
_FULL = Pushed(PushStatus.FULL)


def push(tx: Tx, jobs: Sequence[NewJob], *, follow_ups: bool = False) -> list[Pushed]:
    """Add jobs, in order; follow-ups ignore bounds."""
    check_queues(jobs)
    return _Push(tx, jobs, follow_ups=follow_ups).carry_out()


class _Push:
    """One push: jobs with nothing in the way are collected and inserted together."""

    def __init__(self, tx: Tx, jobs: Sequence[NewJob], *, follow_ups: bool) -> None:
        self.tx = tx
        self.jobs = jobs
        self.follow_ups = follow_ups
        self.first = tx.numbers(len(jobs))
        self.rows: list[Any] = []
        self.queued: dict[str, int] = {}
        self.bodies: list[Any] = []
        self.waiting: list[tuple[int, NewJob]] = []
        # Jobs not yet final in the queues whose bounds were looked at.
        self.open: dict[str, int] = {}

    def carry_out(self) -> list[Pushed]:
        known = self._known()
        answers: list[Pushed] = []
        for seq, job in enumerate(self.jobs, self.first):
            answer = self._again(job.id) if job.id in known else self._new(seq, job)
            if answer.status is not PushStatus.FULL:
                known.add(job.id)
            answers.append(answer)
        self._insert()
        for seq, job in self.waiting:
            _await(self.tx, seq, job)
        if self.waiting:
            tell(self.tx)
        return answers

    def _known(self) -> set[str]:
        """Ids that were pushed before, unless it is as good to see that when they are inserted."""
        tx, jobs = self.tx, self.jobs
        free = not tx.careful and all(job.unique is None and job.bound is None for job in jobs)
        if free and tx.one("any_gone") is None:
            return set()
        ids = json.dumps([job.id for job in jobs])
        return {job_id for (job_id,) in tx.run("known_ids", ids, tx.now)}

    def _again(self, job_id: str) -> Pushed:
        self._insert()
        tx = self.tx
        row = tx.row(job_id)
        if row is not None:
            return repeated(pushed_as(tx.facts(row)))
        gone = tx.one("gone", job_id, tx.now)
        return repeated(Pushed(PushStatus(gone[0]), gone[1]))

    def _new(self, seq: int, job: NewJob) -> Pushed:
        """Admit a job, or say what it comes to instead."""
        if job.unique is not None:
            self._insert()
        answer, holder = look(self.tx, job, skip=self.follow_ups)
        if answer.status is PushStatus.DUPLICATE:
            _record(self.tx, job.id, answer)
            return answer
        if answer.status is PushStatus.RESCHEDULED and holder is not None:
            move_due(self.tx, holder, self.tx.spec(holder), instant(job.due, self.tx.now))
            _record(self.tx, job.id, answer)
            return answer
        if job.bound is not None and not self.follow_ups and self._bound_reached(job, holder):
            return _FULL
        if holder is not None:
            self._remove(holder)
        if job.unique is not None:
            hold(self.tx, job.unique, job.id)
        if job.key is None and job.after is None and job.due is None and job.expires is None:
            self._add_plain(seq, job)
        else:
            self._insert()
            _insert_one(self.tx, seq, job)
            if job.after is not None:
                self.waiting.append((seq, job))
        self.bodies += (seq, encode(job))
        if answer.of is not None:
            self._insert()
            row = self.tx.row_at(seq)
            assert row is not None
            self.tx.save_facts(row, Facts(replaced=answer.of))
            self.tx.save(row, row.state)
        for name in (job.queue, *ancestors(job.queue)) if self.open else ():
            if name in self.open:
                self.open[name] += 1
        return answer

    def _bound_reached(self, job: NewJob, holder: JobRow | None) -> bool:
        assert job.bound is not None
        if job.queue not in self.open:
            self._insert()
            self.open[job.queue] = self.tx.open_jobs(job.queue)
        # The job that makes room does not count.
        room = holder is not None and covers(job.queue, holder.queue)
        return self.open[job.queue] - room >= job.bound

    def _remove(self, holder: JobRow) -> None:
        """Let a new job take the place of another."""
        remove(self.tx, holder)
        tell(self.tx)
        for name in (holder.queue, *ancestors(holder.queue)):
            if name in self.open:
                self.open[name] -= 1

    def _add_plain(self, seq: int, job: NewJob) -> None:
        self.rows += (
            *(seq, job.id, job.queue, -job.priority, flags_of(job), self.tx.now),
            *(job.keep.succeeded, job.flow),
        )
        self.queued[job.queue] = self.queued.get(job.queue, 0) + 1

    def _insert(self) -> None:
        """Write what was collected, before anything that might look at it."""
        if self.rows:
            # An id that is known is not inserted again.
            if self.tx.run_rows("insert_plain", 8, self.rows) < len(self.rows) // 8:
                raise Surprise
            self.rows = []
            for queue, n in self.queued.items():
                self.tx.count(Code.QUEUED, queue, n)
            self.queued = {}
        if self.bodies:
            self.tx.run_rows("insert_body", 2, self.bodies)
            self.bodies = []


def _insert_one(tx: Tx, seq: int, job: NewJob) -> None:
    """Insert a job that may have to wait for a time, a key or other jobs."""
    due, expires = instant(job.due, tx.now), instant(job.expires, tx.now)
    line = None
    if job.key is not None:
        set_key_slots(tx, job)
    if job.after is not None:
        state = Code.WAITING
    elif due is not None and due > tx.now:
        state = Code.SCHEDULED
    elif job.key is not None and _must_park(tx, job.key):
        state, line = Code.WAITING, key_line(job.key)
    else:
        state = Code.QUEUED
    flags = flags_of(job)
    blocks = job.key is not None and (state == Code.QUEUED or line is not None)
    place = (None, None) if line is None else (line_rank(flags, -job.priority), 1)
    done = tx.run(
        "insert",
        *(seq, job.id, state, job.queue, -job.priority, flags, tx.now, due),
        *(expires, job.keep.succeeded, line, *place, job.key),
        *(1 if blocks else 0, job.flow),
    )
    if done.rowcount != 1:
        raise Surprise
    tx.count(state, job.queue, 1)
    if state == Code.SCHEDULED:
        tx.awaits(due)
    tx.awaits(expires)


def _must_park(tx: Tx, key: str) -> bool:
    return key_full(tx, key) or tx.one("line_busy", key_line(key)) is not None


def _await(tx: Tx, seq: int, job: NewJob) -> None:
    """Let a job wait for those of its dependencies that have not ended."""
    assert job.after is not None
    row = tx.row_at(seq)
    if row is None:  # a later job of the same push took its place
        return
    failed: str | None = None
    waits = False
    for other in dict.fromkeys(job.after.ids):
        ended = dependency_of(tx, other)
        if ended is None:
            tx.run("insert_after", seq, other)
            tx.run("await", other)
            waits = True
        elif not ended:
            failed = failed or other
    if failed is not None and job.after.on_failure is not OnFailure.RUN:
        fail_dependant(tx, row, job, failed)
    elif not waits:
        place(tx, row, job)
        tx.save(row, Code.WAITING)


def _record(tx: Tx, job_id: str, answer: Pushed) -> None:
    """Remember the answer to a push that made no job."""
    until = tx.now + tx.settings.request_ttl
    tx.run("bury", job_id, answer.status.value, answer.of, None, None, None, tx.now, until)


def move_due(tx: Tx, row: JobRow, spec: NewJob, due: float | None) -> None:
    """Give a job that neither runs nor has ended another time."""
    was = row.state
    row.due = due
    row.flags &= ~Flag.PAID
    if was != Code.WAITING:
        place(tx, row, spec)
    tx.save(row, was)
    if was in (Code.QUEUED, Code.SUSPECT) and row.state == Code.SCHEDULED:
        leave(tx, row, spec)
