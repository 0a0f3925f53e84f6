"""That what was written is where ``durability`` says it is, before a verb returns."""

from __future__ import annotations

import asyncio
from typing import Any

from treadle.backends.redis.address import Address
from treadle.backends.redis.scripts import Script
from treadle.backends.redis.wire import Connection, Lost, Refused
from treadle.errors import BackendUnavailable

__all__ = ["Confirmation"]

LASTING = frozenset({"push", "settle", "alter", "write"})
"""Scripts whose answer promises something."""


class Confirmation:
    """Asks the server how many disks or copies have all that was written up to now.

    Args:
        address: says what is wanted.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        # Whether the server waits for its disk at each write by itself; seen when it is opened.
        self.by_itself = False

    def wanted(self, script: Script) -> bool:
        """Whether the answer to a script has to be confirmed."""
        durability = self._address.durability
        if durability == "replica" or (durability == "fsync" and not self.by_itself):
            return script.name in LASTING
        return False

    def ask(self, connection: Connection, prefix: str) -> asyncio.Future[Any]:
        """Ask, right behind a script.

        Before that something is written: a server waits for what *this* connection has written
        last, and a repeated request may have been carried out over another one.
        """
        connection.ask("SET", f"{prefix}mark", "1")
        milliseconds = max(1, round(self._address.patience * 500))
        if self._address.durability == "fsync":
            return connection.ask("WAITAOF", 1, 0, milliseconds)
        return connection.ask("WAIT", self._address.replicas, milliseconds)

    def check(self, said: Any) -> None:
        """Raise when fewer have it than wanted: the server answers in that case, too.

        Raises:
            BackendUnavailable: too few have it by now. A repeat is answered as this request
                would have been.
            Lost: the connection ended.
            Refused: the server knows no such command.
        """
        if isinstance(said, Refused | Lost):
            raise said
        address = self._address
        if address.durability == "fsync" and said[0] < 1:
            raise BackendUnavailable(
                f"{address.url} has done it, but its disk does not have it yet", backend=address.url
            )
        if address.durability == "replica" and said < address.replicas:
            raise BackendUnavailable(
                f"{address.url} has done it, but {said} of {address.replicas} replicas have it",
                backend=address.url,
            )
