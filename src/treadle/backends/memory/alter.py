"""Changing jobs that a query finds."""

from __future__ import annotations

from treadle.backends.common.altering import Tally
from treadle.backends.common.pushing import instant
from treadle.backends.memory.endings import fail_dependants, finish, remove, unindex, withdraw
from treadle.backends.memory.find import select
from treadle.backends.memory.job import CANCELLED, QUEUED, WAITING, Job, again
from treadle.backends.memory.moves import arrive, key_line, leave, to_queue, wake_lines
from treadle.backends.memory.push import index_job, reschedule
from treadle.backends.memory.store import Holder, Store
from treadle.changes import Outcome, outcome
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
from treadle.records import FINAL, Scope

__all__ = ["alter"]


def alter(store: Store, query: Query, change: Change) -> Altered:
    """Change the jobs that a query finds."""
    jobs, cursor, _ = select(store, query, min(query.limit, ALTER_MAX))
    tally = Tally()
    for job in jobs:
        if store.jobs.get(job.id) is not job:
            continue  # one of the changes before took it away
        what = outcome(change, job.state)
        if what is Outcome.ASKED:
            job.cancel_asked = True
            store.changed(job)
        elif what is Outcome.DONE and not _carry_out(store, job, change):
            what = Outcome.REFUSED
        tally.add(job.id, what, job.state)
        if store.cascade or store.slack:
            fail_dependants(store, ADVANCE)
            wake_lines(store)
    return tally.altered(cursor)


def _carry_out(store: Store, job: Job, change: Change) -> bool:
    match change:
        case Cancel():
            leave(store, job)
            finish(store, job, CANCELLED)
        case Retry():
            return _retry(store, job, instant(change.due, store.now))
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
    if unique is not None:
        if store.holder(unique.key) not in (None, old.id):
            return False
        if unique.scope is not Scope.FOR:
            store.unique[unique.key] = Holder(old.id, None)
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
