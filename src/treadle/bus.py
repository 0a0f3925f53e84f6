"""Observers of events in this process: ``app.on("job.failed", task="reports.*")``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from fnmatch import fnmatchcase
from typing import Any, TypeVar, overload

import msgspec

from treadle.errors import InvalidOption
from treadle.events import NAMES, Event, matches
from treadle.guards import is_awaited
from treadle.logs import get_logger

__all__ = ["Bus", "Observer"]

Observer = Callable[[Event], Any]
F = TypeVar("F", bound=Observer)
_log = get_logger("treadle.bus")
_PATIENCE = 5.0
# An observer must not harm what it observes, nor end its program. Only an interrupt is not its own.
_FAILURES = (Exception, SystemExit)


class _Watch(msgspec.Struct, frozen=True):
    """One observer and what it asked for."""

    pattern: str
    fn: Observer
    task: str | None
    queue: str | None


class Bus:
    """Tells observers what happened in this process.

    A plain observer runs at once, where the event happens, and must be quick; an asynchronous
    one runs in the event loop it happens in, later. One that raises is logged, the first time.
    """

    def __init__(self) -> None:
        # Somebody listens to something.
        self.heard = False
        self._watches: tuple[_Watch, ...] = ()
        # Per event name, because "does anybody listen" is asked for every job.
        self._by_name: dict[str, tuple[_Watch, ...]] = {}
        self._failed: list[Observer] = []
        self._tasks: set[asyncio.Future[Any]] = set()
        # Where asynchronous observers run when the event happens outside every loop.
        self.elsewhere: Callable[[Coroutine[Any, Any, Any]], object] | None = None

    @overload
    def on(
        self, pattern: str, fn: F, *, task: str | None = None, queue: str | None = None
    ) -> F: ...
    @overload
    def on(
        self, pattern: str, fn: None = None, *, task: str | None = None, queue: str | None = None
    ) -> Callable[[F], F]: ...
    def on(
        self,
        pattern: str,
        fn: Observer | None = None,
        *,
        task: str | None = None,
        queue: str | None = None,
    ) -> Any:
        """Call ``fn(event)`` for the events that match, or decorate the function to call.

        Args:
            pattern: name of an event, or a glob such as ``"job.*"``.
            fn: a plain or asynchronous function of one event.
            task: glob for the name of the task.
            queue: glob for the name of the queue.

        Raises:
            InvalidOption: no event has such a name, or what is to be called is no function.
        """
        names = [name for name in NAMES if fnmatchcase(name, str(pattern))]
        if not names:
            raise InvalidOption(
                f"no event matches {pattern!r}; the events are: {', '.join(NAMES)}",
                option="pattern",
                value=pattern,
            )

        def add(observer: F) -> F:
            if not callable(observer):
                raise InvalidOption(
                    f"fn={observer!r} is not a function; give one of one event: def told(event): …",
                    option="fn",
                    value=observer,
                )
            watch = _Watch(pattern, observer, task, queue)
            self._watches = (*self._watches, watch)
            self.heard = True
            for name in names:
                self._by_name[name] = (*self._by_name.get(name, ()), watch)
            return observer

        return add if fn is None else add(fn)

    def off(self, fn: Observer) -> None:
        """Stop telling an observer. Harmless when it does not listen."""
        self._watches = tuple(one for one in self._watches if one.fn != fn)
        self.heard = bool(self._watches)
        self._by_name = {
            name: rest
            for name, watches in self._by_name.items()
            if (rest := tuple(one for one in watches if one.fn != fn))
        }

    def wanted(self, name: str) -> bool:
        """Whether anybody listens to events of that name."""
        return name in self._by_name

    def emit(self, event: Event) -> None:
        """Tell whoever listens. Never blocks, never raises."""
        for watch in self._by_name.get(event.name, ()):
            if matches(event, event.name, task=watch.task, queue=watch.queue):
                self._tell(watch.fn, event)

    def _tell(self, fn: Observer, event: Event) -> None:
        if is_awaited(fn):
            self._start(self._guarded(fn, event))
            return
        try:
            fn(event)
        except _FAILURES as error:
            self._report(fn, event, error)

    async def _guarded(self, fn: Observer, event: Event) -> None:
        try:
            await fn(event)
        except _FAILURES as error:
            self._report(fn, event, error)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            if self.elsewhere is None:
                coroutine.close()
            else:
                self.elsewhere(coroutine)
            return
        task = loop.create_task(coroutine)
        self._tasks.add(task)  # a loop holds its tasks weakly
        task.add_done_callback(self._tasks.discard)

    async def drain(self, patience: float = _PATIENCE) -> None:
        """Return when the asynchronous observers of this loop have seen what was emitted.

        Args:
            patience: seconds of real time after which those that still run are cancelled.
        """
        loop = asyncio.get_running_loop()
        mine = [task for task in self._tasks if task.get_loop() is loop]
        if not mine:
            return
        _, late = await asyncio.wait(mine, timeout=patience)
        for task in late:
            task.cancel()
        if late:
            _log.warning("observers.given_up", late=len(late), waited=patience)
            await asyncio.wait(late, timeout=patience)

    def _report(self, fn: Observer, event: Event, error: BaseException) -> None:
        if fn in self._failed:
            return
        self._failed.append(fn)
        _log.error(
            "observer.failed",
            observer=getattr(fn, "__qualname__", repr(fn)),
            of=event.name,
            exc_info=error,
            hint="said once; later failures of this observer are not logged",
        )
