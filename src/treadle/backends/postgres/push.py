"""Adding jobs, whatever they ask for."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.backends.common.ends import pushed_as
from treadle.backends.common.jobrow import Code, Facts, Flag, encode, flags_of
from treadle.backends.common.lines import key_line, line_rank, lines_of
from treadle.backends.common.pushing import instant, repeated
from treadle.backends.postgres.ends import dependency_of, fail_dependant, place, remove, tell
from treadle.backends.postgres.lines import forgetting_late, key_full, leave, set_key_slots
from treadle.backends.postgres.rows import Row
from treadle.backends.postgres.tx import Tx
from treadle.backends.postgres.unique import hold, look
from treadle.queuenames import ancestors, covers
from treadle.records import NewJob, OnFailure, Pushed, PushStatus

__all__ = ["move_due", "push"]

_FULL = Pushed(PushStatus.FULL)


async def push(tx: Tx, jobs: Sequence[NewJob], *, follow_ups: bool = False) -> list[Pushed]:
    """Add jobs, in order; follow-ups ignore bounds."""
    async with forgetting_late(tx):
        return await _Push(tx, jobs, follow_ups=follow_ups).carry_out()


class _Push:
    """One push. The ids are taken first; those that come to no job are given back or buried."""

    def __init__(self, tx: Tx, jobs: Sequence[NewJob], *, follow_ups: bool) -> None:
        self.tx = tx
        self.jobs = jobs
        self.follow_ups = follow_ups
        self.waiting: list[tuple[Row, NewJob]] = []
        # Jobs not yet final in the queues whose bounds were looked at.
        self.open: dict[str, int] = {}
        # Ids that were taken by this push and have come to nothing so far.
        self.free: set[str] = set()

    async def carry_out(self) -> list[Pushed]:
        seqs = await self._take_ids()
        await self._look_ahead()
        answers: list[Pushed] = []
        refused: set[str] = set()
        for seq, job in zip(seqs, self.jobs, strict=True):
            if job.id in self.free:
                answer = await self._new(seq, job)
                if answer.status is PushStatus.FULL:
                    refused.add(job.id)
                    answers.append(answer)
                    continue
                self.free.remove(job.id)
                if job.id in refused:
                    # What was taken with the id is that of the one that was refused.
                    await self.tx.run("retake_id", job.id, seq, encode(job))
            else:
                answer = await self._again(job.id)
            answers.append(answer)
        if self.free:
            await self.tx.run("give_back_ids", list(self.free))
        for row, job in self.waiting:
            await self._await(row, job)
        if self.waiting:
            await tell(self.tx)
        return answers

    async def _take_ids(self) -> list[int]:
        """Take the ids that are not known; the number that each job would have."""
        tx = self.tx
        seqs = await tx.numbers(len(self.jobs))
        first: dict[str, tuple[int, bytes]] = {}
        for seq, job in zip(seqs, self.jobs, strict=True):
            first.setdefault(job.id, (seq, encode(job)))
        numbers, specs = zip(*first.values(), strict=True)
        taken = await tx.look("take_ids", list(first), numbers, specs, tx.now)
        self.free = {job_id for (job_id,) in taken}
        for job_id in self.free:
            tx.forget(job_id)
        return seqs

    async def _look_ahead(self) -> None:
        """Read at once what the jobs will need one by one."""
        tx = self.tx
        others = [job.id for job in self.jobs if job.id not in self.free]
        for job in self.jobs:
            if job.after is not None:
                others += [job_id for job_id in job.after.ids if job_id not in self.free]
        await tx.load(others)
        await tx.load_graves(others)
        keys = [job.unique.key for job in self.jobs if job.unique is not None]
        await tx.uniques.load(keys)
        holders = [holder for key in keys if (holder := await tx.uniques.get(key)) is not None]
        await tx.load(job_id for job_id, _ in holders)
        await self._look_at_lines([holder for holder, _ in holders])

    async def _look_at_lines(self, holders: Sequence[str]) -> None:
        """Read the lines that the jobs come to, and those that jobs leave which they replace."""
        tx = self.tx
        slots = {key_line(job.key): job.key_slots for job in self.jobs if job.key is not None}
        rows = [row for holder in holders if (row := await tx.row(holder)) is not None]
        lines = [*slots, *(line for row in rows for line in lines_of(tx.spec(row)))]
        await tx.limits.load(lines)
        limits = {line: await tx.limits.get(line) for line in lines}
        await tx.parked.load(
            line
            for line, limit in limits.items()
            # In a line of a limit that is full it makes no difference who waits.
            if limit is None or limit.held < max(limit.slots, slots.get(line, 0))
        )

    async def _again(self, job_id: str) -> Pushed:
        tx = self.tx
        row = await tx.row(job_id)
        if row is not None:
            return repeated(pushed_as(tx.facts(row)))
        gone = await tx.grave(job_id)
        assert gone is not None
        return repeated(Pushed(PushStatus(gone[0]), gone[1]))

    async def _new(self, seq: int, job: NewJob) -> Pushed:
        """Admit a job, or say what it comes to instead."""
        tx = self.tx
        answer, holder = await look(tx, job, skip=self.follow_ups)
        if answer.status is PushStatus.DUPLICATE:
            self._record(job.id, answer)
            return answer
        if answer.status is PushStatus.RESCHEDULED and holder is not None:
            await move_due(tx, holder, tx.spec(holder), instant(job.due, tx.now))
            self._record(job.id, answer)
            return answer
        if job.bound is not None and not self.follow_ups and await self._bound_reached(job, holder):
            return _FULL
        if holder is not None:
            await self._remove(holder)
        if job.unique is not None:
            hold(tx, job.unique, job.id)
        row = await _made(tx, seq, job)
        if answer.of is not None:
            tx.save_facts(row, Facts(replaced=answer.of))
            row.version = 1
        tx.add(row, job)
        if job.after is not None:
            self.waiting.append((row, job))
        for name in (job.queue, *ancestors(job.queue)) if self.open else ():
            if name in self.open:
                self.open[name] += 1
        return answer

    async def _bound_reached(self, job: NewJob, holder: Row | None) -> bool:
        assert job.bound is not None
        if job.queue not in self.open:
            self.open[job.queue] = await self.tx.open_jobs(job.queue)
        # The job that makes room does not count.
        room = holder is not None and covers(job.queue, holder.queue)
        return self.open[job.queue] - room >= job.bound

    async def _remove(self, holder: Row) -> None:
        """Let a new job take the place of another."""
        await remove(self.tx, holder)
        await tell(self.tx)
        for name in (holder.queue, *ancestors(holder.queue)):
            if name in self.open:
                self.open[name] -= 1

    def _record(self, job_id: str, answer: Pushed) -> None:
        """Remember the answer to a push that made no job."""
        self.tx.bury(job_id, (answer.status.value, answer.of, None, None, None))

    async def _await(self, row: Row, job: NewJob) -> None:
        """Let a job wait for those of its dependencies that have not ended."""
        assert job.after is not None
        tx = self.tx
        if await tx.row(job.id) is not row:  # a later job of the same push took its place
            return
        failed: str | None = None
        waits = False
        for other in dict.fromkeys(job.after.ids):
            ended = await dependency_of(tx, other)
            if ended is None:
                tx.dependants.wait(row.seq, other)
                await tx.flag(other, Flag.AWAITED)
                waits = True
            elif not ended:
                failed = failed or other
        if failed is not None and job.after.on_failure is not OnFailure.RUN:
            await fail_dependant(tx, row, job, failed)
        elif not waits:
            await place(tx, row, job)
            tx.save(row, Code.WAITING)


async def _made(tx: Tx, seq: int, job: NewJob) -> Row:
    """A new job in the state that it begins in: it may have to wait for a time, a key or others."""
    flags, rank = flags_of(job), -job.priority
    row = Row(seq, job.id, Code.QUEUED, job.queue, rank, flags)
    row.created, row.keep, row.flow, row.key = tx.now, job.keep.succeeded, job.flow, job.key
    row.due, row.expires = instant(job.due, tx.now), instant(job.expires, tx.now)
    if job.key is not None:
        await set_key_slots(tx, job)
    if job.after is not None:
        row.state = Code.WAITING
    elif row.due is not None and row.due > tx.now:
        row.state = Code.SCHEDULED
    elif job.key is not None and await _must_park(tx, job.key):
        row.state, row.line = Code.WAITING, key_line(job.key)
        row.line_rank, row.line_units = line_rank(flags, rank), 1
    return row


async def _must_park(tx: Tx, key: str) -> bool:
    return await key_full(tx, key) or await tx.parked.busy(key_line(key))


async def move_due(tx: Tx, row: Row, spec: NewJob, due: float | None) -> None:
    """Give a job that neither runs nor has ended another time."""
    was = row.state
    row.due = due
    row.flags &= ~Flag.PAID
    if was != Code.WAITING:
        await place(tx, row, spec)
    tx.save(row, was)
    if was in (Code.QUEUED, Code.SUSPECT) and row.state == Code.SCHEDULED:
        await leave(tx, row, spec)
