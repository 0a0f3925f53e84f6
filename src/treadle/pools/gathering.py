"""Waiting for many calls: for the results of all, or until some have ended.

It costs the same per call however many there are: calls say that they have ended, and nobody
looks at the others meanwhile. Each verb has an awaitable twin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar, get_args, overload

from treadle.durations import Duration
from treadle.errors import InvalidOption, WaitTimeout
from treadle.hints import did_you_mean
from treadle.loopthread import refuse_in_loop
from treadle.pools.future import Future
from treadle.pools.progress import Progress, shown
from treadle.pools.together import ReturnWhen, Several, Together
from treadle.pools.wrapping import Waitable

__all__ = ["Waited", "agather", "await_for", "gather", "wait"]

K = TypeVar("K")
T = TypeVar("T")
W = TypeVar("W")
_Nest: TypeAlias = "Sequence[Waitable[Any] | _Nest] | Mapping[Any, Waitable[Any] | _Nest]"
"""Futures in collections in collections."""
_WHEN: tuple[str, ...] = get_args(ReturnWhen)


class Waited(NamedTuple, Generic[W]):
    """What was waited for, in the order given."""

    done: list[W]
    pending: list[W]


@overload
def gather(  # type: ignore[overload-overlap]  # a dict is no iterable of futures here
    futures: Mapping[K, Waitable[T]],
    *,
    return_exceptions: Literal[False] = False,
    timeout: Duration | None = None,
    progress: Progress = False,
) -> dict[K, T]: ...
@overload
def gather(  # type: ignore[overload-overlap]  # a dict is no iterable of futures here
    futures: Mapping[K, Waitable[T]],
    *,
    return_exceptions: bool,
    timeout: Duration | None = None,
    progress: Progress = False,
) -> dict[K, T | BaseException]: ...
@overload
def gather(
    futures: Iterable[Waitable[T]],
    *,
    return_exceptions: Literal[False] = False,
    timeout: Duration | None = None,
    progress: Progress = False,
) -> list[T]: ...
@overload
def gather(
    futures: Iterable[Waitable[T]],
    *,
    return_exceptions: bool,
    timeout: Duration | None = None,
    progress: Progress = False,
) -> list[T | BaseException]: ...
@overload
def gather(
    futures: Iterable[_Nest] | Mapping[Any, _Nest],
    *,
    return_exceptions: bool = False,
    timeout: Duration | None = None,
    progress: Progress = False,
) -> Any: ...
def gather(
    futures: Any,
    *,
    return_exceptions: bool = False,
    timeout: Duration | None = None,
    progress: Progress = False,
) -> Any:
    """The results of many calls: a list in the order given, or a dict with the same keys.

    Args:
        futures: an iterable or a mapping of futures, jobs and futures of the standard library,
            also mixed. Lists, tuples and dicts of them may be among them, however deep: their
            results come in lists and dicts.
        return_exceptions: have errors in the place of results. Without, the first one that comes
            is raised at once, and the other calls go on.
        timeout: for all together; the calls go on when it is over.
        progress: a bar: ``True``, its options as a dict, or one of your own.

    Raises:
        InvalidCall: something else is among them.
        WaitTimeout: they have not all ended in time.
        Blocking: one has not ended, and an event loop runs here; await :func:`agather`.
    """
    several = Several(futures, nested=True)
    with _together(several, return_exceptions, progress) as together:
        if not together.future.done():
            refuse_in_loop("gather", "agather")
        try:
            together.future.result(timeout)
        except WaitTimeout as late:
            raise _late(several, together, late) from None
    return _results(several, together, return_exceptions)


@overload
async def agather(  # type: ignore[overload-overlap]  # a dict is no iterable of futures here
    futures: Mapping[K, Waitable[T]],
    *,
    return_exceptions: Literal[False] = False,
    timeout: Duration | None = None,
    progress: Progress = False,
) -> dict[K, T]: ...
@overload
async def agather(  # type: ignore[overload-overlap]  # a dict is no iterable of futures here
    futures: Mapping[K, Waitable[T]],
    *,
    return_exceptions: bool,
    timeout: Duration | None = None,
    progress: Progress = False,
) -> dict[K, T | BaseException]: ...
@overload
async def agather(
    futures: Iterable[Waitable[T]],
    *,
    return_exceptions: Literal[False] = False,
    timeout: Duration | None = None,
    progress: Progress = False,
) -> list[T]: ...
@overload
async def agather(
    futures: Iterable[Waitable[T]],
    *,
    return_exceptions: bool,
    timeout: Duration | None = None,
    progress: Progress = False,
) -> list[T | BaseException]: ...
@overload
async def agather(
    futures: Iterable[_Nest] | Mapping[Any, _Nest],
    *,
    return_exceptions: bool = False,
    timeout: Duration | None = None,
    progress: Progress = False,
) -> Any: ...
async def agather(
    futures: Any,
    *,
    return_exceptions: bool = False,
    timeout: Duration | None = None,
    progress: Progress = False,
) -> Any:
    """As :func:`gather`, awaited. Cancelling what awaits it cancels the calls; jobs go on."""
    several = Several(futures, nested=True)
    with _together(several, return_exceptions, progress) as together:
        try:
            await together.future.aresult(timeout)
        except WaitTimeout as late:
            raise _late(several, together, late) from None
        except asyncio.CancelledError:
            several.cancel()
            raise
    return _results(several, together, return_exceptions)


@contextmanager
def _together(several: Several, return_exceptions: bool, progress: Progress) -> Iterator[Together]:
    when: ReturnWhen = "ALL_COMPLETED" if return_exceptions else "FIRST_EXCEPTION"
    with (
        shown(progress, len(several.futures)) as bar,
        _watched(several, Together(several.futures, when, bar.update if bar else None)) as together,
    ):
        yield together


@contextmanager
def _watched(several: Several, together: Together) -> Iterator[Together]:
    try:
        yield together
    finally:
        together.leave()
        several.leave()


def _late(several: Several, together: Together, late: WaitTimeout) -> WaitTimeout:
    number = len(several.futures)
    how_long = str(late).partition(" after ")[2]
    return WaitTimeout(f"{together.left} of {number} calls have not ended after {how_long}")


def _results(several: Several, together: Together, return_exceptions: bool) -> Any:
    if together.failed is None:
        return several.shaped(Future.values(several.futures))
    if not return_exceptions:
        return together.failed.result()  # raises
    return several.shaped(
        one.result() if one.failure is None else one.failure for one in several.futures
    )


def wait(
    futures: Iterable[W],
    *,
    return_when: ReturnWhen = "ALL_COMPLETED",
    timeout: Duration | None = None,
) -> Waited[W]:
    """Which calls have ended, and which have not, once enough have or the time is over.

    Args:
        futures: futures, jobs and futures of the standard library, also mixed.
        return_when: what is enough: ``"ALL_COMPLETED"``, ``"FIRST_COMPLETED"`` or
            ``"FIRST_EXCEPTION"``, as in the standard library.
        timeout: for all together; nothing is raised when it is over.

    Raises:
        InvalidCall: something else is among them.
        Blocking: too few have ended, and an event loop runs here; await :func:`await_for`.
    """
    several = Several(futures)
    with _watched(several, Together(several.futures, _read_when(return_when))) as together:
        if not together.future.done():
            refuse_in_loop("wait", "await_for")
        with suppress(WaitTimeout):
            together.future.result(timeout)
        return _waited(several)


async def await_for(
    futures: Iterable[W],
    *,
    return_when: ReturnWhen = "ALL_COMPLETED",
    timeout: Duration | None = None,
) -> Waited[W]:
    """As :func:`wait`, awaited. The calls go on when the waiting is cancelled."""
    several = Several(futures)
    with _watched(several, Together(several.futures, _read_when(return_when))) as together:
        with suppress(WaitTimeout):
            await together.future.aresult(timeout)
        return _waited(several)


def _read_when(when: ReturnWhen) -> ReturnWhen:
    if when not in _WHEN:
        raise InvalidOption(
            f"return_when={when!r} is not one of {', '.join(_WHEN)}{did_you_mean(when, _WHEN)}",
            option="return_when",
            value=when,
        )
    return when


def _waited(several: Several) -> Waited[Any]:
    waited: Waited[Any] = Waited([], [])
    for one, future in zip(several.given, several.futures, strict=True):
        waited[not future.done()].append(one)
    return waited
