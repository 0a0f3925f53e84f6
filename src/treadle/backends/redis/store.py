"""Scripts with what all of them are given: the prefix of the keys, the time, what is kept."""

from __future__ import annotations

from typing import Any

from treadle.backends.redis.link import Link
from treadle.backends.redis.scripts import script
from treadle.clock import Clock, SystemClock

__all__ = ["Store"]


class Store:
    """One shard of a namespace.

    Args:
        link: the way to the server.
        clock: of the jobs. The server's own counts unless it is that of a test.
        namespace: keeps apart what shares a server.
        max_failed: failed jobs that are kept.
        request_ttl: seconds for which a repeated request gets the answer of the first.
    """

    def __init__(
        self, link: Link, clock: Clock, *, namespace: str, max_failed: int, request_ttl: float
    ) -> None:
        self.link = link
        self.clock = clock
        self.prefix = f"{{{namespace}.0}}:"
        self._keys = (self.prefix,)
        self._manual = not isinstance(clock, SystemClock)
        self._kept = (str(max_failed), repr(request_ttl))

    async def run(self, name: str, *args: Any) -> Any:
        """The answer of a script."""
        now = repr(self.clock.now()) if self._manual else ""
        return await self.link.run(script(name), self._keys, (now, *self._kept, *args))
