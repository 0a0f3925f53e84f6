"""How often a worker is lent: the rates that each worker has of its own."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.clock import Clock
from treadle.errors import InvalidOption
from treadle.policies.limits import Limit, Rate
from treadle.policies.rates import FRESH, State, reserve, spend
from treadle.records import Spend

__all__ = ["Pace", "rates_of"]


class Pace:
    """What one worker has spent of its rates.

    Args:
        rates: what a loan costs.
        clock: the one that rates go by.
    """

    __slots__ = ("_clock", "_rates", "_spent")

    def __init__(self, rates: Sequence[Spend], clock: Clock) -> None:
        self._rates = rates
        self._clock = clock
        self._spent: list[State] = [FRESH] * len(rates)

    def pause(self) -> float:
        """Seconds until the next loan; 0 when there may be one now."""
        now = self._clock.now()
        spent = zip(self._spent, self._rates, strict=True)
        return max(0.0, *(spend(state, now, rate)[0] - now for state, rate in spent))

    def spend(self) -> None:
        """Book a loan."""
        now = self._clock.now()
        spent = zip(self._spent, self._rates, strict=True)
        self._spent = [reserve(state, now, rate)[1] for state, rate in spent]


def rates_of(limits: Sequence[Limit]) -> list[Spend]:
    """What each loan costs a worker of its own limits; those of jobs are asked for with them.

    Raises:
        InvalidOption: a limit that a worker cannot have for itself.
    """
    found: list[Spend] = []
    for limit in limits:
        if not isinstance(limit, Rate) or limit.readers or limit.scope is None:
            raise InvalidOption(
                f"limits: {limit!r} cannot be that of a worker that jobs are given; it has rates "
                "with scope='worker' that depend on no argument, and slots=. Other limits are "
                "those of the task: @app.task(limits=…)",
                option="limits",
                value=limit,
            )
        ask = limit.ask("worker", {})
        assert ask is not None, "a constant cost is above 0"
        found.append(ask)
    return found
