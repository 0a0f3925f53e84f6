"""The worker that lives in a place: made, started, called and stopped there."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any

import msgspec
from msgspec.structs import force_setattr

from treadle.clock import Clock, SystemClock
from treadle.errors import WorkerNotStarted, WorkerStopped
from treadle.logs import get_logger
from treadle.pools.submission import Kind

__all__ = ["Plan", "Resident"]

_PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds before each further try of a restart that failed; calls wait for it meanwhile."""

_log = get_logger("treadle.pools")
# Looking a member up in its enum costs more than a global name.
_METHOD, _FUNCTION, _VISIT = Kind.METHOD, Kind.FUNCTION, Kind.VISIT


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How the worker of a place is made. Travels to where the place is."""

    # ``None`` for a pool of plain functions, whose places have no worker.
    cls: type[Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    # A worker that exists already, in place of ``cls``.
    ready_made: Any = None
    # Set as attributes before the worker is started: ``index``, and what the mode adds.
    attributes: dict[str, Any] = {}
    # For messages.
    name: str = "worker"
    # Methods that change the worker alone, which no fork of its process may keep for itself.
    aside: tuple[str, ...] = ()


class Resident:
    """A worker in its place; only the place touches it.

    Each step gives its value, or an awaitable of it where the worker's own code is asynchronous.

    Args:
        plan: how it is made.
        clock: for the pauses between the tries of a restart.
    """

    __slots__ = ("_clock", "_failure", "_life", "_plan", "worker")

    def __init__(self, plan: Plan, clock: Clock | None = None) -> None:
        self._plan = plan
        self._clock = clock or SystemClock()
        self.worker: Any = None
        self._failure: BaseException | None = None
        self._life: dict[str, Callable[[], Any]] = {
            "start": self._start,
            "stop": self._stop,
            "restart": self._restart,
            "healthy": self._healthy,
        }

    def perform(self, kind: Kind, what: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Carry out a call."""
        if kind == _METHOD:
            if self.worker is None:
                raise self._absent()
            return getattr(self.worker, what)(*args, **kwargs)
        if kind == _FUNCTION:
            return what(*args, **kwargs)
        if kind == _VISIT:
            if self.worker is None:
                raise self._absent()
            return what(self.worker, *args, **kwargs)
        return self._life[what]()

    # ------------------------------------------------------------- its life

    def _start(self) -> Any:
        plan = self._plan
        if plan.cls is None and plan.ready_made is None:
            return None
        try:
            self.worker = self._made()
            started = _own(self.worker, "start")
        except BaseException as error:
            raise self._not_started(error) from error
        return self._started(started) if isawaitable(started) else None

    async def _started(self, started: Any) -> None:
        try:
            await started
        except BaseException as error:
            raise self._not_started(error) from error

    def _made(self) -> Any:
        plan = self._plan
        worker = plan.ready_made
        if worker is None:
            assert plan.cls is not None
            worker = plan.cls(*plan.args, **plan.kwargs)
        # Models refuse what is no field of theirs.
        put = force_setattr if isinstance(worker, msgspec.Struct) else object.__setattr__
        for name, value in plan.attributes.items():
            put(worker, name, value)
        self._failure = None
        return worker

    def _not_started(self, error: BaseException) -> BaseException:
        self.worker = None
        self._failure = error
        if not isinstance(error, Exception):
            return error
        return WorkerNotStarted(
            f"{self._plan.name} could not be started: {type(error).__name__}: {error}",
            worker=self._plan.name,
        )

    def _absent(self) -> BaseException:
        name = self._plan.name
        if self._failure is None:
            return WorkerStopped(f"{name} is stopped", worker=name)
        absent = WorkerNotStarted(
            f"{name} could not be started: {type(self._failure).__name__}: {self._failure}",
            worker=name,
        )
        absent.__cause__ = self._failure
        return absent

    def _stop(self) -> Any:
        worker, self.worker = self.worker, None
        return None if worker is None else _own(worker, "stop")

    def _restart(self) -> Any:
        """Plain as long as the worker's own code is and all goes well."""
        try:
            own = getattr(self.worker, "restart", None)
            again = own() if own is not None else self._replaced()
        except Exception as error:  # noqa: BLE001 - a worker that cannot restart is made anew
            return self._revived(error)
        return self._watched(again) if isawaitable(again) else None

    async def _watched(self, again: Any) -> None:
        try:
            await again
        except Exception as error:  # noqa: BLE001 - as above
            await self._revived(error)

    def _replaced(self) -> Any:
        stopped = self._stop()
        return self._started_after(stopped) if isawaitable(stopped) else self._start()

    async def _started_after(self, stopped: Any) -> None:
        await stopped
        started = self._start()
        if isawaitable(started):
            await started

    async def _revived(self, error: Exception) -> None:
        """Make the worker anew, several times if it takes that, with pauses."""
        for pause in _PAUSES:
            _log.warning("worker.restart_failed", worker=self._plan.name, error=repr(error),
                         again_in=pause)  # fmt: skip
            await self._clock.sleep(pause)
            try:
                again = self._replaced()
                if isawaitable(again):
                    await again
            except Exception as failed:  # noqa: BLE001 - told in the end
                error = failed
            else:
                return
        raise error

    def _healthy(self) -> Any:
        return _own(self.worker, "healthy", True)


def _own(worker: Any, step: str, otherwise: Any = None) -> Any:
    """Carry out a step that the class may define or not."""
    method = getattr(worker, step, None)
    return otherwise if method is None else method()
