"""Coroutines that wait for a store, woken by whoever changes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic, NamedTuple, TypedDict, TypeVar

from treadle.clock import Clock
from treadle.queuenames import Matcher, covers

__all__ = ["Awaited", "Room", "Rooms", "Sleeper", "rouse"]


class Room(NamedTuple):
    """A place in a queue under a bound."""

    queue: str
    bound: int


class Awaited(TypedDict, total=False):
    """What a sleeper waits for; see :class:`Sleeper`."""

    matcher: Matcher | None
    job_id: str | None
    ended: bool
    room: Room | None


class Sleeper:
    """Sleeps in its loop until it is woken, for queues, for a change of one job, or for room.

    Args:
        matcher: the queues it waits for.
        job_id: the job it waits for.
        ended: only for the end of the job.
        room: the place it waits for.
    """

    __slots__ = ("_future", "ended", "job_id", "loop", "matcher", "room", "seen", "told")

    def __init__(
        self,
        *,
        matcher: Matcher | None = None,
        job_id: str | None = None,
        ended: bool = False,
        room: Room | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self.loop.create_future()
        self.matcher = matcher
        self.job_id = job_id
        self.ended = ended
        self.room = room
        # How often it has been told of room, and how often when it last began to look in vain.
        self.told = self.seen = 0

    def wake(self) -> None:
        """Go on. Called in the loop of the waiter."""
        if not self._future.done():
            self._future.set_result(None)

    async def sleep(self, clock: Clock, seconds: float) -> None:
        """Wait until woken, at the latest for so many seconds."""
        timer = clock.call_later(max(0.0, seconds), self.wake)
        try:
            await self._future
        finally:
            timer.cancel()
        self._future = self.loop.create_future()


def rouse(waiters: Iterable[Sleeper]) -> None:
    """Wake them, each in its own loop."""
    here = asyncio._get_running_loop()
    for waiter in waiters:
        if waiter.loop is here:
            waiter.wake()
            continue
        try:
            waiter.loop.call_soon_threadsafe(waiter.wake)
        except RuntimeError:  # its loop was closed with the waiter in it
            continue


S = TypeVar("S", bound=Sleeper)


class Rooms(Generic[S]):
    """Who waits for room, in a line for each queue and bound, the longest waiting first.

    Several lines, because what makes room under one bound may make none under another, and who
    was woken in vain would have taken the turn of somebody else.
    """

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: dict[Room, dict[S, None]] = {}

    def add(self, waiter: S) -> None:
        """Stand in line, at its end; who stands there already keeps its place."""
        assert waiter.room is not None
        self.lines.setdefault(waiter.room, {})[waiter] = None

    def remove(self, waiter: S) -> None:
        """Leave the line. Harmless when it stands there no more."""
        assert waiter.room is not None
        line = self.lines.get(waiter.room)
        if line is None:
            return
        line.pop(waiter, None)
        if not line:
            del self.lines[waiter.room]

    def give_up(self, waiter: S) -> list[S]:
        """Leave the line; those for whom what it was told of, and has not looked at, is now."""
        assert waiter.room is not None
        self.remove(waiter)
        return self.freed(waiter.room.queue, waiter.told - waiter.seen)

    def freed(
        self, queue: str, places: int, has_room: Callable[[Room], bool] | None = None
    ) -> list[S]:
        """Those whose turn it is, now that so many jobs of a queue are over.

        Args:
            queue: where they were.
            places: how many they are.
            has_room: knows whether there is room; without it those who wait look themselves.
        """
        found: list[S] = []
        for room, line in self.lines.items():
            if covers(room.queue, queue) and (has_room is None or has_room(room)):
                found += islice(line, places)
        for waiter in found:
            waiter.told += 1
            self.remove(waiter)
        return found

    def everybody(self) -> list[S]:
        """All who wait."""
        return [waiter for line in self.lines.values() for waiter in line]
