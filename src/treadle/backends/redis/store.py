"""Scripts with what all of them are given: the prefix of the keys, the time, what is kept."""

from __future__ import annotations

from typing import Any

from treadle.backends.common.untold import Untold
from treadle.backends.redis.decode import fate
from treadle.backends.redis.link import Link
from treadle.backends.redis.scripts import script
from treadle.clock import Clock, SystemClock

__all__ = ["Store"]

_LIST: Any = list
# Parts of an answer with fates, see ``lua/endings.lua``.
_WITH_FATES = 3


class Store:
    """One shard of a namespace.

    Args:
        link: the way to the server.
        clock: of the jobs. The server's own counts unless it is that of a test.
        namespace: keeps apart what shares a server.
        shard: number of the shard in it, from 0.
        shards: that it has.
        max_failed: failed jobs that are kept.
        request_ttl: seconds for which a repeated request gets the answer of the first.
        untold: what became of jobs by themselves; shards have it in common.
    """

    def __init__(
        self,
        link: Link,
        clock: Clock,
        *,
        namespace: str,
        max_failed: int,
        request_ttl: float,
        shard: int = 0,
        shards: int = 1,
        untold: Untold | None = None,
    ) -> None:
        self.link = link
        self.clock = clock
        self.shards = shards
        self.untold = untold or Untold()
        self.prefix = f"{{{namespace}.{shard}}}:"
        self._keys = (self.prefix,)
        self._manual = not isinstance(clock, SystemClock)
        self._kept = (str(max_failed), repr(request_ttl))

    async def run(self, name: str, *args: Any) -> Any:
        """The answer of a script."""
        now = repr(self.clock.now()) if self._manual else ""
        answer: Any = await self.link.run(script(name), self._keys, (now, *self._kept, *args))
        if type(answer) is _LIST and len(answer) == _WITH_FATES and answer[0] == b"fates":
            self.untold.fates.extend(map(fate, answer[2]))
            return answer[1]
        return answer
