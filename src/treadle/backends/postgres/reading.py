"""Named statements on one connection, at one moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from treadle.backends.postgres.seen import EVERYTHING, Since
from treadle.backends.postgres.statements import Statements
from treadle.queuenames import ALL

__all__ = ["Connection", "Reading"]


class Connection(Protocol):
    """What the steps need of a connection: that of the driver, or one that is lent to them."""

    async def fetch(self, query: str, /, *values: Any) -> Sequence[Any]:
        """The rows of a statement."""
        ...


class Reading:
    """Named statements on one connection, at one moment.

    Args:
        connection: what carries them out.
        sql: their texts.
        now: the moment.
        since: up to when there is nothing left to be seen.
    """

    __slots__ = ("_connection", "now", "since", "sql")

    def __init__(
        self,
        connection: Connection,
        sql: Statements,
        now: float = 0.0,
        *,
        since: Since = EVERYTHING,
    ) -> None:
        self._connection = connection
        self.sql = sql
        self.now = now
        self.since = since

    async def run(self, name: str, *values: Any) -> Sequence[Any]:
        """The rows of a named statement."""
        return await self._connection.fetch(self.sql[name], *values)

    async def one(self, name: str, *values: Any) -> Any:
        """The first row of a named statement, or ``None``."""
        rows = await self._connection.fetch(self.sql[name], *values)
        return rows[0] if rows else None

    async def look(self, name: str, *values: Any) -> Sequence[Any]:
        """The same as :meth:`run` for a statement that looks through jobs."""
        return await self.run(name, *values)

    async def total(self, queue: str, codes: Iterable[int]) -> int:
        """Jobs of the queue and its subqueues in the given states."""
        if queue == ALL:
            found = await self.one("total_of_all", list(codes))
        else:
            found = await self.one("total", list(codes), queue, queue + ".", queue + "/")
        total: int = found[0]
        return total
