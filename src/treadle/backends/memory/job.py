"""A job inside the store: one mutable object, from which records are made when asked for."""

from __future__ import annotations

import msgspec

from treadle.faults import Fault
from treadle.records import (
    Attempt,
    Cause,
    JobRecord,
    JobState,
    NewJob,
    Note,
    Pushed,
    PushStatus,
    Token,
)

__all__ = [
    "CANCELLED",
    "CREATED",
    "FAILED",
    "OPEN",
    "QUEUED",
    "RUNNING",
    "SCHEDULED",
    "SUCCEEDED",
    "WAITING",
    "Job",
    "again",
    "record",
]

# Looking a member up in its enum costs more than a global name.
WAITING = JobState.WAITING
SCHEDULED = JobState.SCHEDULED
QUEUED = JobState.QUEUED
RUNNING = JobState.RUNNING
SUCCEEDED = JobState.SUCCEEDED
FAILED = JobState.FAILED
CANCELLED = JobState.CANCELLED

OPEN = (WAITING, SCHEDULED, QUEUED, RUNNING)
"""States that are not final."""

CREATED = Pushed(PushStatus.CREATED)


class Job(msgspec.Struct, gc=False, eq=False):
    """What the store knows of a job.

    It refers to no object that refers back to it, only to names, so that the collector need
    not look at it: with a million jobs that is what a push costs.
    """

    spec: NewJob
    id: str
    seq: int
    queue: str
    priority: int
    created: float
    # No key, limit or unique key: nothing to ask at the claim, nothing to free at the end.
    plain: bool
    state: JobState = QUEUED
    pushed: Pushed = CREATED
    version: int = 0
    # Of a release, or the dependency that failed.
    reason: str = ""
    due: float | None = None
    # None once an attempt has started.
    expires: float | None = None
    fence: int = 0
    # Of the session that has, or had, the lease.
    nonce: int = 0
    holder: str = ""
    tries: int = 0
    crashes: int = 0
    releases: int = 0
    aside_since: float | None = None
    suspect: bool = False
    cancel_asked: bool = False
    # The present attempt has started.
    reported: bool = False
    # It has its places in the rates that it asked for.
    paid: bool = False
    # Name of the line in which it waits, and the units that it wants of it.
    parked: str = ""
    need: int = 1
    # Name of the line that woke it.
    woken: str = ""
    # Names of the lines of which it has units.
    holds: tuple[tuple[str, int], ...] = ()
    # It is among those that ordered jobs of its key look at.
    lined: bool = False
    # Ids it waits for; None when it waits for none.
    waits: set[str] | None = None
    started: float | None = None
    finished: float | None = None
    lease_until: float = 0.0
    # Number of the batch in which it was leased; 0 when it is not.
    batch: int = 0
    note: Note | None = None
    result: bytes | None = None
    skipped: str | None = None
    cause: Cause | None = None
    fault: Fault | None = None
    attempts: tuple[Attempt, ...] = ()
    # The last token that ended an attempt.
    settled: Token | None = None
    # It is among the finished jobs that are removed some day.
    kept: bool = False


def again(job: Job, seq: int) -> Job:
    """A finished job that starts over, with a new place in line."""
    return Job(
        job.spec,
        job.id,
        seq,
        job.queue,
        job.priority,
        job.created,
        job.plain,
        pushed=job.pushed,
        version=job.version,
        fence=job.fence,
        nonce=job.nonce,
        holder=job.holder,
        note=job.note,
        attempts=job.attempts,
        settled=job.settled,
    )


def _reason(job: Job) -> str:
    if job.waits:
        after = job.spec.after.ids if job.spec.after is not None else ()
        return "after:" + next((one for one in after if one in job.waits), "")
    return job.parked or job.reason


def _is_ordinary(job: Job) -> bool:
    """Whether it waits for nothing and nothing has gone wrong with it, as with most."""
    return not (
        job.due is not None
        or job.expires is not None
        or job.tries
        or job.crashes
        or job.attempts
        or job.cause is not None
        or job.fault is not None
        or job.suspect
        or job.cancel_asked
        or job.waits
        or job.parked
        or job.reason
    )


def record(job: Job) -> JobRecord:
    """The job as others see it."""
    # In two steps: with more than 15 names Python makes a dict of them first, which takes five
    # times as long, and most jobs need no second one.
    ordinary = JobRecord(
        spec=job.spec,
        seq=job.seq,
        state=job.state,
        version=job.version,
        priority=job.priority,
        fence=job.fence,
        created=job.created,
        started=job.started,
        finished=job.finished,
        lease_until=job.lease_until if job.state is RUNNING else None,
        holder=job.holder,
        note=job.note,
        result=job.result,
        skipped=job.skipped,
    )
    if _is_ordinary(job):
        return ordinary
    after, waits = job.spec.after, job.waits or ()
    return msgspec.structs.replace(
        ordinary,
        reason=_reason(job),
        due=job.due,
        expires=job.expires,
        tries=job.tries,
        crashes=job.crashes,
        suspect=job.suspect,
        cancel_asked=job.cancel_asked,
        waits_for=() if after is None else tuple(one for one in after.ids if one in waits),
        cause=job.cause,
        fault=job.fault,
        attempts=job.attempts,
    )
