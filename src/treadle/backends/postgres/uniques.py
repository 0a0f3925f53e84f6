"""Unique keys in one transaction: who holds which, read many at a time and written together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.backends.postgres.reading import Reading

__all__ = ["Uniques"]

_Holder = tuple[str, float | None]


class Uniques:
    """Holders of keys, with the time until which a key is held whatever becomes of its job."""

    __slots__ = ("_changed", "_freed", "_known", "_reading")

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._known: dict[str, _Holder | None] = {}
        self._changed: dict[str, None] = {}
        # Keys and the jobs that give them up, if they hold them.
        self._freed: list[tuple[str, str]] = []

    async def load(self, keys: Iterable[str]) -> None:
        """Read many at once."""
        wanted = [key for key in dict.fromkeys(keys) if key not in self._known]
        if not wanted:
            return
        await self.flush()
        self._known.update(dict.fromkeys(wanted))
        for key, job, until in await self._reading.run("uniques", wanted):
            self._known[key] = job, until

    async def get(self, key: str) -> _Holder | None:
        """Who holds a key."""
        if key not in self._known:
            await self.load((key,))
        return self._known[key]

    def hold(self, key: str, job_id: str, until: float | None) -> None:
        """Let a job have a key."""
        self._known[key] = job_id, until
        self._changed[key] = None

    def free(self, key: str, job_id: str) -> None:
        """A job gives a key up, unless it is held until a time."""
        known = self._known.get(key)
        if key in self._changed:
            if known is None or known[0] != job_id or known[1] is not None:
                return
            # As it was before it was taken here nobody knows: nobody has it now.
            self._known[key] = None
        else:
            self._freed.append((key, job_id))
            if known is not None and known[0] == job_id and known[1] is None:
                self._known[key] = None

    async def flush(self) -> None:
        """Write them."""
        if self._freed:
            freed, self._freed = self._freed, []
            await self._reading.run("free_uniques", *map(list, zip(*freed, strict=True)))
        if self._changed:
            changed, self._changed = list(self._changed), {}
            gone = [key for key in changed if self._known[key] is None]
            if gone:
                await self._reading.run("drop_uniques", gone)
            held = [(key, *found) for key in changed if (found := self._known[key]) is not None]
            if held:
                await self._reading.run("hold_uniques", *map(list, zip(*held, strict=True)))
