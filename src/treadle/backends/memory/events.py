"""Events inside the process."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Sequence
from fnmatch import fnmatchcase

from treadle.events import Event

__all__ = ["Hub", "Subscription"]

_BUFFER = 10_000
"""Events that wait for a slow reader; the oldest are dropped beyond."""


class Subscription(AsyncIterator[Event]):
    """Events for one reader, in its event loop, from the moment it is made."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque(maxlen=_BUFFER)
        self._arrived = asyncio.Event()

    def put(self, events: Sequence[Event]) -> None:
        """Give events to the reader; from any thread."""
        wanted = [event for event in events if fnmatchcase(event.name, self.pattern)]
        if not wanted:
            return
        self._events.extend(wanted)
        self._signal()

    def close(self) -> None:
        """End the iteration when what has arrived is read."""
        self.closed = True
        self._signal()

    async def aclose(self) -> None:
        """The same for who closes iterators."""
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self.closed:
                raise StopAsyncIteration
            self._arrived.clear()
            if not self._events and not self.closed:
                await self._arrived.wait()
        return self._events.popleft()

    def _signal(self) -> None:
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._arrived.set()
            return
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop of the reader is closed
            self.closed = True


class Hub:
    """Who listens; a reader that was dropped is forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: weakref.WeakSet[Subscription] = weakref.WeakSet()

    def subscribe(self, pattern: str) -> Subscription:
        """A new reader."""
        reader = Subscription(pattern)
        with self._lock:
            self._readers.add(reader)
        return reader

    def publish(self, events: Sequence[Event]) -> None:
        """Tell all readers."""
        if not self._readers:
            return
        with self._lock:
            readers = [reader for reader in self._readers if not reader.closed]
        for reader in readers:
            reader.put(events)

    def close(self) -> None:
        """End all readers."""
        with self._lock:
            readers = list(self._readers)
            self._readers.clear()
        for reader in readers:
            reader.close()
