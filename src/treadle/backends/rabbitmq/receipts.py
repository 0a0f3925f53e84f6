"""What a channel was handed and has not answered, so that many answers are few frames.

An acknowledgement may stand for all deliveries up to its own. The server then writes one entry for
all of them. It may do so only when each of these was answered or is answered with it: a job
that still runs, or a delivery that nobody here has seen, keeps what comes after it to frames of
their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from aiormq.abc import AbstractChannel, DeliveredMessage

from treadle.backends.rabbitmq.link import is_lost

__all__ = ["Handed", "Receipts"]


class Receipts:
    """The deliveries of one channel.

    Args:
        channel: hands them out, numbered from 1.
    """

    def __init__(self, channel: AbstractChannel) -> None:
        self.channel = channel
        # How many are handed out at a time; what was last set holds for all later consumers.
        self.prefetch = 0
        # Not answered, in order.
        self._open: dict[int, None] = {}
        self._last = 0
        # One after the other: for a second answer to a delivery the server closes the channel, and
        # takes back all that it has handed out.
        self._turn = asyncio.Lock()

    def handed(self, message: DeliveredMessage) -> Handed:
        """A delivery is here. They come in their order."""
        tag = message.delivery_tag
        assert tag is not None
        # Between may be some that no consumer has seen: they stay open as long as the channel.
        self._open.update(dict.fromkeys(range(self._last + 1, tag + 1)))
        self._last = max(self._last, tag)
        return Handed(message, tag, self)

    async def acknowledge(self, tags: Iterable[int]) -> None:
        """The server may forget these."""
        async with self._turn:
            answered = {tag for tag in tags if tag in self._open}
            upto = self._prefix(answered)
            if upto:
                await self.channel.basic_ack(upto, multiple=True, wait=False)
                for tag in [one for one in self._open if one <= upto]:
                    del self._open[tag]
            for tag in sorted(one for one in answered if one > upto):
                await self.channel.basic_ack(tag, wait=False)
                del self._open[tag]

    async def give_back(self, tags: Iterable[int]) -> None:
        """The server is to hand these out again."""
        async with self._turn:
            for tag in [one for one in tags if one in self._open]:
                await self.channel.basic_nack(tag, requeue=True, wait=False)
                del self._open[tag]

    def _prefix(self, answered: set[int]) -> int:
        """The last of those before which nothing else is open; 0 when there is none."""
        upto = 0
        for tag in self._open:
            if tag not in answered:
                break
            upto = tag
        return upto


class Handed(NamedTuple):
    """A message that is here and not answered yet."""

    message: DeliveredMessage
    # By which it is answered.
    tag: int
    receipts: Receipts

    @property
    def job_id(self) -> str:
        """The job that it is or names."""
        return self.message.header.properties.message_id or ""

    @property
    def lost(self) -> bool:
        """Its channel is closed, so that the server has given it to others."""
        return is_lost(self.receipts.channel)

    async def acknowledge(self) -> None:
        """The server may forget it."""
        await self.receipts.acknowledge([self.tag])

    async def give_back(self) -> None:
        """The server is to hand it out again."""
        await self.receipts.give_back([self.tag])
