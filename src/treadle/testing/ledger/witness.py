"""A backend whose pushes, claims and verdicts are written down by the process that makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from treadle.events import Event
from treadle.fates import Fate
from treadle.ports import Backend, Claim, Claimed, Held, Settlement
from treadle.records import NewJob, Pushed, PushStatus, Renewal, Session, Settled
from treadle.telling import heard, name_of
from treadle.testing.ledger.book import Ledger

if TYPE_CHECKING:
    from treadle.app import Treadle

__all__ = ["Witness", "witnessed"]

_SAID = ("job.lost", "job.failed", "job.cancelled", "job.retrying")
_MADE = frozenset({PushStatus.CREATED, PushStatus.REPLACED})


class Witness:
    """Everything goes to the backend inside; what matters to the ledger is written around it.

    Args:
        inner: does the work.
        ledger: of this process.
        slow: seconds from which on a call is worth a line.
    """

    def __init__(self, inner: Backend, ledger: Ledger, *, slow: float = 0.5) -> None:
        self._inner = inner
        self._ledger = ledger
        self._slow = slow

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _took(self, verb: str, since: float) -> None:
        seconds = self._ledger.now() - since
        if seconds >= self._slow:
            self._ledger.waited(verb, seconds)

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Each job is written before it is sent, and again when it was made."""
        since = self._ledger.now()
        for job in jobs:
            self._ledger.tried(job.id)
        answers = await self._inner.push(jobs)
        for job, answer in zip(jobs, answers, strict=True):
            # A repeated push finds what the first one made.
            if answer.status in _MADE or answer.status is PushStatus.EXISTS:
                self._ledger.accepted(job.id)
        self._took("push", since)
        return answers

    async def claim(self, ask: Claim) -> Claimed:
        """What was granted is written before anybody runs it."""
        since = self._ledger.now()
        claimed = await self._inner.claim(ask)
        for lease in claimed.leases:
            self._ledger.granted(lease, since)
        self._took("claim", since)
        return claimed

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Only its slowness is written."""
        since = self._ledger.now()
        answers = await self._inner.extend(session, held, lease)
        self._took("extend", since)
        return answers

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        """Follow-ups are pushed with it; verdicts are written before they are sent, and answers."""
        since = self._ledger.now()
        for end in ends:
            self._ledger.sent(end.token.job_id, end.token.fence, _word(end))
            for job in end.follow_ups:
                self._ledger.tried(job.id)
        answers = await self._inner.settle(ends)
        for end, answer in zip(ends, answers, strict=True):
            token = end.token
            self._ledger.answered(token.job_id, token.fence, _word(end), answer.value)
        self._took("settle", since)
        return answers


def _word(end: Settlement) -> str:
    return type(end.verdict).__name__.lower()


def witnessed(app: Treadle, ledger: Ledger, *, slow: float = 0.5) -> Callable[[], None]:
    """Have an app write down what it does to its store, from its next use on.

    Also what ended by itself in the store, and the events that tell of this and of lost leases: all
    of it is to be said aloud.

    Args:
        app: not open yet.
        ledger: of this process.
        slow: seconds from which on a call of the store is worth a line.
    """
    core = app.core
    opens, store = core._open_backend, core.store

    def opened(url: str) -> Backend:
        return heard(cast("Backend", Witness(opens(url), ledger, slow=slow)), fated)

    def fated(fates: Sequence[Fate]) -> None:
        for fate in fates:
            ledger.fated(fate.id, name_of(fate))

    def said(event: Event) -> None:
        ledger.said(event.name, event.job_id or "")

    def undo() -> None:
        core.bus.off(said)
        core.store = store
        core._open_backend = opens  # type: ignore[method-assign]

    core._open_backend = opened  # type: ignore[method-assign]
    core.store = core.store_at(core.url)
    for name in _SAID:
        core.bus.on(name, said)
    return undo
