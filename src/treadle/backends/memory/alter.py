"""Changing jobs that a query finds."""

from __future__ import annotations

from treadle.backends.common.changes import Outcome, outcome
from treadle.backends.memory.endings import fail_dependants, finish, remove, unindex, withdraw
from treadle.backends.memory.find import select
from treadle.backends.memory.job import CANCELLED, QUEUED, WAITING, Job, again, instant
from treadle.backends.memory.moves import arrive, key_line, leave, to_queue, wake_lines
from treadle.backends.memory.push import index_job, reschedule
from treadle.backends.memory.store import Holder, Store
from treadle.ports import (
    ADVANCE,
    ALTER_MAX,
    Altered,
    Cancel,
    Change,
    Delete,
    Query,
    Reprioritise,
    Reschedule,
    Retry,
)
from treadle.records import FINAL, JobState, Scope

__all__ = ["alter"]


def alter(store: Store, query: Query, change: Change) -> Altered:
    """Change the jobs that a query finds."""
    jobs, cursor, _ = select(store, query, min(query.limit, ALTER_MAX))
    done: list[str] = []
    asked: list[str] = []
    refused: dict[str, JobState] = {}
    for job in jobs:
        if store.jobs.get(job.id) is not job:
            continue  # one of the changes before took it away
        what = outcome(change, job.state)
        if what is Outcome.ASKED:
            job.cancel_asked = True
            store.changed(job)
            asked.append(job.id)
        elif what is Outcome.DONE and _carry_out(store, job, change):
            done.append(job.id)
        else:
            refused[job.id] = job.state
        if store.cascade or store.slack:
            fail_dependants(store, ADVANCE)
            wake_lines(store)
    return Altered(done=tuple(done), asked=tuple(asked), refused=refused, cursor=cursor)


def _carry_out(store: Store, job: Job, change: Change) -> bool:
    match change:
        case Cancel():
            leave(store, job)
            finish(store, job, CANCELLED)
        case Retry():
            due = instant(change.due, store.now) if change.due is not None else None
            return _retry(store, job, due)
        case Reschedule():
            reschedule(store, job, instant(change.due, store.now))
        case Reprioritise():
            _reprioritise(store, job, change.priority)
        case Delete():
            if job.state in FINAL:
                remove(store, job)
            else:
                withdraw(store, job)
    return True


def _retry(store: Store, old: Job, due: float | None) -> bool:
    """Let a finished job start over, unless another has its unique key by now."""
    unique = old.spec.unique
    if unique is not None and unique.scope is not Scope.FOR:
        holder = store.unique.get(unique.key)
        if holder is not None and holder.job_id != old.id:
            return False
        store.unique[unique.key] = Holder(old.id, None)
    elif unique is not None:
        holder = store.unique.get(unique.key)
        others = holder is not None and holder.job_id != old.id
        if others and holder is not None and (holder.until or store.now) > store.now:
            return False
    unindex(store, old)
    _unlink(store, old)
    store.seq += 1
    job = again(old, store.seq)
    job.due = due
    store.jobs[job.id] = job
    index_job(store, job)
    queue = store.queues[job.queue]
    job.state = WAITING
    queue.by[WAITING].add(job)
    for above in queue.up:
        above.sub_open += 1
    if job.spec.key is not None:
        key_line(store, job).members += 1
    arrive(store, job)
    return True


def _unlink(store: Store, job: Job) -> None:
    if job.spec.unique is not None:
        store.of_unique[job.spec.unique.key].jobs.pop(job.seq, None)
    if job.spec.flow is not None:
        store.of_flow[job.spec.flow].jobs.pop(job.seq, None)


def _reprioritise(store: Store, job: Job, priority: int) -> None:
    """Give the job another place in whatever line it stands."""
    if job.state is QUEUED:
        leave(store, job)
        job.priority = priority
        to_queue(store, job)
        return
    if job.parked:
        line, need = store.lines[job.parked], job.need
        line.leave(job)
        job.priority = priority
        line.park(job, need)
        store.slack.append(line.name)
    job.priority = priority
    store.changed(job)
