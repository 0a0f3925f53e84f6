"""Calls that overlap in a child process of the place."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from treadle.logs import get_logger
from treadle.pools.places.process import wire
from treadle.pools.places.process.birth import Death
from treadle.pools.places.process.board import RING, WINDOW, Board
from treadle.pools.places.process.errand import Errand
from treadle.pools.places.process.lending import LendingPlace
from treadle.pools.places.process.life import Life
from treadle.pools.places.process.line import Line
from treadle.pools.places.process.wire import Frame, frame
from treadle.pools.resident import Plan
from treadle.pools.submission import said_of

__all__ = ["OverlappingPlace"]

_log = get_logger("treadle.pools")


class OverlappingLine(Line):
    """The same order, of which the first few are carried out beside each other.

    Args:
        slots: so many.
    """

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._slots = slots

    @property
    def has_enough(self) -> bool:
        """The child has enough to do for now, and nothing is urgent."""
        return len(self.sent) >= 16 + 2 * self._slots and not self._urgent

    @property
    def has_plenty(self) -> bool:
        """The child has more to do than it can before it is heard again, and nothing is urgent."""
        return len(self.sent) >= WINDOW // 2 + self._slots and not self._urgent

    def next(self) -> Errand | None:
        """The next call to be sent, if there is one and room for it."""
        # One that takes long must not meet the number of another on the board.
        if self.sent and self._number - self.sent[0].number >= RING - 1:
            return None
        return super().next()

    def running(self) -> list[Errand]:
        """Those that the child carries out, as far as is known here."""
        return list(self.sent)[: self._slots]

    def at(self, number: int) -> Errand | None:
        """The call with a number that the child was sent."""
        return next((one for one in self.sent if one.number == number), None)

    def bring_first(self, errand: Errand) -> None:
        """The child reports a call before those that it was sent earlier."""
        self.sent.remove(errand)
        self.sent.appendleft(errand)

    def has(self, errand: Errand) -> bool:
        """Whether the child carries it out."""
        return errand in self.sent

    def victims(self, begun: int) -> list[Errand]:
        """Those that a child was carrying out that has died."""
        return [one for one in self.sent if one.number <= begun and not one.recalled]

    def hasten(self, errand: Errand, board: Board | None) -> None:
        """Put a step of the worker's life before everything that has not begun."""
        begun = 0 if board is None else board.begun
        running = [one for one in self.sent if one.number <= begun]
        waiting = [one for one in self.sent if one.number > begun]
        # The first of these is taken for the one that runs.
        self.sent.clear()
        self.sent.extend(running[:1] + waiting)
        super().hasten(errand, board)
        self.sent.clear()
        self.sent.extend(running + waiting)


class OverlappingPlace(LendingPlace):
    """Its worker lives in a child process, and so many coroutines of it overlap there.

    Plain code runs between them. What a child that dies was carrying out ends with it. A call is
    asked to end alone; one that swallows the request ends here after the patience, and its child
    when the others have ended. A child whose loop does not turn is ended at once.

    Args:
        plan: how the worker is made.
        index: its number.
        rest: see :class:`~treadle.pools.places.process.place.ProcessPlace`.
    """

    _line: OverlappingLine

    def __init__(self, plan: Plan, index: int = 0, **rest: Any) -> None:
        super().__init__(plan, index, **rest)
        self.abandoned = 0
        self._line = OverlappingLine(self._terms.slots)
        # Calls of the child that were asked to end and said to be, and since when calls run.
        self._heard: set[int] = set()
        self._times: dict[Errand, float] = {}

    def _send_what_fits(self, life: Life) -> None:
        super()._send_what_fits(life)
        self._open_window()

    def _open_window(self) -> None:
        now = self._now()
        for errand in self._line.running():
            if errand not in self._times and not errand.over and not errand.recalled:
                self._times[errand] = now
                errand.call.future.begin()

    def _reported(self, life: Life, reports: Sequence[Frame]) -> bool:
        ends = [told for told in reports if told.tag != wire.ASKED]
        self._heard.update(told.number for told in reports if told.tag == wire.ASKED)
        rests = bool(ends) and super()._reported(life, ends)
        with self._lock:
            self._open_window()
            self._end_spoilt(life)
        return rests

    def _accounted(self, life: Life, told: Frame, now: float) -> Errand | None:
        errand = self._line.at(told.number)
        assert errand is not None, "it reports what it was sent, once"
        self._heard.discard(told.number)
        life.board.unskip(told.number)
        self._line.bring_first(errand)
        self._since = self._times.pop(errand, now)
        return super()._accounted(life, told, now)

    def _pass_on(self, told: Frame) -> None:
        with self._lock:
            errand = self._line.at(told.number)
        said = None if errand is None else said_of(errand.call)
        if said is not None:
            said(told.body)

    def died(self, life: Life, death: Death) -> None:
        """The child has ended, and everything that it said was heard."""
        with self._lock:
            victims = self._line.victims(life.board.begun)
            self._heard.clear()
            self._times.clear()
            crash = self._crash_of(death)
            # The first one is told by what is common to all places.
            self._ends.extend((one, one.asked or crash) for one in victims[1:] if not one.over)
        super().died(life, death)

    # ------------------------------------------------------------- its end

    def _ask(self, life: Life, errand: Errand, reason: BaseException) -> None:
        try:
            body = pickle.dumps(reason)
        except Exception:  # noqa: BLE001 - a reason that cannot travel is none
            body = b""
        life.send(frame(wire.ASK, errand.number, body))

    def _insist(self, life: Life, errand: Errand) -> None:
        with self._lock:
            if self._life is not life or not self._line.has(errand):
                return
            life.retiring = True
            if errand.number not in self._heard:
                life.kill()
                return
            errand.over = True
            self._ends.append((errand, errand.asked))
            self.abandoned += 1
            self._end_spoilt(life)
        _log.error("coroutine.abandoned", worker=self._name, patience=self._terms.patience,
                   hint="let CancelledError through")  # fmt: skip
        self._settle()

    def _end_spoilt(self, life: Life) -> None:
        """End a child that carries out nothing any more but what was left to itself."""
        sent = self._line.sent
        left = any(one.over and not one.recalled for one in sent)
        if life.retiring and left and all(one.over or one.is_life for one in sent):
            life.kill()
