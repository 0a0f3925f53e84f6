"""Keys and slots in one transaction: how many there are, and who holds how many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from treadle.backends.postgres.reading import Reading

__all__ = ["Limit", "Limits"]


class Limit(msgspec.Struct):
    """A key or a limit of slots."""

    slots: int
    held: int


class Limits:
    """Read when they are first asked for, written together at the end."""

    __slots__ = ("_changed", "_dropped", "_holds", "_known", "_new", "_reading")

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._known: dict[str, Limit | None] = {}
        self._changed: set[str] = set()
        # What owners took in this transaction, and owners that gave up what they held before.
        self._new: dict[str, dict[str, int]] = {}
        self._dropped: list[str] = []
        # What owners held before this transaction.
        self._holds: dict[str, dict[str, int]] = {}

    async def load(self, names: Iterable[str]) -> None:
        """Read many at once."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._known]
        if not wanted:
            return
        self._known.update(dict.fromkeys(wanted))
        for name, slots, held in await self._reading.run("limits", wanted):
            self._known[name] = Limit(slots, held)

    async def get(self, name: str) -> Limit | None:
        """What is known of a limit; ``None`` when nobody has asked for it so far."""
        if name not in self._known:
            await self.load((name,))
        return self._known[name]

    async def set_slots(self, name: str, slots: int) -> int | None:
        """Say how many there are; how many there were."""
        limit = await self.get(name)
        if limit is None:
            self._known[name] = Limit(slots, 0)
            self._changed.add(name)
            return None
        was = limit.slots
        if was != slots:
            limit.slots = slots
            self._changed.add(name)
        return was

    async def take(self, owner: str, name: str, units: int) -> None:
        """Hold units of a limit that is known."""
        limit = await self.get(name)
        assert limit is not None
        limit.held += units
        self._changed.add(name)
        new = self._new.setdefault(owner, {})
        new[name] = new.get(name, 0) + units

    async def load_holds(self, owners: Iterable[str]) -> None:
        """Read at once what many owners hold."""
        wanted = [owner for owner in dict.fromkeys(owners) if owner not in self._holds]
        if not wanted:
            return
        self._holds.update((owner, {}) for owner in wanted)
        for owner, name, units in await self._reading.run("holds", wanted):
            self._holds[owner][name] = units
        await self.load(name for owner in wanted for name in self._holds[owner])

    async def free(self, owner: str) -> list[str]:
        """Give up what a job or a permit holds; the limits concerned."""
        held = dict(self._new.pop(owner, {}))
        if owner not in self._dropped:
            self._dropped.append(owner)
            await self.load_holds((owner,))
            for name, units in self._holds[owner].items():
                held[name] = held.get(name, 0) + units
        await self.load(held)
        for name, units in held.items():
            limit = self._known[name]
            if limit is not None:
                limit.held -= units
                self._changed.add(name)
        return list(held)

    async def drop(self, name: str) -> None:
        """Forget a limit that nobody holds."""
        limit = await self.get(name)
        if limit is not None and limit.held == 0:
            self._known[name] = None
            self._changed.add(name)

    async def flush(self) -> None:
        """Write them."""
        run = self._reading.run
        gone = [name for name in self._changed if self._known[name] is None]
        if gone:
            await run("drop_limits", gone)
        kept = [
            (name, limit.slots, limit.held)
            for name in self._changed
            if (limit := self._known[name]) is not None
        ]
        if kept:
            await run("save_limits", *map(list, zip(*kept, strict=True)))
        if self._dropped:
            await run("drop_holds", self._dropped)
        new = [(owner, *hold) for owner, holds in self._new.items() for hold in holds.items()]
        if new:
            await run("save_holds", *map(list, zip(*new, strict=True)))
        self._changed, self._dropped, self._new = set(), [], {}
