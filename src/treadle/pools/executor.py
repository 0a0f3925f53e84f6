"""A pool as an executor of the standard library."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from treadle.errors import WorkerStopped
from treadle.pools.future import Future

__all__ = ["PoolExecutor", "Submitted"]

P = ParamSpec("P")
R = TypeVar("R")


class Submits(Protocol):
    """What an executor needs of a pool."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The future of a call."""
        ...


class Submitted(concurrent.futures.Future[R]):
    """The future of a call, for code that knows those of the standard library.

    ``cancel`` ends what has not begun, and leaves alone what has, as it does there.
    """

    def __init__(self, call: Future[R]) -> None:
        super().__init__()
        self._call = call
        call.add_done_callback(self._ended)

    def running(self) -> bool:
        """Whether the code of the call has begun and not ended."""
        return self._call.running()

    def cancel(self) -> bool:
        """End the call if it has not begun; whether it is cancelled now."""
        if not self._call.running():
            self._call.cancel()
        return self.cancelled()

    def _ended(self, call: Future[R]) -> None:
        if call.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
            return
        self.set_running_or_notify_cancel()
        if call.failure is not None:
            self.set_exception(call.failure)
        else:
            self.set_result(call.result())


class PoolExecutor(concurrent.futures.Executor):
    """What ``concurrent.futures`` calls an executor, over the workers of a pool.

    ::

        with Pool("thread") as pool:
            text = await loop.run_in_executor(pool.executor(), read, path)

    It is a view: its ``shutdown``, and the end of a ``with`` block, end what was submitted through
    it, and leave the pool to its own end.

    Args:
        pool: carries out the calls.
    """

    def __init__(self, pool: Submits) -> None:
        self._pool = pool
        self._shut = False
        self._open: set[Submitted[Any]] = set()

    def __repr__(self) -> str:
        return f"<PoolExecutor of {self._pool!r}>"

    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[R]: ...
    @overload
    def submit(
        self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[R]: ...
    def submit(  # pyright: ignore[reportInconsistentOverload]
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[Any]:
        """Run a function; its future, of the standard library.

        Raises:
            WorkerStopped: after :meth:`shutdown`, or the end of the pool.
            PoolFull: as many calls wait as may, and ``on_full="raise"``.
        """
        if self._shut:
            raise WorkerStopped(f"{self!r} was shut down and takes no more calls")
        submitted: Submitted[Any] = Submitted(self._pool.submit(fn, *args, **kwargs))
        self._open.add(submitted)
        submitted.add_done_callback(partial(_forget, self._open))
        return submitted

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. The pool goes on.

        Args:
            wait: return when all calls that were submitted through it have ended.
            cancel_futures: cancel those that have not begun.
        """
        self._shut = True
        if cancel_futures:
            for one in list(self._open):
                one.cancel()
        if wait:
            concurrent.futures.wait(list(self._open))


def _forget(known: set[Submitted[Any]], one: Any) -> None:
    known.discard(one)
