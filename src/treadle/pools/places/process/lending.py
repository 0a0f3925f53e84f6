"""Places whose waiting calls others of their pool may take over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle.pools.places.place import Place
from treadle.pools.places.process.errand import Errand
from treadle.pools.places.process.life import Life
from treadle.pools.places.process.place import ProcessPlace
from treadle.pools.places.process.wire import Frame
from treadle.pools.resident import Plan
from treadle.pools.submission import Submission

__all__ = ["LendingPlace"]


class LendingPlace(ProcessPlace):
    """A place that hands over calls, and takes calls over, that have not begun.

    What its child was sent and has not begun is passed over there, as a call that was cancelled
    is: who of both was first is answered by the memory that they share. No place holds its lock
    while it waits for that of another one.

    Args:
        plan: how the worker is made.
        index: its number.
        idle: told whenever it could carry out another call at once.
        rest: see :class:`~treadle.pools.places.process.place.ProcessPlace`.
    """

    def __init__(
        self, plan: Plan, index: int = 0, *, idle: Callable[[], object] | None = None, **rest: Any
    ) -> None:
        super().__init__(plan, index, **rest)
        self._idle = idle

    @property
    def is_free(self) -> bool:
        """Whether it would begin another call at once."""
        with self._lock:
            life, line = self._life, self._line
            lives = life is not None and life.ready and not life.retiring and not self._closing
            return lives and not line and line.has_room_for_one(self._terms.slots)

    def pulse(self) -> tuple[int, int]:
        """The child, and how many calls it has begun."""
        with self._lock:
            life = self._life
            return (0, 0) if life is None else (life.pid, life.board.begun)

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something after a time, in the thread that hears the children."""
        self._later(seconds, act)

    # ------------------------------------------------------------- from one to another

    def pass_to(self, other: Place, most: int) -> int:
        """Have another one carry out the oldest calls that have not begun; how many those are.

        Who asks keeps both from being closed meanwhile.
        """
        assert isinstance(other, LendingPlace), "the places of a pool are of one kind"
        with self._lock:
            board = None if self._life is None else self._life.board
            moved = self._line.give_up(most, board)
        self.total -= len(moved)
        for errand in moved:
            # Before it is there: who cancels it now finds it, or it finds that it has ended.
            errand.call.place = other
        other._take_over(moved)
        return len(moved)

    def _take_over(self, errands: Sequence[Errand]) -> None:
        self.total += len(errands)
        with self._lock:
            for errand in errands:
                self._line.add(errand)
            self._pump()
        if self._ends:
            # Who asks holds what those who hear of an end may wait for.
            self._ear.post(self._settle)

    def interrupt(self, call: Submission, error: BaseException | None = None) -> bool:
        """End a call; see :meth:`ProcessPlace.interrupt`. It may be with another place by now."""
        if (place := self._elsewhere(call)) is not None:
            return place.interrupt(call, error)
        ended = super().interrupt(call, error)
        # In the moment in which it was ended, it may have gone elsewhere or come here.
        if (place := self._elsewhere(call)) is not None:
            place.interrupt(call, error)
        elif call in self._line.open:
            super().interrupt(call, error)
        return ended

    def _elsewhere(self, call: Submission) -> LendingPlace | None:
        place = getattr(call, "place", None)
        return place if isinstance(place, LendingPlace) and place is not self else None

    # ------------------------------------------------------------- what the child says

    def _reported(self, life: Life, reports: Sequence[Frame]) -> bool:
        rests = super()._reported(life, reports)
        self._say_if_idle()
        return rests

    def _started(self, life: Life, told: Frame) -> None:
        super()._started(life, told)
        self._say_if_idle()

    def _say_if_idle(self) -> None:
        if self._idle is not None and self.active < self._terms.slots:
            self._idle()
