"""The names of everything in the server, and how queues are declared.

============================ =====================================================================
``tr.<ns>.q/<queue>@<p>``    the jobs of a queue with one priority: a quorum queue
``tr.<ns>.wait/<k>``         jobs that wait for 2^k quarters of a second, then go on
``tr.<ns>.step/<k>``         the exchange in front: has bit k a pause, or does the job go on?
``tr.<ns>.due``              the exchange behind all pauses, to the queues of the jobs
``tr.<ns>.dead``             the dead letters
``tr.<ns>.names``            the lines above, because AMQP cannot list queues
``tr.<ns>.reader``           there while somebody reads them, who has it to himself
``tr.<ns>.bell``             the exchange that tells who waits that there is something to claim
``tr.<ns>.events``           the exchange of events
============================ =====================================================================

With a companion, which has the jobs, messages only name them. Such a namespace is ``<ns>/ids``, so
that neither kind of app meets the messages of the other, and has no dead letters, bell and events.

A queue's dots become slashes, which no queue name has, so that its name is one word of a routing
key. A job on its way through the pauses has a routing key of one word per bit, the longest pause
first, and its address as the last word. Messages of one pause are alike, because a queue
lets only its first message expire.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

__all__ = [
    "BITS",
    "CRASHES_MAX",
    "UNIT",
    "IdNames",
    "Line",
    "Names",
    "delay_key",
    "levels",
    "line_of",
]

UNIT = 0.25
"""Seconds of the shortest pause; delays are rounded up to a multiple of it."""
BITS = 30
"""Pauses: the longest is 2^29 quarters of a second, more than four years."""
DELIVERY_LIMIT = 100
"""Deliveries that were lost before the server itself puts a message to the dead letters."""
CRASHES_MAX = DELIVERY_LIMIT - 10
"""``max_crashes`` that a job may have, so that it is we who count."""
_DEAD_DAYS = 7
_DAY = 86_400_000
_HELD = 7 * _DAY
"""Milliseconds that a job may run, from RabbitMQ 3.12 on. Before, the server's own setting holds
(30 minutes), and the argument is ignored."""


class Line(NamedTuple):
    """The jobs of one queue with one priority."""

    queue: str
    priority: int

    @property
    def word(self) -> str:
        """As the last word of a routing key."""
        return f"{self.queue.replace('.', '/')}@{self.priority}"


def line_of(word: str) -> Line | None:
    """The line of a word; ``None`` when it names none."""
    queue, _, priority = word.rpartition("@")
    try:
        return Line(queue.replace("/", "."), int(priority)) if queue else None
    except ValueError:
        return None


class Names:
    """The names of one namespace."""

    def __init__(self, namespace: str, max_failed: int) -> None:
        self.prefix = f"tr.{namespace}."
        self.due = f"{self.prefix}due"
        self.dead = f"{self.prefix}dead"
        self.names = f"{self.prefix}names"
        self.reader = f"{self.prefix}reader"
        self.bell = f"{self.prefix}bell"
        self.events = f"{self.prefix}events"
        self._max_failed = max_failed

    def line(self, line: Line) -> str:
        """The queue of a line."""
        return f"{self.prefix}q/{line.word}"

    def wait(self, level: int) -> str:
        """The queue of a pause."""
        return f"{self.prefix}wait/{level}"

    def step(self, level: int) -> str:
        """The exchange in front of a pause; below the shortest is the one behind all."""
        return f"{self.prefix}step/{level}" if level >= 0 else self.due

    @property
    def queues(self) -> dict[str, dict[str, Any]]:
        """The queues of every namespace, and how they are declared."""
        return {self.names: self.names_arguments, self.dead: self.dead_arguments}

    @property
    def exchanges(self) -> tuple[str, ...]:
        """The exchanges of every namespace."""
        return (self.due, self.bell, self.events)

    @property
    def line_arguments(self) -> dict[str, Any]:
        """Of the queue of a line."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-consumer-timeout": _HELD,
            **_handed_over("", self.dead),
        }

    def wait_arguments(self, level: int) -> dict[str, Any]:
        """Of the queue of a pause."""
        return {
            "x-queue-type": "quorum",
            "x-message-ttl": int(UNIT * 1000) << level,
            **_handed_over(self.step(level - 1), None),
        }

    @property
    def names_arguments(self) -> dict[str, Any]:
        """Of the queue of lines, whose messages are read and put back for ever."""
        return {"x-queue-type": "quorum", "x-delivery-limit": (1 << 31) - 1}

    @property
    def dead_arguments(self) -> dict[str, Any]:
        """Of the dead letters."""
        return {
            "x-queue-type": "quorum",
            "x-max-length": self._max_failed,
            "x-overflow": "drop-head",
            "x-message-ttl": _DEAD_DAYS * _DAY,
        }


class IdNames(Names):
    """The names of a namespace whose messages name jobs that a companion has."""

    def __init__(self, namespace: str) -> None:
        super().__init__(f"{namespace}/ids", 0)

    @property
    def queues(self) -> dict[str, dict[str, Any]]:
        """There are no dead letters."""
        return {self.names: self.names_arguments}

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Who waits is told by the companion."""
        return (self.due,)

    @property
    def line_arguments(self) -> dict[str, Any]:
        """A message that cannot be delivered is not missed."""
        return {"x-queue-type": "quorum"}


def _handed_over(exchange: str, key: str | None) -> dict[str, Any]:
    """A message that leaves a queue stays in it until the next one has confirmed it."""
    arguments: dict[str, Any] = {
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    if key is not None:
        arguments["x-dead-letter-routing-key"] = key
    return arguments


def levels(seconds: float) -> list[int]:
    """The pauses that a delay is made of, the longest first; none for a time that has come."""
    if not seconds > 0:
        return []
    units = min(math.ceil(round(seconds / UNIT, 6)), (1 << BITS) - 1)
    return [level for level in range(BITS - 1, -1, -1) if units >> level & 1]


def delay_key(pauses: list[int], line: Line) -> str:
    """The routing key of a job that takes these pauses."""
    wanted = set(pauses)
    bits = ["1" if level in wanted else "0" for level in range(BITS - 1, -1, -1)]
    return ".".join([*bits, line.word])


def bit_pattern(level: int, bit: int) -> str:
    """The keys that have this bit."""
    return ".".join([*("*" for _ in range(BITS - 1 - level)), str(bit), "#"])
