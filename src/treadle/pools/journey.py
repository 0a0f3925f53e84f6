"""A call with policies: attempts, limits, pauses and timeouts, on the caller's side of the pool.

It runs as a task of an event loop, so that a call that pauses holds no worker and no thread; in
the mode ``sync`` it runs in the caller.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from treadle.errors import AttemptTimeout, WorkerStopped
from treadle.loopthread import background, may_block
from treadle.policies import Retry
from treadle.policies.breaker import Outcome, Pass
from treadle.policies.drive import run_async, run_sync
from treadle.policies.guard import Policies, guard
from treadle.pools.future import Future
from treadle.pools.limiting.acquisition import Request
from treadle.pools.limiting.keeper import Keeper
from treadle.pools.places.place import Place, life
from treadle.pools.places.shared import SharedLine
from treadle.pools.punctual import Begun, in_time
from treadle.pools.submission import Informed, Submission
from treadle.ports import Permit, Ticket
from treadle.records import Ask

if TYPE_CHECKING:
    from treadle.pools.crew import Crew
    from treadle.pools.lane import Lane
    from treadle.pools.options import PoolOptions

__all__ = ["has_policies", "travel"]

_ONCE = Retry(0)


def has_policies(options: PoolOptions) -> bool:
    """Whether something surrounds each call."""
    return bool(
        options.limits
        or options.timeout.attempt is not None
        or options.timeout.total is not None
        or any(retry.max != 0 for retry in options.retry.values())
    )


def travel(crew: Crew | Lane, call: Submission, key: Any) -> None:
    """Carry out a call with the policies of its crew."""
    if crew.options.mode == "sync":
        _Alone(crew, call, key).run()
        return
    journey = _Journey(crew, call, key)
    crew.underway.add(call.future, journey.let_go)
    journey.begin()


class _Course:
    """What both ways of travelling have in common: the attempts, and what they take.

    Args:
        crew: runs the attempts.
        call: what is called; its future is told the end of all attempts.
        key: for sticky balancing.
    """

    def __init__(self, crew: Crew | Lane, call: Submission, key: Any) -> None:
        self.clock = crew.clock
        self._crew = crew
        self._call = call
        self._key = key
        self._place: Place | None = None
        self._made = self.clock.monotonic()
        bounds = crew.options.timeout
        self._bounded = bounds.attempt is not None or bounds.total is not None
        self._request: Request | None = None

    def _policies(self) -> Policies:
        crew, call = self._crew, self._call
        limits = crew.limits
        asks: tuple[Ask, ...] = ()
        if limits is not None:
            self._request = limits.request(call, None)
            asks = tuple(self._request.asks.values())
        return Policies(
            task=f"{crew.plan.name}.{call.name}",
            args=call.args,
            kwargs=call.kwargs,
            retry=crew.options.retry_of(call.name) or _ONCE,
            timeout=crew.options.timeout,
            asks=asks,
        )

    def _asked(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> tuple[Ask, ...]:
        """What the next attempt takes; where each worker has limits of its own, one is chosen."""
        limits = self._crew.limits
        if ticket is None and limits is not None and limits.per_worker:
            self._place = self._crew.choose(self._key)
            self._request = limits.request(self._call, self._place.index)
        return asks if self._request is None else tuple(self._request.asks.values())

    @property
    def _keeper(self) -> Keeper:
        assert self._request is not None
        return self._request.keeper

    def _give(self, attempt: int, timeout: float | None) -> Submission:
        """Give an attempt to a worker."""
        call, crew = self._call, self._crew
        limits, chosen, kwargs = crew.limits, None, call.kwargs
        if limits is not None:
            chosen = self._place if limits.per_worker else None
            kwargs = limits.given(call, None if chosen is None else chosen.index)
        future: Future[Any] = Begun() if self._bounded else Future()
        what: Any = call.what
        if isinstance(what, Informed):
            what = what.tried(attempt, timeout)
        attempted = Submission(call.kind, what, call.args, kwargs, future)
        call.future.begin()
        self._place = crew.give(attempted, self._key, chosen)
        return attempted

    def _too_late(self, error: BaseException) -> bool:
        """Whether the pool has gone, so that there is nothing to try again."""
        return self._crew.closed and isinstance(error, WorkerStopped)


class _Journey(_Course):
    """One call with policies; the host of its guard."""

    _task: asyncio.Task[None] | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    # Whether its task has run at all: one that is cancelled before never does.
    _under_way = False
    # Whether a worker has it now; what it ends with instead of a further attempt.
    _inside = False
    _leaving: WorkerStopped | None = None
    # What the last attempt has raised.
    _last: BaseException | None = None

    def begin(self) -> None:
        """Set off, in the loop that runs here or in the background."""
        self._call.future.stopper = self._stop
        if may_block():
            self._loop = background().loop
            self._loop.call_soon_threadsafe(self._spawn)
        else:
            self._loop = asyncio.get_running_loop()
            self._spawn()

    def _spawn(self) -> None:
        assert self._loop is not None
        if not self._call.future.done():
            self._task = self._loop.create_task(self._run())

    def _stop(self) -> bool:
        loop = self._loop
        if loop is None:
            return self._call.future.end_cancelled()
        try:
            loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:  # the loop was closed, and the attempt with it
            return self._call.future.end_cancelled()
        return True

    def _cancel(self) -> None:
        if not self._under_way:
            self._call.future.end_cancelled()
        if self._task is not None:
            self._task.cancel()

    def let_go(self, error: WorkerStopped) -> None:
        """Make no further attempt; one that runs comes to its end."""
        loop = self._loop
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._leave, error)
        except RuntimeError:  # the loop was closed, and the attempt with it
            self._call.future.end(None, error)

    def _leave(self, error: WorkerStopped) -> None:
        self._leaving = error
        if not self._under_way:
            self._call.future.end(None, error)
        if self._task is not None and not self._inside:
            self._task.cancel()

    async def _run(self) -> None:
        self._under_way = True
        future = self._call.future
        try:
            value = await run_async(guard(self._policies(), self._crew.ids.chance), self)
        except asyncio.CancelledError:
            if self._leaving is None:
                future.end_cancelled()
            else:
                future.end(None, self._leaving)
        except BaseException as error:  # noqa: BLE001 - it is the end of the call
            # No coroutine can raise a StopIteration: Python puts another error in its place.
            stopped = isinstance(self._last, StopIteration) and error.__cause__ is self._last
            future.end(None, self._last if stopped else error)
        else:
            future.end(value)

    # ------------------------------------------------------------- the host of the guard

    async def invoke(self, attempt: int, timeout: float | None) -> Any:
        """One attempt: what it returns."""
        attempted = self._give(attempt, timeout)
        self._inside = True
        try:
            return await self._attempted(attempted, timeout)
        finally:
            place = getattr(attempted, "place", None)
            if place is not None and not isinstance(place, SharedLine):
                # The one that had it in the end.
                self._place = place
            self._inside = False
            self._last = attempted.future.failure

    async def _attempted(self, attempted: Submission, timeout: float | None) -> Any:
        if timeout is None or attempted.future.done():
            return await attempted.future
        bounds = self._crew.options.timeout
        left = None
        if bounds.total is not None:
            left = max(0.0, bounds.total - (self.clock.monotonic() - self._made))
        return await in_time(attempted, self.clock, attempt=bounds.attempt, left=left)

    def interrupted(self, error: BaseException) -> bool:
        """Whether it is the caller that goes away, and no end of the call."""
        leaves = self._leaving is not None and isinstance(error, WorkerStopped)
        return leaves or isinstance(error, asyncio.CancelledError) or self._too_late(error)

    async def pause(self, seconds: float) -> None:
        """Do nothing for a while."""
        if self._leaving is not None:
            raise self._leaving
        await self.clock.sleep(seconds)

    async def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Any:
        """Take all limits or none."""
        asks = self._asked(asks, ticket)
        return await self._keeper.awaited.acquire(asks, ticket)

    async def turn(self, ticket: Ticket, seconds: float) -> None:
        """Wait in the line of a limit."""
        began = self.clock.monotonic()
        try:
            await self._keeper.awaited.turn(ticket, seconds)
        finally:
            self._crew.underway.has_waited(self.clock.monotonic() - began)

    async def release(self, permit: Permit, unused: bool) -> None:
        """Give the limits back."""
        await self._keeper.awaited.release(permit, unused)

    async def withdraw(self, ticket: Ticket) -> None:
        """Leave the line of a limit."""
        await self._keeper.awaited.withdraw(ticket)

    async def admit(self) -> Any:
        """Never asked: the calls of a handle have no breaker."""
        raise NotImplementedError

    async def report(self, leave: Pass, outcome: Outcome, retry_after: float | None) -> None:
        """Never told."""

    async def gate_changed(self, seconds: float) -> None:
        """Never asked."""

    async def restart(self) -> None:
        """Restart the worker that ran the last attempt."""
        if self._place is not None:
            await life(self._place, "restart")

    async def stop(self, error: BaseException) -> None:
        """Stop the pool in good order, without waiting for it."""
        self._crew.end_soon()


class _Alone(_Course):
    """The same in the caller's thread, for places that carry out calls at once."""

    def run(self) -> None:
        """Carry out the call to its end."""
        future = self._call.future
        try:
            steps = guard(self._policies(), self._crew.ids.chance)
            value = run_sync(steps, self)
        except (KeyboardInterrupt, SystemExit) as error:
            future.end(None, error)
            raise
        except BaseException as error:  # noqa: BLE001 - it is the end of the call
            future.end(None, error)
        else:
            future.end(value)

    def invoke(self, attempt: int, timeout: float | None) -> Any:
        """One attempt: what it returns. Code in the caller's thread cannot be interrupted."""
        call = self._call
        began = self.clock.monotonic()
        value = self._give(attempt, timeout).future.result()
        if timeout is not None and self.clock.monotonic() - began > timeout:
            raise AttemptTimeout(f"{call.name} ran longer than {timeout:g} s", timeout=timeout)
        return value

    def interrupted(self, error: BaseException) -> bool:
        """Whether it is the caller that goes away, and no end of the call."""
        return isinstance(error, KeyboardInterrupt | SystemExit) or self._too_late(error)

    def pause(self, seconds: float) -> None:
        """Do nothing for a while."""
        self.clock.wait(threading.Event(), seconds)

    def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Any:
        """Take all limits or none."""
        return self._keeper.acquire(self._asked(asks, ticket), ticket)

    def turn(self, ticket: Ticket, seconds: float) -> None:
        """Wait in the line of a limit."""
        began = self.clock.monotonic()
        try:
            self._keeper.turn(ticket, seconds)
        finally:
            self._crew.underway.has_waited(self.clock.monotonic() - began)

    def release(self, permit: Permit, unused: bool) -> None:
        """Give the limits back."""
        self._keeper.release(permit, unused)

    def withdraw(self, ticket: Ticket) -> None:
        """Leave the line of a limit."""
        self._keeper.withdraw(ticket)

    def admit(self) -> Any:
        """Never asked: the calls of a handle have no breaker."""
        raise NotImplementedError

    def report(self, leave: Pass, outcome: Outcome, retry_after: float | None) -> None:
        """Never told."""

    def gate_changed(self, seconds: float) -> None:
        """Never asked."""

    def restart(self) -> None:
        """Restart the worker."""
        if self._place is not None:
            life(self._place, "restart").result()

    def stop(self, error: BaseException) -> None:
        """Stop the pool in good order."""
        self._crew.end_soon()
