"""What the code of a call in an actor can say and be told."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from treadle.errors import NotDecodable
from treadle.pools.places.process.parcel import unpack
from treadle.pools.places.ray.journal import SAID

__all__ = ["Asked", "RaySeat"]


class Asked(NamedTuple):
    """The wish that a call ends."""

    number: int
    # Why, packed; nothing where that cannot travel.
    reason: bytes

    @property
    def why(self) -> BaseException:
        """The reason, where that could be told."""
        if self.reason:
            try:
                found = unpack(self.reason, "the reason to end")
            except NotDecodable:
                return asyncio.CancelledError()
            if isinstance(found, BaseException):
                return found
        return asyncio.CancelledError()


class Room(Protocol):
    """The host, as the code of a call knows it."""

    stopping: bool

    def say(self, tag: int, number: int, body: bytes) -> None: ...
    def ending(self, number: int) -> BaseException | None: ...
    def plain_code(self) -> AbstractContextManager[None]: ...


class RaySeat:
    """The seat of one call.

    Args:
        room: where it runs.
        number: of the call.
    """

    def __init__(self, room: Room, number: int) -> None:
        self._room = room
        self._number = number

    @property
    def stopping(self) -> bool:
        """Long work should find a good place to end."""
        return self._room.stopping

    @property
    def ending(self) -> BaseException | None:
        """Why the call has to end, once it has to."""
        return self._room.ending(self._number)

    def say(self, body: bytes) -> None:
        """Tell who waits for the call."""
        self._room.say(SAID, self._number, body)

    def plain_code(self) -> AbstractContextManager[None]:
        """A block in a coroutine in which its loop does not run."""
        return self._room.plain_code()
