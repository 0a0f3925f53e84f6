"""What a place was given and has not ended."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from treadle.errors import CallCancelled
from treadle.pools.places.process.parcel import Parcel, pack
from treadle.pools.places.ray.host import Order
from treadle.pools.submission import Kind, Submission

__all__ = ["Errand", "Ledger", "end_with", "packed"]


class Errand:
    """A call on its way to an actor and back.

    Args:
        call: whose future is told the end.
        parcel: it, packed.
        urgent: it comes before those that wait.
    """

    __slots__ = ("answer", "call", "number", "parcel", "reason", "urgent")

    def __init__(self, call: Submission, parcel: Parcel, *, urgent: bool = False) -> None:
        self.call = call
        self.parcel = parcel
        self.urgent = urgent
        self.number = 0
        # Why it has to end, once it has, and what its actor answered to that.
        self.reason: BaseException | None = None
        self.answer: str | None = None

    @property
    def is_life(self) -> bool:
        """Whether it is a step of the worker's life."""
        return self.call.kind == Kind.LIFE

    def is_step(self, step: str) -> bool:
        """Whether it is this step of the worker's life."""
        return self.is_life and self.call.what == step

    def order(self) -> Order:
        """For the actor."""
        buffers = tuple(self.parcel.buffers)
        return Order(self.number, self.urgent, self.call.name, self.parcel.body, buffers)


def packed(call: Submission, name: str) -> Parcel:
    """A call of a worker, as it is now.

    Raises:
        NotEncodable: it cannot travel.
    """
    parcel = pack((int(call.kind), call.what, call.args, call.kwargs), f"{call.name}() of {name}")
    parcel.keep()
    return parcel


def end_with(call: Submission, error: BaseException) -> None:
    """End a call with an error, or as cancelled where the error says so."""
    if isinstance(error, CallCancelled):
        call.future.end_cancelled(str(error))
    else:
        call.future.end(None, error)


class Ledger:
    """Errands that were sent to an actor, by number.

    Args:
        over: told of each errand that is struck out.
    """

    def __init__(self, over: Callable[[Errand], None]) -> None:
        self._over = over
        self._sent: OrderedDict[int, Errand] = OrderedDict()
        self._numbers: dict[Submission, int] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._sent)

    def __iter__(self) -> Iterator[Errand]:
        """In the order in which they were sent."""
        return iter(tuple(self._sent.values()))

    def enter(self, errand: Errand) -> None:
        """Number an errand that is sent."""
        self._last += 1
        errand.number = self._last
        self._sent[errand.number] = errand
        self._numbers[errand.call] = errand.number

    def find(self, call: Submission) -> Errand | None:
        """The errand of a call, when it was sent and is not over."""
        return self._sent.get(self._numbers.get(call, 0))

    def at(self, number: int) -> Errand | None:
        """The errand with a number."""
        return self._sent.get(number)

    def strike(self, number: int) -> Errand | None:
        """Take an errand out that is over."""
        errand = self.take(number)
        if errand is not None:
            self._over(errand)
        return errand

    def take(self, number: int) -> Errand | None:
        """Take an errand out that is to be sent again."""
        errand = self._sent.pop(number, None)
        if errand is not None:
            del self._numbers[errand.call]
        return errand

    @property
    def first(self) -> Errand | None:
        """The one that was sent before all others."""
        return next(iter(self._sent.values()), None)
