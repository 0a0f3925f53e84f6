"""What the end of an attempt makes of its job, as its row and its facts say it."""

from __future__ import annotations

import msgspec

from treadle.backends.common.jobrow import Code, Facts, Flag, JobRow, make_ready
from treadle.backends.common.lapses import COUNTED, Lapse, Lost, lapse, remember
from treadle.faults import Fault
from treadle.ports import Settlement
from treadle.records import Attempt, Cause, NewJob, Settled, Token
from treadle.verdicts import Again, Cancelled, Done, Failed, Released

__all__ = ["Final", "end_attempt", "forget_attempt", "is_held", "lose_attempt", "refusal"]


class Final(msgspec.Struct, frozen=True):
    """A job is over."""

    # Its state in the store.
    code: int
    result: bytes | None = None


def is_held(row: JobRow, token: Token) -> bool:
    """Whether a token is that of the lease that a job is under."""
    return row.state == Code.RUNNING and (row.fence, row.nonce) == (token.fence, token.nonce)


def refusal(row: JobRow, token: Token) -> Settled:
    """What a settle is told that comes with a token of before."""
    ended = (row.ended_fence, row.ended_nonce) == (token.fence, token.nonce)
    return Settled.ALREADY if ended else Settled.LOST


def forget_attempt(row: JobRow, *, suspect: bool = False) -> None:
    """Take back what an attempt set; ``suspect`` keeps the suspicion."""
    keep = Flag.SUSPECT if suspect else 0
    row.flags &= ~(Flag.ATTEMPT & ~keep)
    row.until = None


# ------------------------------------------------------------- by a verdict


def end_attempt(row: JobRow, facts: Facts, end: Settlement, now: float) -> Final | None:
    """How a job ends with its attempt; ``None`` when it goes back to the place its row says."""
    row.ended_fence, row.ended_nonce = end.token.fence, end.token.nonce
    if end.note is not None:
        facts.note = end.note
    verdict = end.verdict
    if isinstance(verdict, Released):
        return _release(row, facts, verdict, now)
    # Any verdict but a release ends a row of releases.
    facts.releases, facts.aside_since, facts.reason = 0, None, ""
    row.expires = None
    match verdict:
        case Again():
            return _again(row, facts, verdict, now)
        case Done():
            facts.skipped = verdict.skipped
            return Final(Code.SUCCEEDED, verdict.result)
        case Failed():
            _remember(row, facts, verdict.cause, now, verdict.fault)
            if verdict.cause in COUNTED:
                row.tries += 1
            facts.cause, facts.fault = verdict.cause, verdict.fault
            return Final(Code.FAILED)
        case Cancelled():
            facts.fault = verdict.fault
            return Final(Code.CANCELLED)


def _again(row: JobRow, facts: Facts, verdict: Again, now: float) -> Final | None:
    _remember(row, facts, verdict.cause, now, verdict.fault)
    if verdict.cause is Cause.CRASHED:
        row.crashes += 1
    elif verdict.counts:
        row.tries += 1
    if row.flags & Flag.CANCEL:
        return Final(Code.CANCELLED)
    forget_attempt(row)
    row.due = now
    _go_back(row, verdict.delay, now)
    return None


def _release(row: JobRow, facts: Facts, verdict: Released, now: float) -> Final | None:
    if verdict.reason:
        facts.reason = verdict.reason
        facts.releases += 1
        if facts.aside_since is None:
            facts.aside_since = now
    if row.flags & Flag.CANCEL:
        return Final(Code.CANCELLED)
    # A suspect that was released stays one.
    forget_attempt(row, suspect=True)
    _go_back(row, verdict.delay, now)
    return None


def _go_back(row: JobRow, delay: float, now: float) -> None:
    """To its old place, now or later."""
    if delay > 0:
        row.state, row.due = Code.SCHEDULED, now + delay
    else:
        make_ready(row)


# ------------------------------------------------------------- without one


def lose_attempt(
    row: JobRow, facts: Facts, spec: NewJob, now: float, *, closed: bool
) -> Final | None:
    """How a job ends with a lease that nobody settled; ``None`` when it goes back as its row says.

    Args:
        row: of the job.
        facts: what is true of few jobs.
        spec: what was pushed.
        now: when it is lost.
        closed: its session ended in good order.
    """
    started = bool(row.flags & (Flag.STARTED | Flag.SUSPECT))
    where = lapse(
        Lost(
            at_most_once=spec.at_most_once,
            cancel_asked=bool(row.flags & Flag.CANCEL),
            started=started,
            crashes=row.crashes,
            max_crashes=spec.max_crashes,
            closed=closed,
        )
    )
    if started:
        _remember(row, facts, Cause.CRASHED, now)
        row.crashes += 1
        row.expires = None
    if where is Lapse.FAILED:
        facts.cause = Cause.CRASHED
        return Final(Code.FAILED)
    if where is Lapse.CANCELLED:
        facts.cause = None
        return Final(Code.CANCELLED)
    forget_attempt(row)
    if where is Lapse.SUSPECT:
        row.flags |= Flag.SUSPECT
    make_ready(row)
    return None


def _remember(
    row: JobRow, facts: Facts, cause: Cause, now: float, fault: Fault | None = None
) -> None:
    """Add an attempt that ended without success."""
    attempt = Attempt(
        number=row.attempt,
        cause=cause,
        started=row.started,
        ended=now,
        holder=row.holder or "",
        fault=fault,
    )
    facts.attempts = remember(facts.attempts, attempt)
