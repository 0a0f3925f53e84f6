"""A call on its way to a child and back."""

from __future__ import annotations

import os
import pickle
from copy import copy
from typing import Any

from treadle.errors import NotEncodable
from treadle.pools.places.process.parcel import LARGE, Parcel, pack
from treadle.pools.places.process.plain import are_atoms
from treadle.pools.submission import Kind, Submission

__all__ = ["Errand", "packed_call"]

_METHOD, _LIFE = Kind.METHOD, Kind.LIFE


class Errand:
    """A call that a place was given.

    Args:
        call: itself.
        parcel: what is called and its arguments.
    """

    __slots__ = (
        "_body",
        "_descriptor",
        "_parcel",
        "asked",
        "call",
        "is_life",
        "number",
        "over",
        "recalled",
        "size",
    )

    def __init__(self, call: Submission, parcel: Parcel) -> None:
        self.call = call
        # It is a step of the worker's life.
        self.is_life = call.kind is _LIFE
        self.size = parcel.size
        # For its child; another one with each child.
        self.number = 0
        # Why it has to end, once it has to.
        self.asked: BaseException | None = None
        # Its future has ended before it has.
        self.over = False
        # Its turn comes later than when it was sent.
        self.recalled = False
        self._parcel: Parcel | None = parcel
        self._body = b""
        self._descriptor: int | None = None

    def wait(self) -> None:
        """It is not sent at once: what belongs to the caller may change until then."""
        if self._parcel is not None and self._parcel.buffers:
            self._parcel.keep()

    @property
    def is_heavy(self) -> bool:
        """It holds memory that is to be given back as soon as it is not needed any more."""
        return self.size >= LARGE

    def wrapped(self) -> tuple[bytes, tuple[int, ...]]:
        """The body of its frame, and the descriptors that go with it; again for another child."""
        if self._parcel is not None:
            self._body, self._descriptor = self._parcel.wrapped()
            self._parcel = None
        return self._body, () if self._descriptor is None else (self._descriptor,)

    def moved(self) -> Errand:
        """The same for another place; what is left here is passed over by the child."""
        fresh = copy(self)
        fresh.number = 0
        self.over = self.recalled = True
        self._parcel, self._body, self._descriptor = None, b"", None
        return fresh

    def close(self) -> None:
        """It is not sent again."""
        self._parcel = None
        self._body = b""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def packed_call(call: Submission) -> Parcel:
    """A call as a parcel.

    Raises:
        NotEncodable: a part of it cannot travel; the message names it.
    """
    whole = int(call.kind), call.what, call.args, call.kwargs
    if call.kind == _METHOD and not call.kwargs and are_atoms(call.args):
        return Parcel(pickle.dumps(whole, 5))
    try:
        return pack(whole, call.name)
    except NotEncodable:
        for name, part in _parts(call):
            pack(part, name)
        raise


def _parts(call: Submission) -> list[tuple[str, Any]]:
    name = call.name
    parts = [(f"argument {number} of {name}", one) for number, one in enumerate(call.args, 1)]
    parts += [(f"{key}= of {name}", one) for key, one in call.kwargs.items()]
    if call.kind in (Kind.FUNCTION, Kind.VISIT):
        parts.append((name, call.what))
    return parts
