"""The sessions of one foreman, one in each backend that it claims from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from treadle.backends.routed.part import Part
from treadle.clock import Clock
from treadle.errors import BackendError, LeaseLost
from treadle.ids import Ids
from treadle.logs import get_logger
from treadle.ports import Claim, Claimed, Settlement
from treadle.records import Lease, Session, SessionInfo
from treadle.together import ended
from treadle.verdicts import Released

__all__ = ["Seat"]

_log = get_logger("treadle.routed")
_PATIENCE = 2.0
"""Seconds that a claim has before the others are claimed from without its answer."""
_LONGEST_PAUSE = 5.0


class Seat:
    """The session of a foreman in one backend, and what it has asked for there.

    Args:
        part: the backend.
        info: what the foreman says of itself.
        nonce: that it has in all backends.
    """

    def __init__(
        self, part: Part, info: SessionInfo, nonce: int, *, clock: Clock, ids: Ids
    ) -> None:
        self.part = part
        # None until the backend has answered, and once it has forgotten it.
        self.session: Session | None = None
        # Whether it did not answer the last claim.
        self.away = False
        self._info = info
        self._nonce = nonce
        self._clock = clock
        self._ids = ids
        self._request = 0
        # The number of a claim of the foreman, and what was sent for it without an answer.
        self._unsure: tuple[int, Claim] | None = None
        # A claim that was given up; what it grants is given back.
        self._given_up: asyncio.Task[Claimed] | None = None
        self._failures = 0
        self._not_before = 0.0

    async def open(self) -> Session:
        """Be present.

        Raises:
            BackendUnavailable: it does not answer; the next claim tries again.
        """
        info, nonce = self._info, self._nonce
        self.session = await self.part.soon(lambda one: one.open_session(info, nonce), _PATIENCE)
        return self.session

    async def claim(self, ask: Claim) -> Claimed | None:
        """What this backend grants; ``None`` where it does not answer."""
        if not self._may_ask():
            return None
        task = asyncio.ensure_future(self._claim(ask))
        try:
            in_time = await ended(self._clock, _PATIENCE, task)
        except asyncio.CancelledError:
            await _cancelled(task)
            raise
        if not in_time:
            self._given_up = task
            self._failed(self.part.silent(_PATIENCE))
            return None
        try:
            claimed = task.result()
        except BackendError as error:
            self._failed(error)
            return None
        except LeaseLost:
            self._forgotten()
            return Claimed(more=True)
        if self.away:
            _log.info("part.back", backend=self.part.name)
        self.away, self._failures = False, 0
        return claimed

    async def close(self) -> None:
        """Ask for nothing more."""
        if self._given_up is not None:
            await _cancelled(self._given_up)

    def _may_ask(self) -> bool:
        task = self._given_up
        if task is not None:
            if not task.done():
                return False
            self._given_up = None
            if not task.cancelled() and task.exception() is None:
                self._not_before = 0.0
        return self._clock.monotonic() >= self._not_before

    async def _claim(self, ask: Claim) -> Claimed:
        if self.session is None:
            info, nonce = self._info, self._nonce
            self.session = await self.part.ask(lambda one: one.open_session(info, nonce))
        if self._unsure is not None:
            number, before = self._unsure
            # Repeated, it is answered as it was, or is carried out now.
            granted = await self.part.ask(lambda one: one.claim(before))
            self._unsure = None
            if number == ask.request and not self._is_given_up():
                return granted
            await self._give_back(granted.leases)
        self._request += 1
        own = msgspec.structs.replace(ask, session=self.session, request=self._request)
        self._unsure = ask.request, own
        claimed = await self.part.ask(lambda one: one.claim(own))
        if self._is_given_up():
            # How long ago it was granted nobody knows, and others have the places by now.
            await self._give_back(claimed.leases)
            claimed = Claimed()
        self._unsure = None
        return claimed

    def _is_given_up(self) -> bool:
        return self._given_up is not None and self._given_up is asyncio.current_task()

    async def _give_back(self, leases: Sequence[Lease]) -> None:
        if leases:
            ends = [Settlement(token=one.token, verdict=Released()) for one in leases]
            await self.part.ask(lambda one: one.settle(ends))
            _log.info("claim.given_back", backend=self.part.name, jobs=len(leases))

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        pause = min(_LONGEST_PAUSE, 0.05 * 2.0 ** min(self._failures, 16))
        pause *= self._ids.chance.uniform(0.5, 1.0)
        self._not_before = self._clock.monotonic() + pause
        if not self.away:
            _log.warning("part.away", backend=self.part.name, error=str(error))
        self.away = True

    def _forgotten(self) -> None:
        """The backend does not know the session: it was restored, or this was silent for long."""
        _log.warning("part.session_forgotten", backend=self.part.name)
        # A fresh nonce: tokens of before must not fit what is granted from now on.
        self.session, self._unsure, self._nonce = None, None, self._ids.nonce()


async def _cancelled(task: asyncio.Task[Claimed]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
