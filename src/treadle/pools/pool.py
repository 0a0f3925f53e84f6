"""Pools that run any function."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from inspect import iscoroutine
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from treadle.errors import InvalidCall, InvalidOption
from treadle.hints import shown
from treadle.pools.bound import Bound, MapOptions
from treadle.pools.crew import Crew
from treadle.pools.defaults import with_defaults
from treadle.pools.executor import PoolExecutor
from treadle.pools.future import Future
from treadle.pools.mapping import Results
from treadle.pools.options import (
    Mode,
    PoolOptions,
    WorkerOptions,
    check_handle,
    cores,
    read_pool_options,
)
from treadle.pools.resident import Plan
from treadle.pools.steering import Steering
from treadle.pools.submission import Kind

__all__ = ["Pool"]

P = ParamSpec("P")
R = TypeVar("R")
# Looking a member up in its enum costs more than a global name.
_FUNCTION = Kind.FUNCTION


class Pool(Steering):
    """Places that run any function, and keep no state between calls.

    ::

        with Pool("thread", max_workers=4) as pool:
            future = pool.submit(len, "four")
            assert future.result() == 4

    Args:
        where: the mode in which the functions run.
        options: see :class:`~treadle.pools.options.WorkerOptions`; ``max_workers`` is by default
            the number of processors, in the modes that have more than one.

    Raises:
        UnknownOption, InvalidOption: the options are wrong.
    """

    def __init__(self, where: Mode = "thread", /, **options: Unpack[WorkerOptions]) -> None:
        mode = options.pop("mode", where)
        several = mode in ("thread", "process", "ray")
        base = PoolOptions(max_workers=cores() if several else 1, balancing="least_active")
        read = with_defaults(read_pool_options({"mode": mode, **options}, base))
        check_handle(read)
        if read.balancing == "sticky":
            raise InvalidOption(
                "balancing='sticky' goes by the key of a call, and a pool of functions has no "
                "state to stay with; a handle of workers has keyed(key)",
                option="balancing",
                value="sticky",
            )
        super().__init__(Crew(Plan(name=read.name or "pool"), read, alike=True))
        self._crew.start()

    def __repr__(self) -> str:
        return f"<Pool {self._crew.options.mode} of {len(self._crew.places)}>"

    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]: ...
    @overload
    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function; its future.

        Raises:
            WorkerStopped: after :meth:`stop`.
            PoolFull: as many calls wait as may, and ``on_full="raise"``.
            InvalidCall: what is to be run is no function, such as the result of one.
        """
        if not callable(fn):
            raise _no_function("submit", fn)
        return self._crew.submit(_FUNCTION, fn, args, kwargs)

    def executor(self) -> PoolExecutor:
        """The pool for code that wants a ``concurrent.futures.Executor``.

        Its futures are those of the standard library. Its ``shutdown`` leaves the pool alone.
        """
        return PoolExecutor(self)

    @overload
    def bind(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Bound[P, R]: ...
    @overload
    def bind(self, fn: Callable[P, R], /) -> Bound[P, R]: ...
    def bind(self, fn: Callable[..., Any], /) -> Bound[..., Any]:
        """The function in this pool: ``bound.submit(1)``, ``bound.map(items)``."""
        if not callable(fn):
            raise _no_function("bind", fn)
        return Bound(self._crew, _FUNCTION, fn)

    @overload
    def map(
        self,
        fn: Callable[..., Coroutine[Any, Any, R]],
        /,
        *iterables: Iterable[Any],
        **options: Unpack[MapOptions],
    ) -> Results[R]: ...
    @overload
    def map(
        self,
        fn: Callable[..., R],
        /,
        *iterables: Iterable[Any],
        **options: Unpack[MapOptions],
    ) -> Results[R]: ...
    def map(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        **options: Unpack[MapOptions],
    ) -> Results[Any]:
        """Run a function for the items of one iterable, or of several side by side.

        See :meth:`Bound.map <treadle.pools.bound.Bound.map>`.
        """
        if not callable(fn):
            raise _no_function("map", fn)
        return Bound[..., Any](self._crew, _FUNCTION, fn).map(*iterables, **options)

    @overload
    def starmap(
        self,
        fn: Callable[..., Coroutine[Any, Any, R]],
        items: Iterable[Iterable[Any]],
        /,
        **options: Unpack[MapOptions],
    ) -> Results[R]: ...
    @overload
    def starmap(
        self,
        fn: Callable[..., R],
        items: Iterable[Iterable[Any]],
        /,
        **options: Unpack[MapOptions],
    ) -> Results[R]: ...
    def starmap(
        self,
        fn: Callable[..., Any],
        items: Iterable[Iterable[Any]],
        /,
        **options: Unpack[MapOptions],
    ) -> Results[Any]:
        """As :meth:`map`, for items that are the arguments of each call."""
        if not callable(fn):
            raise _no_function("starmap", fn)
        return Bound[..., Any](self._crew, _FUNCTION, fn).starmap(items, **options)


def _no_function(verb: str, given: Any) -> InvalidCall:
    said = shown(given)
    if iscoroutine(given):
        given.close()
    return InvalidCall(
        f"pool.{verb}() takes a function and then its arguments, and {said} is none: "
        f"write pool.{verb}(work, 1), not pool.{verb}(work(1))"
    )
