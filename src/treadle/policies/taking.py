"""Taking limits as steps: ask, wait in line, ask again, and leave the line when it fails."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from treadle.errors import LimitTimeout
from treadle.policies.effects import Acquire, AwaitTurn, Effect, Look, Moment, Withdraw
from treadle.ports import Granted, Permit, Ticket
from treadle.records import Ask

__all__ = ["taking"]


def taking(
    name: str, asks: tuple[Ask, ...], most: float | None
) -> Generator[Effect, Any, tuple[Permit, bool]]:
    """The permit, and whether it took time.

    Args:
        name: who takes them, for messages.
        asks: what is asked for.
        most: seconds since the driver began, after which waiting is over.

    Raises:
        LimitTimeout: they were not granted in time.
    """
    ticket: Ticket | None = None
    try:
        waited = False
        while True:
            answer = yield Acquire(asks, ticket)
            if isinstance(answer, Granted):
                ticket = None
                return answer.permit, waited
            ticket = place = answer.ticket
            delay, waited = answer.delay, True
            if most is not None:
                moment: Moment = yield Look()
                if moment.elapsed >= most:
                    raise _late(name, asks, most)
                delay = min(delay, most - moment.elapsed)
            yield AwaitTurn(place, delay)
    finally:
        if ticket is not None:
            yield Withdraw(ticket)


def _late(name: str, asks: tuple[Ask, ...], most: float) -> LimitTimeout:
    keys = tuple(ask.key.removeprefix(":") for ask in asks)
    return LimitTimeout(
        f"{name} was not granted {', '.join(keys)} within the {most:g} s that it may take",
        keys=keys,
    )
