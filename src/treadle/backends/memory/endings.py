"""How jobs end, what becomes of those that wait for them, and how they are removed."""

from __future__ import annotations

from treadle.backends.common.pushing import dependency_failed, repeated
from treadle.backends.memory.index import Index
from treadle.backends.memory.job import CANCELLED, FAILED, QUEUED, SUCCEEDED, WAITING, Job
from treadle.backends.memory.lines import KEY
from treadle.backends.memory.moves import arrive, leave, shift, wake_lines
from treadle.backends.memory.store import Store
from treadle.fates import Fate
from treadle.faults import Fault
from treadle.records import After, Cause, JobState, OnFailure

__all__ = [
    "ended",
    "fail_dependant",
    "fail_dependants",
    "fated",
    "finish",
    "keep",
    "remove",
    "unindex",
    "withdraw",
]


def finish(
    store: Store,
    job: Job,
    state: JobState,
    cause: Cause | None = None,
    fault: Fault | None = None,
) -> None:
    """End a job that has left its place, and free what it held for its whole life."""
    job.finished = store.now
    job.cause = cause
    job.fault = fault
    job.cancel_asked = job.suspect = False
    job.expires = None
    shift(store, job, state)
    if not job.plain:
        _free(store, job)
    if state is FAILED:
        _count_failure(store, job)
    keep(store, job)
    if state is FAILED:
        _trim_failed(store)
    if job.id in store.dependants:
        ended(store, job.id, state)


def fated(store: Store, job: Job, attempt: int | None = None, reason: str = "") -> None:
    """Have told what became of a job by itself."""
    fate = Fate(
        id=job.id,
        task=job.spec.task,
        queue=job.queue,
        state=job.state,
        cause=Cause.CRASHED if job.state is QUEUED else job.cause,
        attempt=attempt,
        crashes=job.crashes,
        reason=reason,
    )
    store.fates.append(fate)


def keep(store: Store, job: Job) -> None:
    """Keep a final job as long as it asked for."""
    wish = job.spec.keep
    seconds = (
        wish.succeeded
        if job.state is SUCCEEDED
        else wish.failed
        if job.state is FAILED
        else wish.cancelled
    )
    if seconds is None:
        return
    if seconds <= 0:
        remove(store, job)
    else:
        store.kept.add(job, seconds, store.now)


def _free(store: Store, job: Job) -> None:
    unique = job.spec.unique
    if unique is not None:
        holder = store.unique.get(unique.key)
        if holder is not None and holder.job_id == job.id and holder.until is None:
            del store.unique[unique.key]
    if job.spec.key is not None:
        name = KEY + job.spec.key
        line = store.lines.get(name)
        if line is not None:
            line.members -= 1
            store.slack.append(name)


def _count_failure(store: Store, job: Job) -> None:
    store.failed.add(job)
    index = store.failures.get(job.spec.task)
    if index is None:
        index = store.failures[job.spec.task] = Index()
    index.add(job)


def _trim_failed(store: Store) -> None:
    """Keep no more failed jobs than the namespace may; one that is not kept pushes none out."""
    while len(store.failed) > store.max_failed:
        remove(store, store.failed.oldest())


def ended(store: Store, job_id: str, state: JobState) -> None:
    """Tell those that wait for a job how it ended."""
    failed = dependency_failed(state)
    for job in store.dependants.pop(job_id, ()):
        after = job.spec.after
        if job.waits is None or after is None or job_id not in job.waits:
            continue
        if failed and after.on_failure is not OnFailure.RUN:
            # The first of them that failed is why, however many do before it is told.
            if not job.reason:
                job.reason = f"after:{job_id}"
                store.cascade.append(job)
            continue
        job.waits.discard(job_id)
        if job.waits:
            store.changed(job)
        else:
            job.waits = None
            arrive(store, job)


def fail_dependants(store: Store, most: int) -> None:
    """Pass failures on to at most so many of those that waited."""
    while store.cascade and most > 0:
        job = store.cascade.popleft()
        after = job.spec.after
        if job.waits is None or job.state is not WAITING or after is None:
            continue
        most -= 1
        fail_dependant(store, job, after)
    if store.slack:
        wake_lines(store)


def fail_dependant(store: Store, job: Job, after: After) -> None:
    """End a waiting job, one of whose dependencies did not succeed."""
    leave(store, job)
    if after.on_failure is OnFailure.CANCEL:
        finish(store, job, CANCELLED)
    else:
        finish(store, job, FAILED, Cause.DEPENDENCY)
    fated(store, job, reason=job.reason)


def withdraw(store: Store, job: Job) -> None:
    """Remove a job that does not run and has not ended; for those that wait it failed."""
    leave(store, job)
    job.finished = store.now
    shift(store, job, CANCELLED)
    _free(store, job)
    remove(store, job, ended=False)
    ended(store, job.id, CANCELLED)


def remove(store: Store, job: Job, *, ended: bool = True) -> None:
    """Forget a final job, leaving a tombstone, which says how it ended if it did."""
    unindex(store, job)
    del store.jobs[job.id]
    spec = job.spec
    if spec.flow is not None:
        _discard(store.of_flow, spec.flow, job)
    state = job.state if ended else None
    store.tombs.add(job.id, repeated(job.pushed), store.now, state, job.settled)
    store.changed(job)
    queue = store.queues[job.queue]
    if not queue.queued.jobs:
        store.forget_queue(queue)


def unindex(store: Store, job: Job) -> None:
    """Take a final job out of what finds it by its state."""
    del store.queues[job.queue].by[job.state].jobs[job.seq]
    if job.kept:
        store.kept.drop(job)
    if job.state is FAILED:
        store.failed.drop(job)
        _discard(store.failures, job.spec.task, job)


def _discard(indexes: dict[str, Index], key: str, job: Job) -> None:
    index = indexes.get(key)
    if index is not None:
        index.jobs.pop(job.seq, None)
        if not index.jobs:
            del indexes[key]
