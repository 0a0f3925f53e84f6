"""Lines in which jobs are parked, as far as one transaction has seen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from treadle.backends.common.jobrow import Code, Flag

if TYPE_CHECKING:
    from treadle.backends.common.jobrow import JobRow
    from treadle.backends.postgres.reading import Reading

__all__ = ["Parked"]


class Parked:
    """Whether anybody waits in a line, asked of many at once."""

    __slots__ = ("_busy", "_reading")

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._busy: dict[str, bool] = {}

    async def load(self, lines: Iterable[str]) -> None:
        """Look at many at once."""
        wanted = [line for line in dict.fromkeys(lines) if line not in self._busy]
        if not wanted:
            return
        found = await self._reading.look("lines_busy", wanted)
        self._busy.update(dict.fromkeys(wanted, False))
        self._busy.update((line, True) for (line,) in found)

    async def busy(self, line: str) -> bool:
        """Whether anybody waits in it."""
        if line not in self._busy:
            await self.load((line,))
        return self._busy[line]

    def none(self, line: str) -> bool:
        """Whether it is known that nobody waits in it."""
        return self._busy.get(line) is False

    def came(self, row: JobRow) -> None:
        """A job was written that may wait in a line now."""
        if row.line is not None:
            self._busy[row.line] = True

    def changed(self, row: JobRow, was: int) -> None:
        """A job was changed, which may have waited in a line before."""
        if was == Code.WAITING and row.flags & (Flag.KEYED | Flag.ASKS):
            # Where it was nobody remembers.
            self._busy.clear()
        self.came(row)

    def gone(self, row: JobRow, was: int) -> None:
        """A job was removed, which may have waited in a line."""
        if row.line is not None:
            self._busy.pop(row.line, None)
        else:
            self.changed(row, was)
