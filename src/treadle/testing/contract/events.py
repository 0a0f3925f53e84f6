"""Events: best effort, from now on, by glob."""

from __future__ import annotations

import asyncio
from typing import Self

from treadle.events import Event
from treadle.testing.clock import eventually, settle
from treadle.testing.contract.base import Contract, Driver

__all__ = ["EventsContract"]


class EventsContract(Contract):
    """Facts for observers, never needed for correctness."""

    async def test_a_subscriber_is_told(self, store: Driver) -> None:
        """Events: tell whoever listens now; with all that the event says."""
        event = Event(
            name="job.failed",
            at=store.clock.now(),
            job_id="1",
            task="t",
            queue="q",
            attempt=2,
            data={"error": "E", "seconds": 1.5},
        )
        async with _Listener(store, "job.*") as heard:
            await heard.until(event)
            assert heard.events[-1] == event

    async def test_only_what_matches(self, store: Driver) -> None:
        """Events: events whose name matches the glob."""
        wanted = Event(name="job.failed", at=1.0)
        async with _Listener(store, "job.f*") as heard:
            for name in ("queue.paused", "job.started", "job.succeeded"):
                await store.backend.publish([Event(name=name, at=1.0)])
            await heard.until(wanted)
            assert {event.name for event in heard.events} == {"job.failed"}

    async def test_every_subscriber_is_told(self, store: Driver) -> None:
        """Events go to all, not to one of them."""
        event = Event(name="job.failed", at=1.0)
        async with _Listener(store, "*") as one, _Listener(store, "job.*") as two:
            await one.until(event)
            await two.until(event)

    async def test_nobody_listens(self, store: Driver) -> None:
        """Events: best effort; publishing to nobody, or nothing, is fine."""
        await store.backend.publish([Event(name="job.failed", at=1.0)])
        await store.backend.publish([])


class _Listener:
    """What a subscription has told so far."""

    def __init__(self, store: Driver, pattern: str) -> None:
        self.events: list[Event] = []
        self._store = store
        self._pattern = pattern

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen())
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def until(self, event: Event) -> None:
        """Publish until it is heard, because a subscription may take a moment to stand."""
        await self._store.backend.publish([event])
        for _ in range(100):
            try:
                await eventually(lambda: event in self.events, patience=0.1)
            except AssertionError:
                await self._store.backend.publish([event])
            else:
                return
        raise AssertionError(f"{event} was never heard")

    async def _listen(self) -> None:
        async for event in self._store.backend.subscribe(self._pattern):
            self.events.append(event)
