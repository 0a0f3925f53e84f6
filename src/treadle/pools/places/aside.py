"""The plain methods of a worker that lives in an event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle.clock import Clock
from treadle.pools.places.shift import Shift
from treadle.pools.places.thread import ThreadPlace
from treadle.pools.resident import Plan, Resident
from treadle.pools.submission import Submission

__all__ = ["Aside"]


class Aside(ThreadPlace):
    """A thread beside the loop, so that plain code does not stop it.

    Args:
        plan: of the worker, for names.
        index: its number.
        resident: the worker, which the loop has too.
        over: is told of each call that has ended here.
        pass_on: has an awaitable awaited in the loop.
        patience: seconds.
        clock: measures the patience.
    """

    def __init__(
        self,
        plan: Plan,
        index: int,
        resident: Resident,
        *,
        over: Callable[[Submission], None],
        pass_on: Callable[[Submission, Any], None],
        patience: float,
        clock: Clock,
    ) -> None:
        self._resident = resident
        self._told = over
        self._pass_on = pass_on
        super().__init__(plan, index, patience=patience, clock=clock)

    def _begin_shift(self, *first: Submission) -> Shift:
        # The worker stays when a thread is replaced: it lives in the loop.
        shift = Shift(self, self._resident)
        shift.thread.start()
        return shift

    def passes_on(self, call: Submission, value: Any) -> bool:
        """The loop awaits it."""
        self._pass_on(call, value)
        return True

    def come_back(self, shift: Shift) -> None:
        """Nothing: the worker is not its own."""

    def _leave_alone(self, call: Submission, error: BaseException | None, waited: float) -> None:
        super()._leave_alone(call, error, waited)
        self._told(call)

    def over(self, shift: Shift, call: Submission) -> bool:
        """A call has ended; whether the thread goes on."""
        goes_on = super().over(shift, call)
        if goes_on:
            self._told(call)
        return goes_on
