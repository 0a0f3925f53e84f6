"""What the tests of locks have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from treadle import Treadle
from treadle.ports import Granted, Ticket, Wait
from treadle.records import Ask
from treadle.testing.clock import ManualClock

__all__ = ["LEASE", "Asked", "clock", "still", "timed"]

LEASE = 10.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def timed(url: str, clock: ManualClock) -> AsyncIterator[Treadle]:
    """An app whose time stands still."""
    async with Treadle(url, clock=clock) as app:
        yield app


@pytest.fixture
async def still(clock: ManualClock) -> AsyncIterator[Treadle]:
    """An app in memory whose time stands still."""
    async with Treadle("memory://", clock=clock) as app:
        yield app


class Asked:
    """What the store was asked for, and answered."""

    def __init__(self, app: Treadle, patch: pytest.MonkeyPatch) -> None:
        self.answers: list[Granted | Wait] = []
        self._real = app.core.backend().acquire
        self.before: Callable[[], Any] | None = None
        patch.setattr(app.core.backend(), "acquire", self._acquire)

    async def _acquire(
        self, asks: tuple[Ask, ...], who: str, ticket: Ticket | None = None, lease: float = 30.0
    ) -> Granted | Wait:
        answer = await self._real(asks, who, ticket, lease)
        self.answers.append(answer)
        if self.before is not None:
            await self.before()
        return answer

    @property
    def in_line(self) -> int:
        """Requests that have been told to wait."""
        return len({one.ticket.id for one in self.answers if isinstance(one, Wait)})
