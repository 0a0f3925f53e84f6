"""The rules of queues that hold now: pauses, and bounds on what runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from treadle.backends.common.damage import rule_of
from treadle.ports import QUEUE_CELL, QueueRule
from treadle.queuenames import ancestors

__all__ = ["Rules", "Table", "read_rules"]

Table = dict[str, tuple[QueueRule, float | None]]
"""Rule and the end of its cell, by queue."""


def read_rules(rows: Iterable[Any]) -> Table:
    """The rules as they are stored."""
    return {key[len(QUEUE_CELL) :]: (rule_of(value), until) for key, value, until in rows}


class Rules:
    """The rules at one moment.

    Args:
        table: as stored.
        now: the moment.
        running: jobs that run of a queue and its subqueues.
    """

    __slots__ = ("_now", "_running", "_table")

    def __init__(self, table: Table, now: float, running: Callable[[str], int]) -> None:
        self._table = table
        self._now = now
        self._running = running

    def _of(self, queue: str) -> list[tuple[str, QueueRule]]:
        """The rules of a queue and of those that cover it."""
        table, now = self._table, self._now
        if not table:
            return []
        found: list[tuple[str, QueueRule]] = []
        for name in (queue, *ancestors(queue)):
            if name in table:
                rule, until = table[name]
                if until is None or until > now:
                    found.append((name, rule))
        return found

    def paused(self, queue: str) -> bool:
        """Whether nothing may be claimed of the queue."""
        return any(
            rule.paused and (rule.until is None or rule.until > self._now)
            for _, rule in self._of(queue)
        )

    def bounds(self, queue: str) -> list[str]:
        """Of the queue and those that cover it, those whose rules bound how many jobs run."""
        return [name for name, rule in self._of(queue) if rule.max_running is not None]

    def room(self, queue: str) -> int | None:
        """Jobs of the queue that may be started; ``None`` without bound."""
        if not self._table:
            return None
        if self.paused(queue):
            return 0
        rooms = [
            max(0, rule.max_running - self._running(name))
            for name, rule in self._of(queue)
            if rule.max_running is not None
        ]
        return min(rooms) if rooms else None

    def next_end(self) -> float | None:
        """When a rule ends by itself."""
        ends = [
            end
            for rule, until in self._table.values()
            for end in (until, rule.until)
            if end is not None and end > self._now
        ]
        return min(ends) if ends else None
