"""Calls one after the other, as they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import repeat
from typing import Any, Generic, Self, TypeVar, overload

from treadle.clock import Clock, SystemClock
from treadle.durations import Duration, seconds
from treadle.errors import WaitTimeout
from treadle.pools.arrivals import Arrivals
from treadle.pools.future import Future
from treadle.pools.progress import Progress, shown
from treadle.pools.together import Several

__all__ = ["Completed", "as_completed"]

K = TypeVar("K")
W = TypeVar("W")
X_co = TypeVar("X_co", covariant=True)


class Completed(Generic[X_co]):
    """Calls as they end, for ``for`` and ``async for``. See :func:`as_completed`."""

    def __init__(
        self, several: Several, timeout: float | None, progress: Progress, clock: Clock
    ) -> None:
        self._several = several
        self._clock = clock
        self._until = None if timeout is None else clock.monotonic() + timeout
        self._left = len(several.futures)
        self._bar = shown(progress, self._left)
        self._arrivals: Arrivals[Any] = Arrivals()
        self._callbacks: list[Callable[[Future[Any]], object]] = []
        keys = repeat(None) if several.keys is None else several.keys
        for key, one, future in zip(keys, several.given, several.futures, strict=False):
            what = one if several.keys is None else (key, one)
            callback = partial(_came, self._arrivals, what)
            self._callbacks.append(callback)
            future.add_done_callback(callback)

    def __len__(self) -> int:
        """How many are still to come."""
        return self._left

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> X_co:
        following = self._following()
        if following is None:
            raise StopIteration
        try:
            following.wait(self._remaining())
        except WaitTimeout:
            self._late(following)
        except BaseException:
            following.cancel()
            raise
        return self._given(following)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> X_co:
        following = self._following()
        if following is None:
            raise StopAsyncIteration
        try:
            await following.await_for(self._remaining())
        except WaitTimeout:
            self._late(following)
        except asyncio.CancelledError:
            following.cancel()
            raise
        return self._given(following)

    def close(self) -> None:
        """Wait for no more of them; they go on. Harmless at any time."""
        self._left = 0
        self._bar.close()
        callbacks, self._callbacks = self._callbacks, []
        for future, callback in zip(self._several.futures, callbacks, strict=False):
            future.forget_callback(callback)
        self._several.leave()

    def __del__(self) -> None:
        if hasattr(self, "_callbacks"):
            self.close()

    def _following(self) -> Future[Any] | None:
        if not self._left:
            self.close()
            return None
        return self._arrivals.next()

    def _remaining(self) -> float | None:
        return None if self._until is None else max(0.0, self._until - self._clock.monotonic())

    def _late(self, following: Future[Any]) -> None:
        """Out of time: an error, unless it came after all."""
        if not following.cancel():
            return
        left = self._left
        self.close()
        raise WaitTimeout(f"{left} calls have not ended in time; they go on")

    def _given(self, following: Future[Any]) -> X_co:
        self._left -= 1
        self._bar.update()
        if not self._left:
            self.close()
        given: X_co = following.result()
        return given


def _came(arrivals: Arrivals[Any], what: Any, _: Future[Any]) -> None:
    arrivals.put(what)


@overload
def as_completed(
    futures: Mapping[K, W],
    *,
    timeout: Duration | None = None,
    progress: Progress = False,
    clock: Clock | None = None,
) -> Completed[tuple[K, W]]: ...
@overload
def as_completed(
    futures: Iterable[W],
    *,
    timeout: Duration | None = None,
    progress: Progress = False,
    clock: Clock | None = None,
) -> Completed[W]: ...
def as_completed(
    futures: Any,
    *,
    timeout: Duration | None = None,
    progress: Progress = False,
    clock: Clock | None = None,
) -> Completed[Any]:
    """Futures, jobs and futures of the standard library as they end, in whatever way.

    ::

        for future in as_completed(futures):  # or: async for
            print(future.result())

    Args:
        futures: an iterable of them; or a mapping, which gives pairs of key and future.
        timeout: for all of them, from now on.
        progress: a bar: ``True``, its options as a dict, or one of your own.
        clock: for tests.

    Raises:
        InvalidCall: something else is among them.
        WaitTimeout: while iterating, when they have not all ended in time; they go on.
        Blocking: while iterating with ``for`` in an event loop, where one has not ended.
    """
    limit = None if timeout is None else seconds(timeout, "timeout")
    return Completed(Several(futures), limit, progress, clock or SystemClock())
