"""Calls by ``task.submit`` and ``task.map`` of tasks that ask for a context or dependencies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from inspect import Parameter, Signature, signature
from typing import Any

import msgspec

from treadle.callcontext import CallContext, Footing
from treadle.clock import Clock, SystemClock
from treadle.context import CURRENT, Attempting
from treadle.depends import Home, Level, Scopes, in_thread
from treadle.injected import Injected
from treadle.pools.future import Future
from treadle.pools.lane import Lane
from treadle.pools.noticing import why_here
from treadle.pools.seat import here, loop_aside
from treadle.pools.shelf import Shelf
from treadle.pools.submission import Informed, Kind
from treadle.pools.told import Progress

__all__ = ["Asked", "InjectedLane", "Nobody"]

_SAID = msgspec.msgpack.Decoder(Progress)
_SCOPES = "dependencies"
_SHELF = Parameter("_shelf", Parameter.POSITIONAL_ONLY)


class Asked(msgspec.Struct, frozen=True):
    """A task, as its calls need it where they run."""

    name: str
    fn: Callable[..., Any]
    is_async: bool
    mode: str
    injected: tuple[tuple[str, Injected], ...]


class Nobody:
    """What tasks without an app have instead of one, and calls where the app is not."""

    def __init__(self, overrides: Mapping[Any, Callable[..., Any]] | None = None) -> None:
        self.overrides = dict(overrides or {})
        self.clock: Clock = SystemClock()
        self._level = Level()

    def app_level(self) -> Level:
        """The dependencies that live as long as the place."""
        return self._level


class InjectedLane:
    """The way of a task's calls to its pool, on which each is told what it asks for.

    Args:
        lane: carries the calls.
        asked: the task.
        home: its app, or what stands for it.
    """

    # One item is one attempt with dependencies of its own: several are not put together.
    has_policies = True

    def __init__(self, lane: Lane, asked: Asked, home: Home) -> None:
        self._lane = lane
        self._asked = asked
        self._home = home

    @property
    def clock(self) -> Clock:
        """Time."""
        return self._lane.clock

    @property
    def at_once(self) -> bool:
        """Whether a call has ended when it was submitted."""
        return self._lane.at_once

    def submit(
        self, kind: Kind, what: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[Any]:
        """The future of a call."""
        call = _Injected(self._asked, self._home)
        future = self._lane.submit(Kind.VISIT, call, args, kwargs)
        call.hearer.hear(future)
        return future


class _Hearer:
    """Passes on what a call says to its future."""

    def __init__(self) -> None:
        self._future: Future[Any] | None = None
        self._early: Progress | None = None

    def hear(self, future: Future[Any]) -> None:
        """This is the future."""
        self._future = future
        if self._early is not None and future.said is None:
            future.say(self._early)

    def __call__(self, said: Progress) -> None:
        self._early = said
        if self._future is not None:
            self._future.say(said)


class _Injected(Informed):
    """Called where the call runs, with the shelf of the place: makes what its task asks for."""

    def __init__(self, asked: Asked, home: Home | None) -> None:
        self._asked = asked
        self._home = home
        self.__name__ = asked.fn.__name__
        self._attempt = 1
        self._timeout: float | None = None
        self.hearer = _Hearer()

    def __eq__(self, other: object) -> bool:
        # Whoever reads its signature reads it once for all calls of the task.
        return isinstance(other, _Injected) and self._asked.fn is other._asked.fn

    def __hash__(self) -> int:
        return hash(self._asked.fn)

    @property
    def __signature__(self) -> Signature:
        own = signature(self._asked.fn)
        return own.replace(parameters=[_SHELF, *own.parameters.values()])

    def tried(self, attempt: int, timeout: float | None) -> _Injected:
        """The same for an attempt that has so long."""
        other = _Injected(self._asked, self._home)
        other._attempt, other._timeout, other.hearer = attempt, timeout, self.hearer
        return other

    def said(self, body: bytes) -> None:
        """Hear what it says in another process."""
        self.hearer(_SAID.decode(body))

    def __reduce__(self) -> tuple[Any, ...]:
        overrides = {} if self._home is None else self._home.overrides
        return _elsewhere, (self._asked, self._attempt, self._timeout, dict(overrides))

    async def __call__(self, shelf: Shelf, *args: Any, **kwargs: Any) -> Any:
        """What the function of the task returns."""
        asked, home = self._asked, self._home
        assert home is not None, "it was made for this place"
        scopes = shelf.kept.get(_SCOPES)
        if not isinstance(scopes, Scopes):
            # What stands for an app is one for each place, as that has a loop of its own.
            own = Nobody(home.overrides) if isinstance(home, Nobody) else home
            scopes = shelf.kept[_SCOPES] = Scopes(own)
        context = CallContext(self._footing(home))
        invoke = in_thread if asked.mode == "asyncio" else _aside
        attempting = Attempting()
        attempting._context = context
        token = CURRENT.set(attempting)
        try:
            async with AsyncExitStack() as stack:
                given = await scopes.inject(asked, context, stack, invoke)
                if asked.is_async:
                    return await asked.fn(*args, **given, **kwargs)
                return await invoke(asked.fn, args, {**given, **kwargs})
        finally:
            CURRENT.reset(token)

    def _footing(self, home: Home) -> Footing:
        why, tell = why_here(), self.hearer
        if isinstance(tell, _Afar):
            seat = tell.seat = here()
            why = lambda: seat.ending  # noqa: E731
        timeout = self._timeout
        return Footing(
            task=self._asked.name,
            why=why,
            tell=tell,
            attempt=self._attempt,
            deadline=None if timeout is None else home.clock.now() + timeout,
        )


class _Afar(_Hearer):
    """The same in another process."""

    seat: Any = None

    def __call__(self, said: Progress) -> None:
        self.seat.say(msgspec.msgpack.encode(said))


async def _aside(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Plain code runs here, in a thread that is its own."""
    with loop_aside():
        return fn(*args, **kwargs)


def _elsewhere(
    asked: Asked, attempt: int, timeout: float | None, overrides: dict[Any, Callable[..., Any]]
) -> _Injected:
    call = _Injected(asked, Nobody(overrides)).tried(attempt, timeout)
    call.hearer = _Afar()
    return call
