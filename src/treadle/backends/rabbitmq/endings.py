"""What becomes of a message: when it is delivered, and when its attempt ends. Decisions only."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from treadle.backends.common.lapses import COUNTED, Lapse, Lost, lapse, remember
from treadle.backends.rabbitmq.envelope import DeadLetter, Envelope
from treadle.faults import Fault
from treadle.records import Attempt, Cause, NewJob, Note
from treadle.verdicts import Again, Cancelled, Done, Failed, Released, Verdict

__all__ = ["Ended", "Lease", "delivered", "ended", "given_back"]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What to publish before a message is acknowledged; nothing when all are empty."""

    again: Envelope | None = None
    delay: float = 0.0
    dead: DeadLetter | None = None
    follow_ups: tuple[NewJob, ...] = ()


class Lease(msgspec.Struct, kw_only=True):
    """An attempt, as far as its end depends on it."""

    envelope: Envelope
    # Name of the session.
    holder: str
    granted: float
    # By the monotonic clock; renewed by ``extend``.
    until: float = 0.0
    started: bool = False
    # Its end is on its way.
    ending: bool = False
    note: Note | None = None


def delivered(envelope: Envelope, lost: int, now: float) -> Envelope | DeadLetter:
    """The job in a message that was delivered in vain so many times; a dead letter if it is over.

    The server does not know what had begun. So a first loss blames nobody and makes the job a
    suspect, which runs alone; each further one was a suspect's, and is a crash.
    """
    spec = envelope.spec
    if lost:
        counted = lost if envelope.suspect else lost - 1
        envelope = replace(
            envelope, crashes=envelope.crashes + counted, fence=envelope.fence + lost, suspect=True
        )
        if spec.at_most_once or (counted and envelope.crashes >= spec.max_crashes):
            return _dead(envelope, Cause.CRASHED, now)
    if envelope.expires is not None and envelope.expires <= now:
        return _dead(envelope, Cause.EXPIRED, now)
    return replace(envelope, fence=envelope.fence + 1)


def ended(lease: Lease, verdict: Verdict, follow_ups: tuple[NewJob, ...], now: float) -> Ended:
    """What a verdict comes to."""
    old = lease.envelope
    match verdict:
        case Done():
            return Ended(follow_ups=follow_ups)
        case Cancelled():
            return Ended()
        case Released(delay=delay, reason=reason):
            new = replace(old, note=lease.note)
            if reason:
                since = now if old.aside_since is None else old.aside_since
                new = replace(new, releases=old.releases + 1, aside_since=since)
            return Ended(again=new, delay=delay)
        case Again(delay=delay, counts=counts, cause=cause, fault=fault):
            crashed = cause is Cause.CRASHED
            new = _recorded(lease, cause, fault, now)
            new = replace(
                new,
                tries=old.tries + (counts and not crashed),
                crashes=old.crashes + crashed,
                suspect=False,
            )
            return Ended(again=new, delay=delay)
        case Failed(cause=cause, fault=fault):
            new = _recorded(lease, cause, fault, now)
            new = replace(new, tries=old.tries + (cause in COUNTED))
            return Ended(dead=_dead(new, cause, now, fault))


def given_back(lease: Lease, now: float, *, closed: bool) -> Ended:
    """What becomes of a job whose lease is given up, or whose session is closed."""
    old = lease.envelope
    started = lease.started or old.suspect
    lost = Lost(
        at_most_once=old.spec.at_most_once,
        cancel_asked=False,
        started=started,
        crashes=old.crashes,
        max_crashes=old.spec.max_crashes,
        closed=closed,
    )
    new = replace(old, note=lease.note)
    if started:
        new = _recorded(lease, Cause.CRASHED, None, now)
        new = replace(new, crashes=old.crashes + 1)
    match lapse(lost):
        case Lapse.FAILED:
            return Ended(dead=_dead(new, Cause.CRASHED, now))
        case Lapse.SUSPECT:
            return Ended(again=replace(new, suspect=True))
        case Lapse.QUEUED | Lapse.CANCELLED:
            return Ended(again=new)


def _recorded(lease: Lease, cause: Cause, fault: Fault | None, now: float) -> Envelope:
    """The job after an attempt that had started, with what is known of it."""
    old = lease.envelope
    attempt = Attempt(
        number=old.tries + old.crashes + 1,
        cause=cause,
        started=lease.granted,
        ended=now,
        holder=lease.holder,
        fault=fault,
    )
    return replace(
        old,
        attempts=remember(old.attempts, attempt),
        note=lease.note,
        expires=None,
        releases=0,
        aside_since=None,
    )


def _dead(envelope: Envelope, cause: Cause, now: float, fault: Fault | None = None) -> DeadLetter:
    return DeadLetter(envelope=envelope, cause=cause, fault=fault, at=now)
