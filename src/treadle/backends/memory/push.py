"""Pushing jobs."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappush

from treadle.backends.common.pushing import conflict, dependency_failed, instant, repeated
from treadle.backends.memory.endings import fail_dependant, fail_dependants, withdraw
from treadle.backends.memory.index import Index
from treadle.backends.memory.job import CREATED, OPEN, WAITING, Job
from treadle.backends.memory.lines import Line
from treadle.backends.memory.moves import (
    arrive,
    key_line,
    leave,
    park,
    to_queue,
    to_schedule,
    wake_lines,
)
from treadle.backends.memory.queue import Queue
from treadle.backends.memory.store import Holder, Store
from treadle.ports import ADVANCE
from treadle.queuenames import check_queue, covers
from treadle.records import NewJob, OnFailure, Pushed, PushStatus, Scope, Unique

__all__ = ["index_job", "push", "reschedule"]

_FULL = Pushed(PushStatus.FULL)


def push(store: Store, specs: Sequence[NewJob], *, follow_up: bool = False) -> list[Pushed]:
    """Add jobs, answers in order. Follow-ups ignore bounds and never replace anything."""
    for spec in specs:
        if spec.queue not in store.queues:
            check_queue(spec.queue)
    answers: list[Pushed] = []
    waiting: list[Job] = []
    jobs, tombs = store.jobs, store.tombs.of
    for spec in specs:
        if spec.id in jobs:
            answers.append(repeated(jobs[spec.id].pushed))
            continue
        if spec.id in tombs and (tomb := store.tomb(spec.id)) is not None:
            answers.append(tomb.pushed)
            continue
        answer = CREATED
        if spec.unique is not None:
            answer = _admit(store, spec, spec.unique, follow_up)
        elif spec.bound is not None and _is_full(store, spec, follow_up):
            answer = _FULL
        answers.append(answer)
        if answer is CREATED or answer.status is PushStatus.REPLACED:
            job = _create(store, spec, answer)
            if job.waits is not None:
                waiting.append(job)
    for job in waiting:  # all jobs of this push are known now
        _look_back(store, job)
    if store.cascade or store.slack:
        fail_dependants(store, ADVANCE)
        wake_lines(store)
    return answers


# ------------------------------------------------------------ may it come in


def _admit(store: Store, spec: NewJob, unique: Unique, follow_up: bool) -> Pushed:
    status, holder = _conflict(store, unique, follow_up)
    if status is PushStatus.DUPLICATE:
        answer = Pushed(status, holder)
        store.tombs.add(spec.id, answer, store.now)
        return answer
    if status is PushStatus.RESCHEDULED and holder is not None:
        job = store.jobs[holder]
        reschedule(store, job, instant(spec.due, store.now))
        answer = Pushed(status, holder)
        store.tombs.add(spec.id, answer, store.now)
        return answer
    place = store.jobs.get(holder) if status is PushStatus.REPLACED and holder else None
    if _is_full(store, spec, follow_up, place):
        return _FULL
    if place is not None:
        withdraw(store, place)
        return Pushed(PushStatus.REPLACED, holder)
    return CREATED


def _is_full(store: Store, spec: NewJob, follow_up: bool, leaving: Job | None = None) -> bool:
    """Whether the queue of a job holds as many as it may, without the one that makes room."""
    if spec.bound is None or follow_up:
        return False
    held = store.open_in(spec.queue)
    held -= leaving is not None and covers(spec.queue, leaving.queue)
    return held >= spec.bound


def _conflict(store: Store, unique: Unique, follow_up: bool) -> tuple[PushStatus, str | None]:
    holder = store.holder(unique.key)
    if holder is None:
        return PushStatus.CREATED, None
    job = store.jobs.get(holder)
    if job is None or follow_up:
        return PushStatus.DUPLICATE, holder
    return conflict(unique, job.state), holder


# ------------------------------------------------------------ coming in


def _create(store: Store, spec: NewJob, answer: Pushed) -> Job:
    queue = store.queues.get(spec.queue) or store.queue(spec.queue)
    store.seq = seq = store.seq + 1
    plain = spec.key is None and not spec.asks and spec.unique is None
    job = Job(spec, spec.id, seq, spec.queue, spec.priority, store.now, plain)
    store.jobs[job.id] = job
    if answer is not CREATED:
        job.pushed = answer
    if plain and spec.due is None and spec.after is None and spec.flow is None:
        if spec.expires is not None:
            job.expires = instant(spec.expires, store.now)
            store.expiring.add(job.expires, job)
        queue.queued.add(job)
        queue.lane(job.priority).add(job)
        if not queue.listed:
            store.enlist(queue)
        for above in queue.up:
            above.sub_open += 1
        store.stirred(queue.name)
    else:
        _place(store, queue, job)
    return job


def _place(store: Store, queue: Queue, job: Job) -> None:
    spec, now = job.spec, store.now
    index_job(store, job)
    if spec.unique is not None:
        until = None
        if spec.unique.scope is Scope.FOR:
            until = now + (spec.unique.ttl or 0.0)
            heappush(store.windows, (until, spec.unique.key))
        store.unique[spec.unique.key] = Holder(job.id, until)
    if spec.due is not None:
        job.due = instant(spec.due, now)
    if spec.expires is not None:
        job.expires = instant(spec.expires, now)
        store.expiring.add(job.expires, job)
    line = _join(store, job)
    job.state = WAITING
    queue.by[WAITING].add(job)
    for above in queue.up:
        above.sub_open += 1
    if spec.after is not None and spec.after.ids:
        job.waits = set(spec.after.ids)
    elif job.due is not None and job.due > now:
        to_schedule(store, job, job.due)
    elif line is not None and (line.waiting or line.used >= line.slots):
        park(store, job, line, 1)
    else:
        to_queue(store, job)


def index_job(store: Store, job: Job) -> None:
    """Have the job found by its flow."""
    spec = job.spec
    if spec.flow is not None:
        store.of_flow.setdefault(spec.flow, Index()).add(job)


def _join(store: Store, job: Job) -> Line | None:
    """The line of the job's key, which has from now on as many slots as this job says."""
    if job.spec.key is None:
        return None
    line = key_line(store, job)
    line.members += 1
    if job.spec.key_slots > line.slots:
        store.slack.append(line.name)
    line.slots = job.spec.key_slots
    return line


def _look_back(store: Store, job: Job) -> None:
    """See which of the jobs that it waits for have ended already."""
    after = job.spec.after
    if after is None or job.waits is None:
        return
    for one in after.ids:
        other = store.jobs.get(one)
        if other is not None and other.state in OPEN:
            store.dependants.setdefault(one, []).append(job)
            continue
        tomb = store.tomb(one)
        state = other.state if other is not None else tomb.state if tomb is not None else None
        if dependency_failed(state) and after.on_failure is not OnFailure.RUN:
            job.reason = f"after:{one}"
            fail_dependant(store, job, after)
            return
        job.waits.discard(one)
    if not job.waits:
        job.waits = None
        arrive(store, job)


# ------------------------------------------------------------ another time


def reschedule(store: Store, job: Job, due: float | None) -> None:
    """Give a job that does not run another due time; what waits goes on waiting."""
    if job.state is WAITING:
        job.due = due
        store.changed(job)
        return
    leave(store, job)
    job.paid = False
    if job.spec.key is not None:
        store.slack.append(key_line(store, job).name)
    if due is not None and due > store.now:
        to_schedule(store, job, due)
        return
    job.due = due
    arrive(store, job)
