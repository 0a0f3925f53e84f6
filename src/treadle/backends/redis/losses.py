"""Noticing that a server has lost what it had accepted.

A server that restarts empty, or from an older copy, or a replica that is made primary before
it had everything, answers as if nothing had happened. So a mark is read now and then: an epoch that
was written once, and a number that goes up each time. What was seen once must be there for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

import msgspec

from treadle.backends.redis.link import Link
from treadle.backends.redis.scripts import script
from treadle.clock import Clock
from treadle.errors import BackendError
from treadle.events import Event
from treadle.ids import Ids
from treadle.logs import get_logger

__all__ = ["LOST", "Losses"]

LOST = "backend.lost_data"
_EVERY = 5.0
"""Seconds between two looks, unless the connection was lost."""
_log = get_logger("treadle.redis")


class _Mark(msgspec.Struct, frozen=True):
    """What was seen last."""

    epoch: bytes
    beats: int
    # History of the data in the words of the server: changes when another server has them.
    history: str


class Losses:
    """Looks whether the data are still those of a moment ago, and says when they are not.

    Args:
        link: the way to the server.
        prefix: of all keys.
        tell: publishes what was noticed.
        clock: stamps it.
        network: the clock of the machine, which says when to look again.
        ids: gives the first epoch.
    """

    def __init__(
        self,
        link: Link,
        prefix: str,
        tell: Callable[[list[Event]], Awaitable[None]],
        *,
        clock: Clock,
        network: Clock,
        ids: Ids,
    ) -> None:
        self._link = link
        self._prefix = prefix
        self._tell = tell
        self._clock = clock
        self._network = network
        self._ids = ids
        self._lock = threading.Lock()
        self._mark: _Mark | None = None
        self._next = 0.0
        self._connects: int = 0

    async def look(self) -> None:
        """Look when it is time to, or when the connection was lost since."""
        with self._lock:
            now, connects = self._network.monotonic(), self._link.connects
            if now < self._next and connects == self._connects:
                return
            self._next, self._connects = now + _EVERY, connects
        try:
            seen = await self._read()
        except BackendError:
            # Who asked for something will hear of it himself.
            self._next = 0.0
            return
        with self._lock:
            before, self._mark = self._mark, seen
            # Two that look at once may come back in the other order.
            if before is not None and before.epoch == seen.epoch and before.beats > seen.beats:
                same_look = before.history == seen.history and connects == self._link.connects
                if same_look:
                    self._mark = before
                    return
        if before is not None:
            await self._compare(before, seen)

    def forget(self) -> None:
        """In a forked child."""
        self._lock = threading.Lock()

    async def _read(self) -> _Mark:
        epoch, beats = await self._link.run(
            script("pulse"), [self._prefix], [f"{self._ids.nonce():x}"]
        )
        return _Mark(epoch, beats, await self._history())

    async def _history(self) -> str:
        """The name that servers have for what they replicate; nothing where it may not be read."""
        try:
            text: bytes = await self._link.command("INFO", "replication")
        except (BackendError, RuntimeError):
            return ""
        for line in text.decode().splitlines():
            if line.startswith("master_replid:"):
                return line.partition(":")[2]
        return ""

    async def _compare(self, before: _Mark, seen: _Mark) -> None:
        url = self._link.address.url
        if seen.epoch != before.epoch:
            reason = "emptied"
            says = "it is empty, or has other data: accepted jobs are gone"
        elif seen.beats <= before.beats:
            reason = "rolled_back"
            says = "it has an older copy: what was accepted since then is gone"
        else:
            if seen.history != before.history:
                _log.warning(
                    "store.replaced",
                    backend=url,
                    hint="another server has the data now, or the same one after a restart; what "
                    "was accepted in its last moments may be missing",
                )
            return
        _log.error(LOST, backend=url, reason=reason, says=says)
        data = {"backend": url, "reason": reason, "says": says}
        await self._tell([Event(name=LOST, at=self._clock.now(), data=data)])
