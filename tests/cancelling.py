"""Cancels what is awaited at each of the points where it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any

__all__ = ["cancelled_at"]


class CancelledAt:
    """Something awaited that is cancelled as soon as it waits for the so many-eth time.

    Args:
        awaited: what is awaited.
        step: 0 for the first time that it waits.
    """

    def __init__(self, awaited: Coroutine[Any, Any, object], step: int) -> None:
        self._awaited = awaited
        self._left = step

    def __await__(self) -> Generator[Any, Any, object]:
        steps = self._awaited.__await__()
        go: Callable[[Any], Any] = steps.send
        given: Any = None
        while True:
            try:
                waited = go(given)
            except StopIteration as over:
                return over.value
            if self._left == 0:
                us = asyncio.current_task()
                assert us is not None
                us.cancel()
            self._left -= 1
            try:
                go, given = steps.send, (yield waited)
            except BaseException as error:  # noqa: BLE001 - it is for what is awaited
                go, given = steps.throw, error


async def cancelled_at(step: int, entry: Callable[[], Coroutine[Any, Any, object]]) -> bool:
    """Whether an entry was cancelled there; it is entered when it has waited less often."""
    entering = asyncio.ensure_future(CancelledAt(entry(), step))
    await asyncio.wait({entering})
    if entering.cancelled():
        return True
    entering.result()
    return False
