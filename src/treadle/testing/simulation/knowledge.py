"""What each foreman can know of its leases: what it asked, and which answers it has heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from treadle.ports import Claim, Claimed, Held
from treadle.records import Renewal, Token

if TYPE_CHECKING:
    from treadle.testing.simulation.audit import Grant
    from treadle.testing.simulation.loop import Process

__all__ = ["Knowledge"]

_LONGEST_PAUSE = 5.0
"""Seconds between two repeats, and so before the end of a lease with which repeats may end."""
_HEARTBEATS = 1.0
"""Seconds within which a process that has stood still looks at its leases again."""


class Knowledge:
    """Hears what is sent and what is answered, at the door of each process.

    Args:
        now: virtual time.
        grants: what the store has given out, by token.
    """

    def __init__(self, now: Callable[[], float], grants: dict[Token, Grant]) -> None:
        self._now = now
        self._grants = grants
        # When a claim was sent for the first time, by session and number.
        self._asked: dict[tuple[int, int], float] = {}
        # The last claim of a session to which nothing was heard, and its lease.
        self._unanswered: dict[int, tuple[int, float]] = {}

    def sent(self, sender: Process, verb: str, args: Sequence[Any]) -> str | None:
        """What is wrong with sending this now."""
        if verb != "claim":
            return None
        ask: Claim = args[0]
        nonce, now = ask.session.nonce, self._now()
        number, lease = self._unanswered.get(nonce, (ask.request, ask.lease))
        self._asked.setdefault((nonce, ask.request), now)
        self._unanswered[nonce] = (ask.request, ask.lease)
        until = self._asked[nonce, number] + lease - 2 * _margin(lease) - _LONGEST_PAUSE
        if number != ask.request and now < until:
            return f"{sender.name} claims anew, and does not know what claim {number} gave it"
        return None

    def heard(self, verb: str, args: Sequence[Any], answer: Any, sent: float) -> None:
        """An answer to what was sent at an instant has arrived."""
        for token, since, lease in _confirmed(verb, args, answer, sent, self._asked):
            grant = self._grants[token]
            if grant.sure_until >= 0 and self._now() > grant.sure_until - 2 * _margin(lease):
                grant.doubted = True
            grant.sure_since = max(grant.sure_since, since)
            grant.sure_until = max(grant.sure_until, since + lease)
        if verb == "claim":
            self._unanswered.pop(args[0].session.nonce, None)

    def overrun(self, process: Process, grant: Grant) -> bool:
        """Whether code goes on although its foreman must know that its lease is over."""
        end = grant.sure_until
        return self._now() > end and process.frozen_at < end - _HEARTBEATS

    def at_ease(self, grant: Grant) -> bool:
        """Whether its foreman has never had a reason to think that the lease is over, or nearly."""
        third = (grant.sure_until - grant.sure_since) / 3
        return not grant.doubted and self._now() < grant.sure_since + third


def _margin(lease: float) -> float:
    return max(1.0, lease / 10)


def _confirmed(
    verb: str,
    args: Sequence[Any],
    answer: Any,
    sent: float,
    asked: dict[tuple[int, int], float],
) -> Iterator[tuple[Token, float, float]]:
    """Leases that an answer confirms, since when for certain, and for how long."""
    if verb == "claim":
        ask: Claim = args[0]
        claimed: Claimed = answer
        # The answer may be that to the first of several requests.
        first = asked[ask.session.nonce, ask.request]
        for lease in claimed.leases:
            yield lease.token, first, ask.lease
    elif verb == "extend":
        held: Sequence[Held] = args[1]
        for one, renewal in zip(held, answer, strict=True):
            if renewal is not Renewal.LOST:
                yield one.token, sent, args[2]
