"""Makes queues and exchanges when they are first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from aiormq.exceptions import ChannelNotFoundEntity

from treadle.backends.rabbitmq.layout import BITS, Line, Names, bit_pattern
from treadle.backends.rabbitmq.link import Link
from treadle.backends.rabbitmq.refusals import told

__all__ = ["Topology"]

T = TypeVar("T")


class Topology:
    """What of one namespace is known to be in the server.

    Args:
        link: to the server.
        names: of the namespace.
    """

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names
        self._lines: set[Line] = set()
        self._levels: set[int] = set()
        self._steps = False
        self._based = False
        self._lock = asyncio.Lock()
        self._asking = asyncio.Lock()

    async def base(self) -> None:
        """What every namespace has."""
        async with self._lock:
            if self._based:
                return
            for queue, arguments in self._names.queues.items():
                await self._queue(queue, arguments)
            for exchange in self._names.exchanges:
                await self._exchange(exchange)
            self._based = True

    async def has(self, queue: str) -> bool:
        """Whether there is a queue of that name."""
        return await self.ready(queue) is not None

    async def ready(self, queue: str) -> int | None:
        """Messages of a queue that nobody holds; ``None`` when there is no such queue."""
        # One at a time: when there is none, the server closes the channel that has asked.
        async with self._asking:
            channel = await self._link.shared("counts", "serve", publisher_confirms=False)
            with told(self._link.address.url):
                try:
                    answer = await _asked(
                        channel.queue_declare(
                            queue, passive=True, timeout=self._link.address.patience
                        )
                    )
                except ChannelNotFoundEntity:
                    return None
        return answer.message_count or 0

    def has_line(self, line: Line) -> bool:
        """Whether this process has made or seen the queue of a line."""
        return line in self._lines

    async def make_line(self, line: Line) -> None:
        """The queue of a line, and its way from the pauses."""
        async with self._lock:
            if line in self._lines:
                return
            queue = self._names.line(line)
            await self._queue(queue, self._names.line_arguments)
            channel = await self._link.control()
            with told(self._link.address.url):
                await _asked(
                    channel.queue_bind(
                        queue,
                        self._names.due,
                        f"#.{line.word}",
                        timeout=self._link.address.patience,
                    )
                )
            self._lines.add(line)

    async def make_levels(self, levels: list[int]) -> None:
        """The pauses of a delay."""
        async with self._lock:
            if not self._steps and levels:
                await self._make_steps()
            for level in levels:
                if level not in self._levels:
                    await self._make_level(level)

    async def _make_steps(self) -> None:
        """The exchanges before all pauses, from the end, so that the first has all behind it."""
        channel = await self._link.control()
        for level in range(BITS):
            await self._exchange(self._names.step(level))
            with told(self._link.address.url):
                await _asked(
                    channel.exchange_bind(
                        self._names.step(level - 1),
                        self._names.step(level),
                        bit_pattern(level, 0),
                        timeout=self._link.address.patience,
                    )
                )
        self._steps = True

    async def _make_level(self, level: int) -> None:
        queue = self._names.wait(level)
        await self._queue(queue, self._names.wait_arguments(level))
        channel = await self._link.control()
        with told(self._link.address.url):
            await _asked(
                channel.queue_bind(
                    queue,
                    self._names.step(level),
                    bit_pattern(level, 1),
                    timeout=self._link.address.patience,
                )
            )
        self._levels.add(level)

    def forget(self) -> None:
        """Something was not there: look again, at everything."""
        self._lines.clear()
        self._levels.clear()
        self._steps = self._based = False

    async def _queue(self, name: str, arguments: dict[str, Any]) -> None:
        channel = await self._link.control()
        with told(self._link.address.url):
            await _asked(
                channel.queue_declare(
                    name, durable=True, arguments=arguments, timeout=self._link.address.patience
                )
            )

    async def _exchange(self, name: str) -> None:
        channel = await self._link.control()
        with told(self._link.address.url):
            await _asked(
                channel.exchange_declare(
                    name, exchange_type="topic", durable=True, timeout=self._link.address.patience
                )
            )


async def _asked(question: Awaitable[T]) -> T:
    """The answer. All use this channel, and the driver closes it when who asked is cancelled."""
    return await asyncio.shield(asyncio.ensure_future(question))
