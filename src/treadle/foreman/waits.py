"""Waiting for the first of two things."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from treadle.clock import Clock

__all__ = ["either", "within"]


async def either(one: Awaitable[object], other: Awaitable[object]) -> None:
    """Return when one of them has ended; the other is cancelled. Errors of both are dropped."""
    waits = [asyncio.ensure_future(one), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def within(clock: Clock, seconds: float, wait: Awaitable[object]) -> None:
    """Return when something has ended, or is cancelled because so many seconds have passed."""
    await either(wait, clock.sleep(seconds))
