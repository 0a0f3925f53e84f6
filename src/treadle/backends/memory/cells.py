"""Small versioned values, of which some are rules for queues."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from treadle.backends.common.cells import written_rule
from treadle.ports import QUEUE_CELL, Cell, QueueRule, Write

__all__ = ["Cells"]


class Cells:
    """All cells but those of sessions."""

    def __init__(self) -> None:
        self._cells: dict[str, Cell] = {}
        self._until: dict[str, float] = {}
        # The same list for ever: the store looks at its head.
        self.lapses: list[tuple[float, str]] = []
        # What the cells of queues say, by queue.
        self.rules: dict[str, QueueRule] = {}

    def read(self, key: str, now: float) -> dict[str, Cell]:
        """The cell, or with a ``*`` at the end all that begin like that."""
        if key.endswith("*"):
            names = [name for name in self._cells if name.startswith(key[:-1])]
        else:
            names = [key] if key in self._cells else []
        return {name: self._cells[name] for name in names if self._lasts(name, now)}

    def write(self, writes: Sequence[Write], now: float) -> set[str] | None:
        """The queues whose rules may have changed, or None when nothing was written."""
        rules = {write.key: written_rule(write) for write in writes}
        for write in writes:
            if write.expect is not None and write.expect != self._version(write.key, now):
                return None
        for write in writes:
            self._put(write, now)
            self._obey(write.key, rules[write.key])
        return {key.removeprefix(QUEUE_CELL) for key in rules if key.startswith(QUEUE_CELL)}

    def lapse(self, now: float) -> set[str]:
        """Drop the cells whose time is over; the queues whose rules were among them."""
        queues: set[str] = set()
        while self.lapses and self.lapses[0][0] <= now:
            until, key = heappop(self.lapses)
            if self._until.get(key) == until:
                self._drop(key)
                if key.startswith(QUEUE_CELL):
                    self._obey(key, None)
                    queues.add(key.removeprefix(QUEUE_CELL))
        return queues

    def next(self, now: float) -> float | None:
        """When a rule ends next, or a cell."""
        ends = [rule.until for rule in self.rules.values() if rule.until and rule.until > now]
        if self.lapses:
            ends.append(self.lapses[0][0])
        return min(ends, default=None)

    def _version(self, key: str, now: float) -> int:
        cell = self._cells.get(key)
        return cell.version if cell is not None and self._lasts(key, now) else 0

    def _lasts(self, key: str, now: float) -> bool:
        until = self._until.get(key)
        return until is None or now < until

    def _put(self, write: Write, now: float) -> None:
        version = self._version(write.key, now) + 1
        self._drop(write.key)
        if write.value is None:
            return
        self._cells[write.key] = Cell(value=write.value, version=version)
        if write.ttl is not None:
            self._until[write.key] = now + write.ttl
            heappush(self.lapses, (now + write.ttl, write.key))

    def _drop(self, key: str) -> None:
        self._cells.pop(key, None)
        self._until.pop(key, None)

    def _obey(self, key: str, rule: QueueRule | None) -> None:
        if not key.startswith(QUEUE_CELL):
            return
        queue = key.removeprefix(QUEUE_CELL)
        if rule is None:
            self.rules.pop(queue, None)
        else:
            self.rules[queue] = rule
