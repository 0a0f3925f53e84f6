"""Futures of others, as ours."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeGuard, TypeVar

from treadle.errors import InvalidCall
from treadle.pools.future import Future

__all__ = ["Promise", "Waitable", "future_of", "wrap_future"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Promise(Protocol[T_co]):
    """What can give a future of its result, as a :class:`~treadle.Job` can."""

    def future(self) -> Future[Any]:
        """Ends with the result."""
        ...

    async def aresult(self, timeout: Any = None) -> T_co:
        """The result."""
        ...


Waitable: TypeAlias = "Future[T] | concurrent.futures.Future[T] | asyncio.Future[T] | Promise[T]"
"""What can be waited for: calls of workers, jobs, the futures of the standard library."""


def wrap_future(future: concurrent.futures.Future[T] | asyncio.Future[T]) -> Future[T]:
    """A future of ours that ends as one of the standard library does, and is cancelled with it.

    One of asyncio may be wrapped, waited for and cancelled from any thread.

    Raises:
        InvalidCall: it is something else.
    """
    ours: Future[T] = Future()
    ended = partial(_ended, ours)
    if isinstance(future, concurrent.futures.Future):
        ours.stopper = future.cancel
        future.add_done_callback(ended)
    elif isinstance(future, asyncio.Future):
        ours.stopper = partial(_cancel, future)
        if future.done():
            ended(future)
        elif not _in_its_loop(future, partial(future.add_done_callback, ended)):
            ours.end_cancelled("the event loop of the future was closed")
    else:
        raise _no_future(future)
    return ours


def future_of(one: Any) -> Future[Any]:
    """A future of ours for whatever can be waited for.

    Raises:
        InvalidCall: it cannot.
    """
    if _is_ours(one):
        return one
    if _is_theirs(one):
        return wrap_future(one)
    if _is_promise(one):
        return one.future()
    raise _no_future(one)


def _is_ours(one: object) -> TypeGuard[Future[Any]]:
    return isinstance(one, Future)


def _is_theirs(one: object) -> TypeGuard[asyncio.Future[Any]]:
    return isinstance(one, concurrent.futures.Future | asyncio.Future)


def _is_promise(one: Any) -> TypeGuard[Promise[Any]]:
    return callable(getattr(one, "future", None)) and callable(getattr(one, "aresult", None))


def _ended(ours: Future[Any], theirs: Any) -> None:
    if theirs.cancelled():
        ours.end_cancelled()
        return
    error = theirs.exception()
    ours.end(None if error is not None else theirs.result(), error)


def _cancel(theirs: asyncio.Future[Any]) -> bool:
    return not theirs.done() and _in_its_loop(theirs, theirs.cancel)


def _in_its_loop(theirs: asyncio.Future[Any], step: Callable[[], object]) -> bool:
    """Do something with a future where that is safe; whether its loop is still there."""
    loop = theirs.get_loop()
    if asyncio._get_running_loop() is loop:
        step()
        return True
    try:
        loop.call_soon_threadsafe(step)
    except RuntimeError:
        return False
    return True


def _no_future(one: object) -> InvalidCall:
    hint = ""
    if asyncio.iscoroutine(one):
        one.close()
        hint = "; a coroutine becomes one by asyncio.create_task(…)"
    elif isinstance(one, Awaitable):
        hint = "; asyncio.ensure_future(…) makes one of it"
    return InvalidCall(f"{one!r} is no future and no job, so there is nothing to wait for{hint}")
