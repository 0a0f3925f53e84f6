"""Who listens to events in this process."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from treadle.events import Event, matches

__all__ = ["Subscribers"]

_MOST = 1000
"""Events that wait for a slow listener; the oldest are dropped."""


class _Subscriber:
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.loop = asyncio.get_running_loop()
        self.events: deque[Event] = deque(maxlen=_MOST)
        self.arrived = asyncio.Event()
        self.closed = False


class Subscribers:
    """The listeners of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: set[_Subscriber] = set()

    def deliver(
        self, events: Sequence[Event], loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        """Give events to those who asked for them, in all loops or in one."""
        with self._lock:
            subscribers = tuple(self._all)
        for subscriber in subscribers:
            if loop is not None and subscriber.loop is not loop:
                continue
            wanted = [event for event in events if matches(event, subscriber.pattern)]
            if wanted:
                subscriber.events.extend(wanted)
                _rouse(subscriber)

    @property
    def nobody(self) -> bool:
        """Whether nobody listens."""
        return not self._all

    def subscribe(
        self, pattern: str, hear: Callable[[], Awaitable[object]] | None = None
    ) -> AsyncIterator[Event]:
        """Events from now on, until the iteration ends or its loop is closed here.

        Args:
            pattern: of their names.
            hear: has other processes heard, too.
        """
        subscriber = _Subscriber(pattern)
        with self._lock:
            self._all.add(subscriber)
        return self._iterate(subscriber, hear)

    async def _iterate(
        self, subscriber: _Subscriber, hear: Callable[[], Awaitable[object]] | None
    ) -> AsyncIterator[Event]:
        try:
            if hear is not None:
                await hear()
            while True:
                while subscriber.events:
                    yield subscriber.events.popleft()
                if subscriber.closed:
                    return
                await subscriber.arrived.wait()
                subscriber.arrived.clear()
        finally:
            with self._lock:
                self._all.discard(subscriber)

    def close(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """End the iterations of a loop, or all."""
        with self._lock:
            subscribers = [one for one in self._all if loop is None or one.loop is loop]
        for subscriber in subscribers:
            subscriber.closed = True
            _rouse(subscriber)


def _rouse(subscriber: _Subscriber) -> None:
    try:
        subscriber.loop.call_soon_threadsafe(subscriber.arrived.set)
    except RuntimeError:  # its loop was closed with the listener in it
        return
