"""The end of attempts."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.backends.common.lapses import COUNTED, remember
from treadle.backends.memory.advance import end_lease, sweep, watch_expiry
from treadle.backends.memory.endings import fail_dependants, fated, finish
from treadle.backends.memory.job import CANCELLED, FAILED, RUNNING, SUCCEEDED, Job
from treadle.backends.memory.moves import to_queue, to_schedule, wake_lines
from treadle.backends.memory.push import push
from treadle.backends.memory.store import Store
from treadle.faults import Fault
from treadle.ports import ADVANCE, Settlement
from treadle.queuenames import check_queue
from treadle.records import Attempt, Cause, Settled, Token
from treadle.verdicts import Again, Cancelled, Done, Failed, Released

__all__ = ["settle"]

_OK = Settled.OK


def settle(store: Store, ends: Sequence[Settlement]) -> list[Settled]:
    """End attempts, answers in order."""
    jobs = store.jobs
    answers: list[Settled] = []
    for end in ends:
        token = end.token
        job = jobs.get(token.job_id)
        if (
            job is None
            or job.state is not RUNNING
            or job.fence != token.fence
            or job.nonce != token.nonce
        ):
            answers.append(_refusal(store, job, token))
            continue
        verdict = end.verdict
        if type(verdict) is Done:
            if end.note is not None or end.follow_ups or not _plainly_done(store, job, verdict):
                _done(store, job, end, verdict)
        else:
            _not_done(store, job, end)
        job.settled = token
        answers.append(_OK)
    if store.cascade:
        fail_dependants(store, ADVANCE * len(ends))
    sweep(store, 2 * len(ends))
    return answers


def _refusal(store: Store, job: Job | None, token: Token) -> Settled:
    if job is not None:
        return Settled.ALREADY if job.settled == token else Settled.LOST
    tomb = store.tomb(token.job_id)
    return Settled.ALREADY if tomb is not None and tomb.token == token else Settled.UNKNOWN


def _plainly_done(store: Store, job: Job, verdict: Done) -> bool:
    """What :func:`_done` comes to for an ordinary job; False, and nothing, for another.

    Ordinary is what holds nothing, was not interrupted, is waited for by no other job and is
    kept for a while. Throughput is decided here.
    """
    seconds = job.spec.keep.succeeded
    queue = store.queues[job.queue]
    if not job.plain or not seconds or job.fence != 1 or job.cancel_asked:
        return False
    if queue.up or queue.rule is not None:
        return False
    job_id, seq = job.id, job.seq
    if job_id in store.dependants:
        return False
    store.leases.drop(job)
    del queue.running.jobs[seq]
    index = queue.by[SUCCEEDED]
    index.jobs[seq] = job
    if index.fresh is not None:
        index.note(seq)
    job.state = SUCCEEDED
    job.result = verdict.result
    if verdict.skipped is not None:
        job.skipped = verdict.skipped
    job.finished = store.now
    job.version += 1
    if store.waiters.jobs:
        store.waiters.changed(job_id, ended=True)
    store.freed(job.queue)
    store.kept.add(job, seconds, store.now)
    return True


def _done(store: Store, job: Job, end: Settlement, verdict: Done) -> None:
    for spec in end.follow_ups:
        check_queue(spec.queue)
    if end.note is not None:
        job.note = end.note
    job.settled = end.token
    job.result = verdict.result
    job.skipped = verdict.skipped
    job.reason = ""
    end_lease(store, job)
    finish(store, job, SUCCEEDED)
    if end.follow_ups:
        push(store, end.follow_ups, follow_up=True)
    if store.slack:
        wake_lines(store)


def _not_done(store: Store, job: Job, end: Settlement) -> None:
    verdict = end.verdict
    if end.note is not None:
        job.note = end.note
    job.settled = end.token
    if not isinstance(verdict, Released):
        job.suspect = False
        job.expires = None
        job.releases = 0
        job.aside_since = None
        job.reason = ""
    match verdict:
        case Again():
            _again(store, job, verdict)
        case Failed():
            _attempt(store, job, verdict.cause, verdict.fault)
            if verdict.cause in COUNTED:
                job.tries += 1
            end_lease(store, job)
            finish(store, job, FAILED, verdict.cause, verdict.fault)
        case Released():
            _released(store, job, verdict)
        case Cancelled():
            end_lease(store, job)
            finish(store, job, CANCELLED, None, verdict.fault)
        case Done():  # has its own way, see above
            _done(store, job, end, verdict)
            return
    if store.slack:
        wake_lines(store)


def _again(store: Store, job: Job, verdict: Again) -> None:
    number = job.tries + job.crashes + 1
    _attempt(store, job, verdict.cause, verdict.fault)
    if verdict.cause is Cause.CRASHED:
        job.crashes += 1
    elif verdict.counts:
        job.tries += 1
    end_lease(store, job)
    if job.cancel_asked:
        finish(store, job, CANCELLED)
        fated(store, job, number)
    elif verdict.delay > 0:
        to_schedule(store, job, store.now + verdict.delay)
    else:
        job.due = store.now
        to_queue(store, job)


def _released(store: Store, job: Job, verdict: Released) -> None:
    end_lease(store, job)
    if verdict.reason:
        job.reason = verdict.reason
        job.releases += 1
        if job.aside_since is None:
            job.aside_since = store.now
    if job.cancel_asked:
        finish(store, job, CANCELLED)
        fated(store, job, job.tries + job.crashes + 1)
        return
    if verdict.delay > 0:
        to_schedule(store, job, store.now + verdict.delay)
    else:
        to_queue(store, job)
    watch_expiry(store, job)


def _attempt(store: Store, job: Job, cause: Cause, fault: Fault | None) -> None:
    attempt = Attempt(
        number=job.tries + job.crashes + 1,
        cause=cause,
        started=job.started,
        ended=store.now,
        holder=job.holder,
        fault=fault,
    )
    job.attempts = remember(job.attempts, attempt)
