"""What a witness at the door of the store sees, and which promises it finds broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle.ports import Altered, Claim, Claimed, Held, Retry, Settlement
from treadle.records import (
    Hold,
    JobState,
    Lease,
    NewJob,
    Pushed,
    PushStatus,
    Renewal,
    Session,
    Settled,
    Token,
)
from treadle.testing.simulation.knowledge import Knowledge
from treadle.testing.simulation.loop import Process
from treadle.verdicts import Done, Released

__all__ = ["Audit", "Grant", "Life"]

_EDGE = 1e-6
"""Seconds by which two readings of one instant may differ."""


class Grant:
    """One lease, from the claim to its end."""

    __slots__ = (
        "asked", "at", "doubted", "ended", "holder", "lease", "owed", "reported", "said", "started",
        "sure_since", "sure_until", "token", "until",
    )  # fmt: skip

    def __init__(self, lease: Lease, holder: Process, at: float, until: float) -> None:
        self.lease = lease
        self.token = lease.token
        self.holder = holder
        self.at = at
        self.until = until
        # The first of its requests may have been sent then: a claim is repeated for a lease.
        self.asked = 2 * at - until
        self.started: float | None = None
        # Its holder has told the store that it has begun.
        self.reported = False
        # The verdict that the store has accepted, or "closed" with its session.
        self.ended: str | None = None
        # Its holder knows that it has the lease, since when and until when.
        self.sure_since = self.sure_until = -1.0
        # It had to think that the lease was over before it was told that it was not.
        self.doubted = False
        # Its code has done what it is for, so that its holder owes a verdict; and what came.
        self.owed = False
        self.said: str | None = None

    def valid(self, now: float) -> bool:
        """Whether its holder may count on it."""
        return self.ended is None and self.until > now + _EDGE

    def __str__(self) -> str:
        return f"job {self.token.job_id} with fence {self.token.fence} of {self.holder.name}"


class Life:
    """One job, as it is seen from the door."""

    __slots__ = ("grants", "since", "spec")

    def __init__(self, spec: NewJob) -> None:
        self.spec = spec
        self.grants: dict[int, Grant] = {}
        # The fence before which another life of it ended, when it was made to run once more.
        self.since = 0

    @property
    def latest(self) -> Grant | None:
        return self.grants[max(self.grants)] if self.grants else None


class Audit:
    """Follows every lease, and notes what must not be.

    Args:
        now: virtual time.
        look: what the store has of a job.
    """

    def __init__(self, now: Callable[[], float], look: Callable[[str], JobState | None]) -> None:
        self.lives: dict[str, Life] = {}
        # Jobs that gave way to another one of their unique key.
        self.replaced: set[str] = set()
        self.broken: list[str] = []
        self.trace: list[str] = []
        self._now = now
        self._look = look
        self._grants: dict[Token, Grant] = {}
        self._knowledge = Knowledge(now, self._grants)
        self._verbs: dict[str, Callable[[Process, Any, Any], None]] = {
            "push": self._pushed,
            "claim": self._claimed,
            "extend": self._extended,
            "settle": self._settled,
            "close_session": self._closed,
            "alter": self._altered,
        }

    def note(self, who: str, what: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self._now():.6f} {who} {what}")

    def violation(self, text: str) -> None:
        """A promise is broken."""
        self.broken.append(f"at {self._now():.6f}: {text}")
        self.note("audit", f"BROKEN {text}")

    def carried_out(self, sender: Process, verb: str, args: Sequence[Any], answer: Any) -> None:
        """The store has just done something."""
        see = self._verbs.get(verb)
        if see is not None:
            see(sender, args, answer)
        else:
            self.note(sender.name, verb)

    def sent(self, sender: Process, verb: str, args: Sequence[Any]) -> None:
        """A process sends a request."""
        wrong = self._knowledge.sent(sender, verb, args)
        if wrong is not None:
            self.violation(wrong)

    def heard(self, verb: str, args: Sequence[Any], answer: Any, sent: float) -> None:
        """A process gets the answer to what it sent at an instant."""
        self._knowledge.heard(verb, args, answer, sent)

    # -- the verbs -----------------------------------------------------------------------------

    def _pushed(self, sender: Process, args: Any, answers: Sequence[Pushed]) -> None:
        for spec, pushed in zip(args[0], answers, strict=True):
            self.note(sender.name, f"push {spec.task} {spec.id} {pushed.status}")
            if pushed.status is PushStatus.CREATED and spec.id in self.lives:
                self.violation(f"job {spec.id} was made twice")
            if pushed.status in (PushStatus.CREATED, PushStatus.REPLACED):
                # A push that replaced another job is answered so again when it is repeated.
                self.lives.setdefault(spec.id, Life(spec))
            if pushed.status is PushStatus.REPLACED and pushed.of is not None:
                self.replaced.add(pushed.of)

    def _claimed(self, sender: Process, args: Any, answer: Claimed) -> None:
        ask: Claim = args[0]
        fresh = [lease for lease in answer.leases if lease.token not in self._grants]
        for lease in fresh:
            self._granted(Grant(lease, sender, self._now(), self._now() + ask.lease))
        given = [f"{lease.token.job_id}/{lease.token.fence}" for lease in answer.leases]
        self.note(sender.name, f"claim {ask.request} {' '.join(given)}")
        if len(fresh) > ask.limit:
            self.violation(f"{sender.name} was given {len(fresh)} jobs, not {ask.limit}")

    def _granted(self, grant: Grant) -> None:
        token, now = grant.token, self._now()
        life = self.lives.get(token.job_id)
        if life is None:
            return self.violation(f"{grant} was given out, and nobody pushed it")
        before = life.latest
        if before is not None:
            if before.token.fence >= token.fence:
                self.violation(f"{grant} was given out after fence {before.token.fence}")
            if before.valid(now):
                self.violation(f"{grant} was given out while {before} still held it")
            elif before.ended is None and before.holder.unharmed_since(before.asked):
                self.violation(f"{before} lapsed, and nothing had happened to its foreman")
        self._check_shares(grant)
        life.grants[token.fence] = self._grants[token] = grant
        return None

    def _check_shares(self, grant: Grant) -> None:
        """No more hold a key or a slot at once than may."""
        spec, now = grant.lease.spec, self._now()
        others = [one.lease.spec for one in self._grants.values() if one.valid(now)]
        if spec.key is not None:
            mates = sum(1 for other in others if other.key == spec.key)
            if mates >= spec.key_slots:
                self.violation(f"{grant} has key {spec.key!r}, and {mates} others hold it")
        for ask in spec.asks:
            if isinstance(ask, Hold):
                used = sum(one.units for other in others for one in other.asks
                           if isinstance(one, Hold) and one.key == ask.key)  # fmt: skip
                if used + ask.units > ask.slots:
                    self.violation(f"{grant} has a slot of {ask.key!r}, and {used} are taken")

    def _extended(self, sender: Process, args: Any, answers: Sequence[Renewal]) -> None:
        _, held, lease = args
        for one, answer in zip(held, answers, strict=True):
            self._renewed(one, answer, lease)
        shown = [f"{one.token.job_id}/{one.token.fence}={answer}"
                 for one, answer in zip(held, answers, strict=True)]  # fmt: skip
        self.note(sender.name, f"extend {' '.join(shown)}")

    def _renewed(self, held: Held, answer: Renewal, lease: float) -> None:
        grant, now = self._grants.get(held.token), self._now()
        if grant is None:
            return self.violation(f"a lease was renewed that nobody was given: {held.token}")
        if answer is Renewal.LOST:
            if grant.valid(now) and self._highest(grant):
                self.violation(f"{grant} was refused its renewal, {grant.until - now:g} s early")
            return None
        if grant.ended or not self._highest(grant):
            self.violation(f"{grant} was renewed, and is over ({grant.ended})")
        grant.until = now + lease
        grant.reported = grant.reported or held.started
        return None

    def _settled(self, sender: Process, args: Any, answers: Sequence[Settled]) -> None:
        for end, answer in zip(args[0], answers, strict=True):
            self.note(sender.name, f"settle {end.token.job_id}/{end.token.fence} "
                                   f"{type(end.verdict).__name__} {answer}")  # fmt: skip
            grant = self._grants.get(end.token)
            if grant is None:
                self.violation(f"a verdict came of a lease that nobody was given: {end.token}")
            else:
                self._judged(grant, end)
                self._answered(grant, end, answer)

    def _judged(self, grant: Grant, end: Settlement) -> None:
        """What its holder says of a lease, whatever the store makes of it."""
        kind = type(end.verdict)
        if grant.said not in (None, kind.__name__):
            self.violation(f"{grant} was said to be {kind.__name__}, after {grant.said}")
        if kind is Released and grant.lease.spec.at_most_once and grant.started is not None:
            self.violation(f"{grant} was given back, and had started what runs at most once")
        grant.said = kind.__name__

    def _answered(self, grant: Grant, end: Settlement, answer: Settled) -> None:
        if answer is Settled.OK:
            if grant.ended is not None:
                self.violation(f"{grant} was settled twice: {grant.ended}, {end.verdict}")
            if not self._highest(grant):
                self.violation(f"{grant} was settled, and a later fence is out")
            grant.ended = type(end.verdict).__name__
            if isinstance(end.verdict, Done):
                for spec in end.follow_ups:
                    if self._look(spec.id) is not None:
                        self.lives.setdefault(spec.id, Life(spec))
        elif answer is Settled.ALREADY:
            if grant.ended != type(end.verdict).__name__:
                self.violation(f"{grant} was settled already, but as {grant.ended}")
        elif grant.valid(self._now()) and self._highest(grant):
            self.violation(f"{grant} could not be settled ({answer}), and held its job")

    def _highest(self, grant: Grant) -> bool:
        return self.lives[grant.token.job_id].latest is grant

    def _closed(self, sender: Process, args: Any, _: None) -> None:
        session: Session = args[0]
        self.note(sender.name, "close_session")
        for grant in self._grants.values():
            if grant.token.nonce == session.nonce and grant.ended is None:
                grant.ended = "closed"

    def _altered(self, sender: Process, args: Any, answer: Altered) -> None:
        change = args[1]
        self.note(sender.name, f"alter {type(change).__name__} {' '.join(answer.done)}")
        if isinstance(change, Retry):
            for job_id in answer.done:
                life = self.lives[job_id]
                life.since = max(life.grants, default=0)

    # -- the code of jobs ----------------------------------------------------------------------

    def started(self, process: Process, job_id: str, fence: int) -> None:
        """The code of a job begins."""
        self.note(process.name, f"start {job_id}/{fence}")
        now, life = self._now(), self.lives[job_id]
        grant = life.grants[fence]
        if grant.started is not None:
            self.violation(f"{grant} started twice")
        if grant.holder is not process:
            self.violation(f"{grant} started in {process.name}")
        if not grant.valid(now) and process.frozen_at < grant.at:
            self.violation(f"{grant} started when its lease was over ({grant.ended})")
        if life.spec.at_most_once and any(
            one.started is not None for one in life.grants.values() if one.token.fence > life.since
        ):
            self.violation(f"{grant} started a job again that runs at most once")
        grant.started = now

    def goes_on(self, process: Process, job_id: str, fence: int) -> None:
        """The code of a job is not at its end, and would have ended when asked to."""
        grant = self.lives[job_id].grants[fence]
        if self._knowledge.overrun(process, grant):
            self.violation(f"{grant} goes on, and its foreman must know that its lease is over")

    def effect(self, process: Process, job_id: str, fence: int) -> None:
        """The code of a job has done what it is for."""
        self.note(process.name, f"effect {job_id}/{fence}")
        grant = self.lives[job_id].grants[fence]
        grant.owed = self._knowledge.at_ease(grant)
