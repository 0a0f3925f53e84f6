"""A lock that is held: until when for certain, renewed if wanted, and noticed when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from treadle.durations import local_deadline
from treadle.errors import BackendError, LeaseLost
from treadle.events import Event
from treadle.locks.line import RELEASED
from treadle.logs import get_logger
from treadle.ports import Permit

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["Holding"]

_log = get_logger("treadle.locks")
_AWAY = (BackendError, OSError)


class Holding:
    """The right to a lock from its grant to its release.

    Args:
        core: of the app.
        name: of the lock.
        permit: proves it.
        lease: seconds for which it was granted.
        sent: when the request that was granted was sent, by the monotonic clock.
    """

    def __init__(self, core: Core, name: str, permit: Permit, *, lease: float, sent: float) -> None:
        self.fence = permit.fence
        self._core = core
        self._clock = core.clock
        self._name = name
        self._permit = permit
        self._lease = lease
        self._until = local_deadline(sent, lease)
        self._lost = False
        self._keeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def held(self) -> bool:
        """Whether nobody else can have the lock now. By the local clock: the store is not asked."""
        return not self._lost and self._clock.monotonic() < self._until

    def check(self) -> None:
        """Return when it is held.

        Raises:
            LeaseLost: it is not, or no longer for certain.
        """
        if not self.held:
            raise self.loss()

    def loss(self) -> LeaseLost:
        """The error of a lock that was lost."""
        return LeaseLost(
            f"lock {self._name!r} was lost: its lease of {self._lease:g} s ended before it was "
            "released; somebody else may have it. What is written with its fence can be refused"
        )

    def keep(self, *, renew: bool, lost: Callable[[], object]) -> None:
        """Renew the lease until the release, if wanted; tell at once when it is lost."""
        self._loop = asyncio.get_running_loop()
        self._keeper = self._loop.create_task(self._keep(renew, lost), name="treadle-lock")

    async def extend(self, lease: float | None = None) -> None:
        """Have the lease end so many seconds from now.

        Raises:
            LeaseLost: it had ended.
            BackendError: the store did not answer; the lease ends when it would have.
        """
        if lease is not None:
            self._lease = lease
        if not await self._renewed():
            self._lose()
            raise self.loss()

    async def release(self) -> None:
        """Let others have it. A store that is away lets them when the lease has ended.

        Raises:
            LeaseLost: it was lost before.
        """
        self._stop()
        try:
            # Whom the deadline has passed here may hold it there all the same: the margin is wide.
            mine = self.held or (not self._lost and await self._renewed())
            backend = await self._core.ready()
            await backend.release(self._permit)
            if mine:
                await backend.publish([self._released()])
        except _AWAY as error:
            _log.warning("lock.not_released", lock=self._name, error=repr(error))
            mine = self.held
        if not mine:
            self._lose()
            raise self.loss()

    def _released(self) -> Event:
        data = {"lock": self._name, "fence": self.fence}
        event = Event(name=RELEASED, at=self._clock.now(), data=data)
        if self._core.bus.wanted(RELEASED):
            self._core.bus.emit(event)
        return event

    def _stop(self) -> None:
        keeper, loop, self._keeper = self._keeper, self._loop, None
        if keeper is None or loop is None or loop.is_closed():
            return
        if loop is asyncio._get_running_loop():
            keeper.cancel()
        else:
            loop.call_soon_threadsafe(keeper.cancel)

    async def _renewed(self) -> bool:
        backend = await self._core.ready()
        sent, lease = self._clock.monotonic(), self._lease
        kept = not self._lost and await backend.renew(self._permit, lease)
        if kept:
            self._until = local_deadline(sent, lease)
        return kept

    async def _keep(self, renew: bool, lost: Callable[[], object]) -> None:
        pause = self._lease / 3
        while (left := self._until - self._clock.monotonic()) > 0 and not self._lost:
            await self._clock.sleep(min(pause, left) if renew else left)
            if renew and self.held:
                answered = await self._try_to_renew(self._until - self._clock.monotonic())
                pause = self._lease / 3 if answered else min(1.0, self._lease / 12)
        self._lose()
        lost()

    async def _try_to_renew(self, patience: float) -> bool:
        """Whether the store answered while the lease lasts; a loss is noted."""
        asked = asyncio.ensure_future(self._renewed())
        timer = self._clock.call_later(patience, asked.cancel)
        try:
            await asyncio.wait({asked})
        finally:
            timer.cancel()
            asked.cancel()
        if asked.cancelled():
            return False
        error = asked.exception()
        if error is not None:
            # Also what no store should raise: the lease ends all the same, and must be watched.
            _log.warning("lock.not_renewed", lock=self._name, error=repr(error))
            return False
        self._lost = self._lost or not asked.result()
        return True

    def _lose(self) -> None:
        if self._lost:
            return
        self._lost = True
        _log.error("lock.lost", lock=self._name, fence=self.fence)
