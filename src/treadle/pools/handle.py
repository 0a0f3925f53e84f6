"""What a user holds of stateful workers: calls give futures."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack, overload

from treadle.durations import Duration
from treadle.errors import InvalidCall, InvalidOption
from treadle.hints import did_you_mean
from treadle.loopthread import refuse_in_loop
from treadle.pools.bound import Bound, MapOptions
from treadle.pools.crew import Crew
from treadle.pools.future import Future
from treadle.pools.mapping import Results
from treadle.pools.steering import Steering
from treadle.pools.submission import Kind

__all__ = ["Callers", "Handle"]

W = TypeVar("W")
P = ParamSpec("P")
R = TypeVar("R")

# A mark of the functions that a handle has in the place of methods.
_HANDLED = "_calls_a_worker"
_OWN = frozenset({"init", "options", "restart", "start", "stop"})
"""Names of a class of workers that are not for calls."""


class Callers(Generic[W]):
    """What calls functions and methods of workers, for one key or for none."""

    _crew: Crew
    _cls: type[W]
    _key: Any = None

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

        Type checkers know the parameters and the result. It is a future with ``blocking=True``,
        too.

        Raises:
            WorkerStopped: after :meth:`stop`.
            PoolFull: as many calls wait as may, and ``on_full="raise"``.
        """
        return self._crew.submit(*_called(self._cls, method), args, kwargs, self._key)


class Handle(Steering, Callers[W]):
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
            return _blocking(crew, name)

        def call(*args: Any, **kwargs: Any) -> Future[Any]:
            return submit(method, name, args, kwargs)

        # Found at once the next time.
        self.__dict__[name] = call
        return _marked(call, name)

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
        return Bound[..., Any](self._crew, *_called(self._cls, method)).map(*iterables, **options)

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
        return Bound[..., Any](self._crew, *_called(self._cls, method)).starmap(items, **options)

    def keyed(self, key: Any) -> Keyed[W]:
        """The same for calls of one key, which one worker gets all, with ``balancing="sticky"``.

        Raises:
            InvalidOption: the balancing is another one, which would not look at the key.
        """
        balancing = self._crew.options.balancing
        if balancing != "sticky":
            raise InvalidOption(
                f"with balancing={balancing!r} the key of a call says nothing; all of one key go "
                f"to one worker with {self._cls.__name__}.options(balancing='sticky')",
                option="balancing",
                value=balancing,
            )
        return Keyed(self._crew, self._cls, key)

    # ------------------------------------------------------------- its life

    def restart(self, index: int | None = None, *, timeout: Duration | None = None) -> None:
        """Restart the workers one after another, or one of them; calls wait or go to the others.

        A worker restarts between two calls, before those that wait. When one cannot be started
        again, the rest stay as they are. A call that restarts its own worker does not wait for it.

        Args:
            index: number of the worker.
            timeout: seconds to wait for each; it goes on when they are over.

        Raises:
            WorkerNotStarted: one could not be started, several times.
            WaitTimeout: one has not restarted in time.
            Blocking: an event loop runs here; use ``await arestart()``.
        """
        for place in self._crew.tended(index):
            restarting = self._crew.tender.restart(place)
            if not place.here:
                refuse_in_loop("restart", "arestart")
                restarting.result(timeout)

    async def arestart(self, index: int | None = None) -> None:
        """As :meth:`restart`, awaited."""
        for place in self._crew.tended(index):
            restarting = self._crew.tender.restart(place)
            if not place.here:
                await restarting


class Keyed(Callers[W]):
    """Calls of one key."""

    def __init__(self, crew: Crew, cls: type[W], key: Any) -> None:
        self._crew = crew
        self._cls = cls
        self._key = key

    def __getattr__(self, name: str) -> Callable[..., Any]:
        _check_name(self._cls, name)
        if self._crew.options.blocking:
            return _blocking(self._crew, name, self._key)

        def call(*args: Any, **kwargs: Any) -> Future[Any]:
            return self._crew.submit(Kind.METHOD, name, args, kwargs, self._key)

        return _marked(call, name)


def _called(cls: type[Any], method: Callable[..., Any]) -> tuple[Kind, Any]:
    """What is to be called: a method, by its name, or a function that is given the worker.

    Raises:
        InvalidCall: it is neither.
    """
    if not callable(method):
        raise InvalidCall(
            f"{method!r} cannot be called; name the method by the class, {cls.__name__}.{method}"
            if isinstance(method, str)
            else f"{method!r} cannot be called; give a method, {cls.__name__}.name, or a function"
        )
    name = getattr(method, "__name__", "")
    if getattr(cls, name, None) is method:
        return Kind.METHOD, name
    if isinstance(method, MethodType) and isinstance(method.__self__, type):
        # A class method: another object each time, and it is given a class already.
        known = getattr(cls, name, None)
        if issubclass(cls, method.__self__) and getattr(known, "__func__", None) is method.__func__:
            return Kind.METHOD, name
    handled = getattr(method, "__dict__", {}).get(_HANDLED)
    if handled is not None:
        raise InvalidCall(
            f"{handled} of the handle calls by itself; give that of the class, "
            f"{cls.__name__}.{handled}"
        )
    return Kind.VISIT, method


def _blocking(crew: Crew, name: str, key: Any = None) -> Callable[..., Any]:
    """Calls of a method that give its result."""

    def call(*args: Any, **kwargs: Any) -> Any:
        crew.refuse_blocking(name)
        return crew.submit(Kind.METHOD, name, args, kwargs, key).result()

    return _marked(call, name)


def _marked(call: Callable[..., Any], name: str) -> Callable[..., Any]:
    call.__dict__[_HANDLED] = name
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
