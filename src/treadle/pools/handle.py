"""What a user holds of stateful workers: calls give futures."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack, overload

from treadle.hints import did_you_mean
from treadle.loopthread import refuse_in_loop
from treadle.pools.bound import Bound, MapOptions
from treadle.pools.crew import Crew
from treadle.pools.future import Future
from treadle.pools.mapping import Results
from treadle.pools.steering import Steering
from treadle.pools.submission import Kind

__all__ = ["Handle"]

W = TypeVar("W")
P = ParamSpec("P")
R = TypeVar("R")

_OWN = frozenset({"init", "options", "restart", "start", "stop"})
"""Names of a class of workers that are not for calls."""


class Handle(Steering, Generic[W]):
    """A worker, or a pool of them, behind one object. Made by ``Worker.options(…).init(…)``.

    Each method of the worker is one of the handle, which gives a future of its result::

        with Model.options(mode="thread").init("weights.bin") as model:
            future = model.predict("text")
            same = model.call(Model.predict, "text")  # typed: Future[float]
            print(future.result())
    """

    def __init__(self, crew: Crew, cls: type[W]) -> None:
        super().__init__(crew)
        self._cls = cls

    def __repr__(self) -> str:
        return f"<Handle {self._crew.plan.name} {self._crew.options.mode}>"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        _check_name(self._cls, name)
        return self._method(name)

    def _method(self, name: str) -> Callable[..., Any]:
        crew = self._crew
        submit, method = crew.submit, Kind.METHOD

        if crew.options.blocking:

            def blocking_call(*args: Any, **kwargs: Any) -> Any:
                crew.refuse_blocking(name)
                return submit(method, name, args, kwargs).result()

            return blocking_call

        def call(*args: Any, **kwargs: Any) -> Future[Any]:
            return submit(method, name, args, kwargs)

        # Found at once the next time.
        self.__dict__[name] = call
        return call

    @overload
    def call(
        self,
        method: Callable[Concatenate[W, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[R]: ...
    @overload
    def call(
        self, method: Callable[Concatenate[W, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]: ...
    def call(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a method of the worker, or any function that is given the worker first.

        Type checkers know the parameters and the result.

        Raises:
            WorkerStopped: after :meth:`stop`.
            PoolFull: as many calls wait as may, and ``on_full="raise"``.
        """
        return self._crew.submit(*self._called(method), args, kwargs)

    def _called(self, method: Callable[..., Any]) -> tuple[Kind, Any]:
        name = getattr(method, "__name__", "")
        if getattr(self._cls, name, None) is method:
            return Kind.METHOD, name
        return Kind.VISIT, method

    @overload
    def map(
        self,
        method: Callable[Concatenate[W, ...], Coroutine[Any, Any, R]],
        /,
        *iterables: Iterable[Any],
        **options: Unpack[MapOptions],
    ) -> Results[R]: ...
    @overload
    def map(
        self,
        method: Callable[Concatenate[W, ...], R],
        /,
        *iterables: Iterable[Any],
        **options: Unpack[MapOptions],
    ) -> Results[R]: ...
    def map(
        self,
        method: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        **options: Unpack[MapOptions],
    ) -> Results[Any]:
        """Call a method, or a function that is given the worker, for the items of iterables.

        See :meth:`Bound.map <treadle.pools.bound.Bound.map>`::

            for score in model.map(Model.predict, texts):
                ...
        """
        return Bound[..., Any](self._crew, *self._called(method)).map(*iterables, **options)

    @overload
    def starmap(
        self,
        method: Callable[Concatenate[W, ...], Coroutine[Any, Any, R]],
        items: Iterable[Iterable[Any]],
        /,
        **options: Unpack[MapOptions],
    ) -> Results[R]: ...
    @overload
    def starmap(
        self,
        method: Callable[Concatenate[W, ...], R],
        items: Iterable[Iterable[Any]],
        /,
        **options: Unpack[MapOptions],
    ) -> Results[R]: ...
    def starmap(
        self,
        method: Callable[..., Any],
        items: Iterable[Iterable[Any]],
        /,
        **options: Unpack[MapOptions],
    ) -> Results[Any]:
        """As :meth:`map`, for items that are the arguments of each call."""
        return Bound[..., Any](self._crew, *self._called(method)).starmap(items, **options)

    def keyed(self, key: Any) -> Keyed[W]:
        """The same for calls of one key: with ``balancing="sticky"`` one worker gets them all."""
        return Keyed(self._crew, self._cls, key)

    # ------------------------------------------------------------- its life

    def restart(self, index: int | None = None, *, timeout: float | None = None) -> None:
        """Restart the workers one after another, or one of them; calls wait or go to the others.

        A worker restarts between two calls, before those that wait. When one cannot be started
        again, the rest stay as they are.

        Args:
            index: number of the worker.
            timeout: seconds to wait for each; it goes on when they are over.

        Raises:
            WorkerNotStarted: one could not be started, several times.
            WaitTimeout: one has not restarted in time.
            Blocking: an event loop runs here; use ``await arestart()``.
        """
        refuse_in_loop("restart", "arestart")
        for place in self._crew.tended(index):
            self._crew.tender.restart(place).result(timeout)

    async def arestart(self, index: int | None = None) -> None:
        """As :meth:`restart`, awaited."""
        for place in self._crew.tended(index):
            await self._crew.tender.restart(place)


class Keyed(Generic[W]):
    """Calls of one key."""

    def __init__(self, crew: Crew, cls: type[W], key: Any) -> None:
        self._crew = crew
        self._cls = cls
        self._key = key

    def __getattr__(self, name: str) -> Callable[..., Future[Any]]:
        _check_name(self._cls, name)

        def call(*args: Any, **kwargs: Any) -> Future[Any]:
            return self._crew.submit(Kind.METHOD, name, args, kwargs, self._key)

        return call


def _check_name(cls: type[Any], name: str) -> None:
    """Refuse what is no method that can be called.

    Raises:
        AttributeError: naming the nearest method.
    """
    if not name.startswith("_") and name != "start" and callable(getattr(cls, name, None)):
        return
    methods = [
        known
        for known in dir(cls)
        if not known.startswith("_") and known not in _OWN and callable(getattr(cls, known, None))
    ]
    raise AttributeError(
        f"{cls.__name__} has no method {name!r} to be called{did_you_mean(name, methods)}"
    )
