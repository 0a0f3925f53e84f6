"""One of several processes that want to write the same store: ``… -m tests.soak.rival ORDERS``.

It claims, renews and settles without a pause, and writes what it got done and how long it had to
wait for it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import msgspec

from treadle import backends
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.ports import Backend, Claim, Held, Settlement
from treadle.records import Session, SessionInfo
from treadle.verdicts import Done

__all__ = ["Orders", "Result"]

T = TypeVar("T")
_BATCH = 5


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a rival is told."""

    name: str
    url: str
    # The file for what came of it.
    result: str
    # Readings of the monotonic clock, which the processes of a machine have in common.
    start: float
    end: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    name: str
    settled: int
    # Seconds, of every call.
    waits: list[float]


class Rival:
    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._clock = SystemClock()
        self._waits: list[float] = []
        self._settled = 0

    async def run(self) -> Result:
        ids = SystemIds(self._clock)
        backend = backends.open(self._orders.url, clock=self._clock, ids=ids)
        await backend.open()
        session = await backend.open_session(SessionInfo(name=self._orders.name))
        await self._clock.sleep(self._orders.start - self._clock.monotonic())
        request = 0
        while self._clock.monotonic() < self._orders.end:
            request += 1
            await self._turn(backend, session, request)
        await backend.close_session(session)
        await backend.aclose()
        backend.close()
        return Result(name=self._orders.name, settled=self._settled, waits=self._waits)

    async def _turn(self, backend: Backend, session: Session, request: int) -> None:
        claimed = await self._timed(
            backend.claim(Claim(session=session, request=request, limit=_BATCH))
        )
        tokens = [lease.token for lease in claimed.leases]
        assert tokens, "the store ran out of jobs: push more"
        await self._timed(
            backend.extend(session, [Held(token=token, started=True) for token in tokens], 30.0)
        )
        ends = [Settlement(token=token, verdict=Done()) for token in tokens]
        self._settled += len(await self._timed(backend.settle(ends)))

    async def _timed(self, call: Awaitable[T]) -> T:
        since = self._clock.monotonic()
        answer = await call
        self._waits.append(self._clock.monotonic() - since)
        return answer


if __name__ == "__main__":
    orders = msgspec.json.decode(sys.argv[1], type=Orders)
    result = asyncio.run(Rival(orders).run())
    Path(orders.result).write_bytes(msgspec.json.encode(result))
