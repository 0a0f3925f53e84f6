"""Messages from the lines: which to take, in the order that all backends keep, and taking them.

A consumer that stays would be sent messages of each queue and priority up to its prefetch, more
than there are free places; they would wait here, and count as lost when this process dies. So who
claims asks how many messages there are, plans, and consumes until it has these or sees that others
were quicker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import msgspec
from aiormq.abc import DeliveredMessage

from treadle.backends.common.turns import take_turns
from treadle.backends.rabbitmq.layout import Line, Names
from treadle.backends.rabbitmq.link import Link
from treadle.backends.rabbitmq.receipts import Handed, Receipts
from treadle.backends.rabbitmq.refusals import told
from treadle.backends.rabbitmq.registry import Registry
from treadle.backends.rabbitmq.topology import Topology
from treadle.ids import Ids
from treadle.ports import Claim
from treadle.queuenames import Matcher, covered

__all__ = ["MOST", "Intake"]

MOST = 500
"""Messages of one line in one claim."""
_SILENCE = 0.5
"""Seconds without a message after which no more are expected."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Messages to take."""

    lines: dict[Line, int]
    # Whether there are more; ``None`` when not all queues were looked at.
    more: bool | None


class Intake:
    """Takes messages of one namespace.

    Args:
        link: to the server.
        names: of the namespace.
        topology, registry: know the queues.
        ids: names consumers.
    """

    def __init__(
        self, link: Link, names: Names, topology: Topology, registry: Registry, ids: Ids
    ) -> None:
        self._link = link
        self._names = names
        self._topology = topology
        self._registry = registry
        self._ids = ids
        # For each name that was asked for: served last of the queues that it covers.
        self._turns: dict[str, str | None] = {}

    async def anything(self, queues: Sequence[str], exclude: Sequence[str]) -> bool:
        """Whether there is something to claim."""
        await self._registry.read()
        matcher = Matcher(queues, exclude)
        for queue in list(self._registry.queues):
            if matcher.place(queue) is not None:
                for line in self._registry.lines(queue):
                    if await self._ready(line):
                        return True
        return False

    async def _ready(self, line: Line) -> int:
        return await self._topology.ready(self._names.line(line)) or 0

    async def plan(self, ask: Claim) -> Plan:
        """How many messages to take of which line, in the order in which they count."""
        await self._registry.read()
        matcher = Matcher(ask.queues, ask.exclude)
        plan: dict[Line, int] = {}
        more = False
        for place, name in enumerate(matcher.queues):
            left = ask.limit - sum(plan.values())
            if left <= 0:
                return Plan(lines=plan, more=more or None)
            members = [
                queue
                for queue in covered(self._registry.queues, name)
                if matcher.place(queue) == place
            ]
            ready: dict[str, dict[Line, int]] = {}
            for queue in members:
                counts = {line: await self._ready(line) for line in self._registry.lines(queue)}
                if any(counts.values()):
                    ready[queue] = counts
            take = partial(_take_of, ready, plan)
            self._turns[name] = take_turns(list(ready), self._turns.get(name), left, take)
            more = more or any(any(counts.values()) for counts in ready.values())
        return Plan(lines=plan, more=more)

    async def consume(self, receipts: Receipts, line: Line, count: int) -> list[Handed]:
        """Up to so many messages of a line, as many as there are now.

        Raises:
            BackendError: what was handed out on this channel, and to whom, cannot be known.
        """
        takes = _Takes(receipts, count)
        channel = receipts.channel
        patience = self._link.address.patience
        tag = f"claim-{self._ids.nonce():x}"
        with told(self._link.address.url):
            if receipts.prefetch != count:
                await channel.basic_qos(prefetch_count=count, timeout=patience)
                receipts.prefetch = count
            await channel.basic_consume(
                self._names.line(line), takes, consumer_tag=tag, timeout=patience
            )
            if await takes.all():
                # It is given no more until one is acknowledged, which the server reads after this.
                await channel.basic_cancel(tag, nowait=True)
            else:
                await channel.basic_cancel(tag, timeout=patience)
        return takes.found


class _Takes:
    """Messages as they come, up to a number."""

    def __init__(self, receipts: Receipts, count: int) -> None:
        self._receipts = receipts
        self._count = count
        self._came = asyncio.Event()
        self.found: list[Handed] = []

    async def __call__(self, message: DeliveredMessage) -> None:
        self.found.append(self._receipts.handed(message))
        self._came.set()

    async def all(self) -> bool:
        """Return when all are here, or when no more come, because others were quicker.

        What comes later, when the consumer is gone, the server takes back by itself.
        """
        with suppress(TimeoutError):
            while len(self.found) < self._count:
                self._came.clear()
                async with asyncio.timeout(_SILENCE):
                    await self._came.wait()
        return len(self.found) >= self._count


def _take_of(
    ready: dict[str, dict[Line, int]], plan: dict[Line, int], queue: str, most: int
) -> int:
    """Move up to so many messages of a queue into the plan, the most urgent first."""
    taken = 0
    for line, count in ready[queue].items():
        some = min(count, most - taken)
        if some > 0:
            ready[queue][line] -= some
            plan[line] = plan.get(line, 0) + some
            taken += some
    return taken
