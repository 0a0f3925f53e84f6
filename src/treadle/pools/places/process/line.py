"""The calls of a place in their order: those that wait, and those that its child was sent."""

from __future__ import annotations

from collections import deque

from treadle.pools.places.process.board import WINDOW, Board
from treadle.pools.places.process.errand import Errand
from treadle.pools.submission import Kind, Submission

__all__ = ["Line"]

# Bytes that a child may have been sent ahead of the call that it carries out.
_AHEAD = 1 << 20
# Calls that keep a child busy until it is sent more: while others are given to the place, and
# when the child has reported. Between two reports it may do as many as it can in the time that
# a thread that does not wait for anything keeps the interpreter to itself.
_ENOUGH, _PLENTY = 16, WINDOW // 2


class Line:
    """Keeps the order. The place holds its lock around every use."""

    def __init__(self) -> None:
        # Those whose futures have not ended.
        self.open: dict[Submission, Errand] = {}
        # What comes before those that wait: steps of the worker's life, then what was recalled
        # from the child for them.
        self._urgent: deque[Errand] = deque()
        self._recalled: deque[Errand] = deque()
        self._waiting: deque[Errand] = deque()
        # The child reports them in this order: the first is the one that it carries out.
        self.sent: deque[Errand] = deque()
        # Those that somebody else has ended before their turn came.
        self.vain: list[Errand] = []
        self._ahead = 0
        self._number = 0

    def add(self, errand: Errand) -> None:
        """Put a call at the end."""
        self.open[errand.call] = errand
        self._waiting.append(errand)

    def hasten(self, errand: Errand, board: Board | None) -> None:
        """Put a step of the worker's life before everything that has not begun."""
        self.open[errand.call] = errand
        self._urgent.append(errand)
        self.recall(board)

    def recall(self, board: Board | None, keep: int = 1) -> None:
        """Have the child pass over what it has not begun; that is sent again later.

        Args:
            board: of the child.
            keep: so many are taken for what it carries out.
        """
        for one in list(self.sent)[keep:]:
            if board is not None and not one.is_life and not one.recalled:
                # The child may have begun it meanwhile, and then it is not to be done again.
                one.recalled = board.skip(one.number)

    def __bool__(self) -> bool:
        return bool(self._urgent or self._recalled or self._waiting)

    @property
    def has_enough(self) -> bool:
        """The child has enough to do for now, and nothing is urgent."""
        return len(self.sent) >= _ENOUGH and not self._urgent

    @property
    def has_plenty(self) -> bool:
        """The child has more to do than it can before it is heard again, and nothing is urgent."""
        return len(self.sent) >= _PLENTY and not self._urgent

    def next(self) -> Errand | None:
        """The next call to be sent, if there is one and room for it."""
        sent = self.sent
        while line := self._urgent or self._recalled or self._waiting:
            errand = line[0]
            full = len(sent) >= WINDOW or (sent and self._ahead + errand.size > _AHEAD)
            if full and line is not self._urgent:
                return None
            line.popleft()
            if errand.over:
                continue
            if errand.call.future.done():
                self.vain.append(errand)
                continue
            if not sent:
                errand.call.future.begin()
            self.send(errand)
            return errand
        return None

    def send(self, errand: Errand) -> None:
        """A call is sent now."""
        self._number += 1
        errand.number = self._number
        self._ahead += errand.size
        self.sent.append(errand)

    def reported(self, skipped: bool) -> Errand:
        """The child has done with the first, or passed it over; that one."""
        errand = self.sent.popleft()
        self._ahead -= errand.size
        if skipped and not errand.over:
            # It was recalled, or was to be taken back in the moment in which it began.
            self._recalled.append(errand)
            errand.number = 0
        errand.recalled = False
        return errand

    def begin_first(self) -> None:
        """The child gets to the next one."""
        if self.sent and not self.sent[0].over and not self.sent[0].recalled:
            self.sent[0].call.future.begin()

    def has(self, errand: Errand) -> bool:
        """Whether the child carries it out."""
        return bool(self.sent) and self.sent[0] is errand

    def bereaved(self, begun: int) -> Errand | None:
        """The child has died; the call that it was carrying out. The others wait again.

        Args:
            begun: the number of the last call that it had begun.
        """
        victim: Errand | None = None
        for errand in reversed(self.sent):
            if errand.number <= begun and not errand.recalled:
                victim = errand
            elif not errand.over:
                self._recalled.appendleft(errand)
                # The next child knows nothing of this one's numbers.
                errand.number, errand.recalled = 0, False
        self.sent.clear()
        self._ahead = self._number = 0
        return victim

    def withdraw(self, errand: Errand, board: Board | None) -> bool:
        """Take a call back; False when it has begun."""
        if errand.number and (board is None or not board.skip(errand.number)):
            return False
        errand.over = True
        return True

    def take_back(self, call: Submission, board: Board | None) -> Errand | None:
        """Let go of a call that has not begun; its errand, which is over."""
        errand = self.open.get(call)
        if errand is None or not _may_move(errand) or not self.withdraw(errand, board):
            return None
        return errand

    def has_room_for_one(self, slots: int) -> bool:
        """Whether a child that carries out so many at a time would begin one more at once."""
        return len(self.sent) < slots and not any(one.is_life for one in self.sent)

    def give_up(self, most: int, board: Board | None) -> list[Errand]:
        """Let go of the oldest calls that have not begun, for another place to carry out."""
        found: list[Errand] = []
        if board is not None:
            for errand in self.sent:
                if len(found) >= most:
                    break
                # One that has begun by now would be passed over the next time for nothing.
                if _may_move(errand) and errand.number > board.begun and board.skip(errand.number):
                    found.append(errand.moved())
        for line in (self._recalled, self._waiting):
            stay: list[Errand] = []
            while line and len(found) < most:
                errand = line.popleft()
                (found if _may_move(errand) else stay).append(errand)
            line.extendleft(reversed(stay))
        for errand in found:
            del self.open[errand.call]
        return found

    def clear(self) -> list[Errand]:
        """Forget those that wait; they."""
        found = [one for line in self._lines() for one in line if not one.over]
        for line in self._lines():
            line.clear()
        return found

    def without_child(self) -> list[Errand]:
        """Steps at the head that need no child: to stop what is not there."""
        found: list[Errand] = []
        while line := self._urgent or self._recalled or self._waiting:
            errand = line[0]
            if not (errand.over or _stops(errand.call)):
                break
            line.popleft()
            if not errand.over:
                found.append(errand)
        return found

    def _lines(self) -> tuple[deque[Errand], ...]:
        return self._urgent, self._recalled, self._waiting


def _may_move(errand: Errand) -> bool:
    if errand.is_life or errand.over or errand.recalled:
        return False
    # The one that is next counts as running before the child gets to it.
    return not (errand.call.future.running() or errand.call.future.done())


def _stops(call: Submission) -> bool:
    return call.kind == Kind.LIFE and call.what == "stop"
