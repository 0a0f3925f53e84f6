"""An attempt that has to end in time: from when its code begins, not from when it lines up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from treadle.clock import Clock, Timer
from treadle.errors import AttemptTimeout
from treadle.pools.future import Future
from treadle.pools.submission import Submission

__all__ = ["Begun", "in_time"]


class Begun(Future[Any]):
    """A future that says when the code of its call begins."""

    __slots__ = ("on_begin",)

    def __init__(self) -> None:
        super().__init__()
        self.on_begin: Callable[[], None] | None = None

    def when_begun(self, told: Callable[[], None]) -> None:
        """Have something called when the code begins, in the thread that begins it.

        Where it begins in this moment it may be called twice.
        """
        self.on_begin = told
        if self.running():  # it was quicker
            self.on_begin = None
            told()

    def begin(self) -> bool:
        """Say that the code begins; False when the call has ended already."""
        begun = super().begin()
        told, self.on_begin = self.on_begin, None
        if begun and told is not None:
            told()
        return begun


async def in_time(
    call: Submission, clock: Clock, *, attempt: float | None, left: float | None
) -> Any:
    """What a call gives that was submitted with a :class:`Begun`.

    Args:
        call: the call; the place that has it then is asked to end it.
        clock: measures the time.
        attempt: seconds from the beginning of its code.
        left: seconds from now.
    """
    timers: list[Timer] = []
    loop = asyncio.get_running_loop()

    def arm(seconds: float) -> None:
        late = AttemptTimeout(f"{call.name} ran longer than {seconds:g} s", timeout=seconds)
        if not call.future.done():
            timers.append(clock.call_later(seconds, lambda: call.place.interrupt(call, late)))

    def begun() -> None:
        if attempt is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
                loop.call_soon_threadsafe(arm, attempt)

    assert isinstance(call.future, Begun)
    call.future.when_begun(begun)
    if left is not None:
        arm(left)
    try:
        return await call.future
    finally:
        for timer in timers:
            timer.cancel()
