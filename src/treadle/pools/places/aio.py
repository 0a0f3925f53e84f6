"""Calls carried out beside each other in an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from functools import partial
from inspect import iscoroutine, iscoroutinefunction
from typing import Any

from treadle.clock import Clock, SystemClock
from treadle.errors import CallCancelled, WorkerStopped
from treadle.guards import is_awaitable
from treadle.logs import get_logger
from treadle.pools.future import Future
from treadle.pools.places.aside import Aside
from treadle.pools.places.order import Order
from treadle.pools.places.patience import after
from treadle.pools.places.shift import end_raised
from treadle.pools.resident import Plan, Resident
from treadle.pools.submission import Kind, Submission

__all__ = ["AsyncioPlace"]

_log = get_logger("treadle.pools")
_METHOD, _LIFE = Kind.METHOD, Kind.LIFE


class AsyncioPlace:
    """Its worker lives in an event loop: the one that runs where it is made, or a background one.

    What is ``async def`` runs in the loop and overlaps. Plain methods would stop the loop, so they
    are carried out one after another in a thread of the place, beside the coroutines.

    Args:
        plan: how the worker is made.
        loop: where it lives.
        index: its number.
        patience: seconds that a call has to end once it was asked to.
        clock: measures them.
    """

    pid = 0
    rss = None

    def __init__(
        self,
        plan: Plan,
        loop: asyncio.AbstractEventLoop,
        index: int = 0,
        *,
        patience: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        self.index = index
        self.total = 0
        self._plan = plan
        self._loop = loop
        self._clock = clock or SystemClock()
        self._now = self._clock.monotonic
        self._patience = patience
        self._resident = Resident(plan, self._clock)
        self._order = Order(self._go)
        self._aside: Aside | None = None
        # Which methods are asynchronous.
        self._methods: dict[Any, bool] = {}
        # Calls from other threads, fetched by the loop with one wake-up for many.
        self._arriving: deque[Submission] = deque()
        self._woken = False
        self._tasks: dict[Future[Any], asyncio.Task[None]] = {}
        self._reasons: dict[Future[Any], BaseException] = {}
        # Of them, those of the worker's life.
        self._steps: set[Future[Any]] = set()
        self._over = 0
        self._failed = 0
        self._busy = 0.0
        self._abandoned = 0
        self._closed = threading.Event()

    # ------------------------------------------------------------- numbers

    @property
    def active(self) -> int:
        """Calls that were given to it and have not ended."""
        return self.total - self._over

    @property
    def failed(self) -> int:
        """Calls whose code raised."""
        return self._failed + (self._aside.failed if self._aside else 0)

    @property
    def busy(self) -> float:
        """Seconds that calls took, those that overlapped added up."""
        return self._busy + (self._aside.busy if self._aside else 0.0)

    @property
    def abandoned(self) -> int:
        """Calls that were asked to end, did not, and were left to themselves."""
        return self._abandoned + (self._aside.abandoned if self._aside else 0)

    @property
    def here(self) -> bool:
        """Whether the caller is one of its calls."""
        if self._aside is not None and self._aside.here:
            return True
        if asyncio._get_running_loop() is not self._loop:
            return False
        return asyncio.current_task() in self._tasks.values()

    @property
    def resident(self) -> Any:
        """The worker, for code of its own loop; ``None`` elsewhere.

        Whoever calls it directly sees to it that it takes no step of its life meanwhile.
        """
        return self._resident.worker if asyncio._get_running_loop() is self._loop else None

    # ------------------------------------------------------------- calls

    def submit(self, call: Submission) -> None:
        """Carry out a call beside the others."""
        # Before it counts: Ctrl+C while it is looked at leaves nothing that the end waits for.
        asynchronous = self._is_asynchronous(call)
        if self._order.enter(call):
            self._go_on(call, asynchronous)

    def hasten(self, call: Submission) -> None:
        """Carry out a step of the worker's life before the calls that wait."""
        if self._order.enter(call, first=True):
            self._go(call)

    def _go(self, call: Submission) -> None:
        self._go_on(call, self._is_asynchronous(call))

    def _go_on(self, call: Submission, asynchronous: bool) -> None:
        if not asynchronous:
            self._besides().submit(call)
        elif asyncio._get_running_loop() is self._loop:
            self._begin(call)
        else:
            self._arriving.append(call)
            if not self._woken:
                self._woken = True
                self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._fetch)
        except RuntimeError:
            self._woken = False
            self._forsake()

    def _forsake(self) -> None:
        """End what was to run in a loop that was closed."""
        while self._arriving:
            call = self._arriving.popleft()
            stopped = call.kind == Kind.LIFE and call.what == "stop"
            name = self._plan.name
            gone = WorkerStopped(f"the event loop that {name} lived in was closed", worker=name)
            call.future.end(None, None if stopped else gone)
            self._ended(call)

    def _is_asynchronous(self, call: Submission) -> bool:
        what = call.what
        if call.kind is not _METHOD:
            return call.kind is _LIFE or _asynchronous(what)
        known = self._methods.get(what)
        if known is None:
            ready_made: Any = self._plan.ready_made
            code = getattr(self._plan.cls or ready_made, str(what), None)
            known = self._methods[what] = _asynchronous(code)
        return known

    def _besides(self) -> Aside:
        if self._aside is None:
            with self._order.lock:
                if self._aside is None:
                    self._aside = Aside(
                        self._plan, self.index, self._resident,
                        over=self._ended, pass_on=self._take_over,
                        patience=self._patience, clock=self._clock,
                    )  # fmt: skip
        return self._aside

    def _take_over(self, call: Submission, value: Any) -> None:
        """Await in the loop what a plain method gave, unless its call has been ended meanwhile."""
        if call.future.done() and iscoroutine(value):
            value.close()
        self._order.enter_beside()
        self._arriving.append(Submission(Kind.FUNCTION, lambda: value, future=call.future))
        # The thread has counted the call; this is the rest of it.
        self._over -= 1
        self._wake()

    def _fetch(self) -> None:
        self._woken = False
        arriving = self._arriving
        while arriving:
            self._begin(arriving.popleft())

    def _begin(self, call: Submission) -> None:
        loop, code = self._loop, self._carry_out(call)
        if call.kind is _LIFE:
            self._steps.add(call.future)
        # What loop.create_task does, without its Python half, unless somebody has replaced it.
        plain = loop.get_task_factory() is None
        self._tasks[call.future] = (
            asyncio.Task(code, loop=loop) if plain else loop.create_task(code)
        )

    async def _carry_out(self, call: Submission) -> None:
        future, began, kind = call.future, self._now(), call.kind
        try:
            if future.begin():
                value = self._resident.perform(kind, call.what, call.args, call.kwargs)
                if is_awaitable(value):
                    value = await value
                if kind is not _LIFE:
                    self._busy += self._now() - began
                future.end(value)
        # Whatever it raises is the end of the call and not of the loop.
        except BaseException as error:  # noqa: BLE001
            if kind is not _LIFE:
                self._busy += self._now() - began
                self._failed += 1
            reason = self._reasons.pop(future, None)
            if reason is not None and isinstance(error, asyncio.CancelledError):
                error = reason
            end_raised(call, error)
        finally:
            if self._tasks.pop(future, None) is not None:
                self._ended(call)

    def _ended(self, call: Submission) -> None:
        if call.kind is not _LIFE:
            self._over += 1
        else:
            self._steps.discard(call.future)
        if self._order.leave(call):
            self._let_go()

    # ------------------------------------------------------------- ending

    def interrupt(self, call: Submission, error: BaseException | None = None) -> bool:
        """Cancel the coroutine of a call; plain code is asked, and left alone after a patience."""
        if call.future.done():
            return False
        if call.future.running() and call.future not in self._tasks:
            return self._besides().interrupt(call, error)
        self._call_soon(partial(self._cancel, call.future, error))
        return True

    def _cancel(self, future: Future[Any], error: BaseException | None) -> None:
        task = self._tasks.get(future)
        if task is None or not future.running():
            # What has not begun finds that it has ended.
            _end(future, error)
            return
        self._reasons[future] = error or CallCancelled("the call was cancelled")
        task.cancel()
        after(self._clock, self._patience, partial(self._call_soon, partial(self._abandon, future)))

    def _abandon(self, future: Future[Any]) -> None:
        if self._tasks.pop(future, None) is None:
            return
        error = self._reasons.pop(future, None)
        self._abandoned += 1
        _end(future, error)
        _log.error("coroutine.abandoned", worker=self._plan.name, patience=self._patience,
                   hint="let CancelledError through")  # fmt: skip
        self._ended(Submission(Kind.FUNCTION, "abandoned"))

    def ask(self, error: BaseException) -> None:
        """Cancel the coroutines that run, and ask plain code beside them."""
        if self._aside is not None:
            self._aside.ask(error)

        def cancel_calls() -> None:
            for future in [one for one in self._tasks if one not in self._steps]:
                self._cancel(future, error)

        self._call_soon(cancel_calls)

    def drop(self, error: BaseException) -> None:
        """End everything that has not begun, with an error; not the steps of its life."""
        for call in self._order.take_back():
            call.future.end(None, error)
            self._over += 1
        for call in list(self._arriving):
            if call.kind != Kind.LIFE:
                # It finds that it has ended.
                call.future.end(None, error)
        if self._aside is not None:
            for _ in range(self._aside.drop(error)):
                self._ended(Submission(Kind.FUNCTION, "dropped"))

    def close(self) -> None:
        """Let go of the thread once everything given has ended."""
        if self._order.close():
            self._let_go()

    def _let_go(self) -> None:
        if self._aside is not None:
            self._aside.close()
        self._closed.set()

    def kill(self, error: BaseException) -> None:
        """Cancel everything."""
        self.drop(error)
        if self._aside is not None:
            self._aside.kill(error)

        def cancel_all() -> None:
            for future in list(self._tasks):
                self._cancel(future, error)
            self._loop.call_soon(self._cancel_forsaken)

        self._call_soon(cancel_all)
        self.close()

    def _cancel_forsaken(self) -> None:
        """What is left of calls for which nobody waits: all of them have begun by now."""
        for future, task in list(self._tasks.items()):
            if future.done():
                task.cancel()

    def join(self, timeout: float | None) -> bool:
        """Block until everything has ended; whether it was in time. Nothing in its own loop."""
        if asyncio._get_running_loop() is self._loop or self.here:
            return self._closed.is_set()
        closed = self._closed.wait(timeout)
        return closed and (self._aside is None or self._aside.join(timeout))

    def _call_soon(self, callback: Any) -> None:
        if asyncio._get_running_loop() is self._loop:
            callback()
            return
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop was closed, and everything in it has ended
            self._forsake()


def _end(future: Future[Any], error: BaseException | None) -> None:
    if error is None or isinstance(error, CallCancelled):
        future.end_cancelled()
    else:
        future.end(None, error)


def _asynchronous(code: Any) -> bool:
    return iscoroutinefunction(code) or iscoroutinefunction(getattr(code, "__call__", None))  # noqa: B004
