"""Calls whose code is given a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from inspect import CO_COROUTINE, iscoroutinefunction
from typing import Any

import msgspec

from treadle.clock import Clock
from treadle.errors import (
    CallCancelled,
    Control,
    Skip,
    WorkerCrashed,
    WorkerError,
    WorkerNotStarted,
    WorkerStopped,
)
from treadle.faults import capture
from treadle.policies.match import leaf
from treadle.pools.member import Member
from treadle.pools.places.place import Place
from treadle.pools.sites.site import Call, Channel, Ended, Program
from treadle.pools.staff import Staff
from treadle.pools.submission import Kind, Submission

__all__ = ["WorkerSite"]


class WorkerSite:
    """Runs the function of a call with a worker of its staff as the first argument.

    A call has begun once it has a worker. What surrounds the function, such as decoding and
    dependencies, runs where the call is awaited; the function runs where the worker lives.

    Args:
        program: what a call runs.
        staff: lends the workers.
        clock: measures how long code has to end when it was asked to.
    """

    def __init__(self, program: Program, staff: Staff, *, clock: Clock) -> None:
        self.staff = staff
        self._program = program
        self._clock = clock
        self._visits: dict[Channel, Member] = {}

    @property
    def abandoned(self) -> int:
        """Calls that were asked to end, did not, and were left to themselves."""
        return self.staff.abandoned

    async def run(self, call: Call, channel: Channel) -> Ended:
        """Run a call to its end."""
        try:
            member = self.staff.take() or await self.staff.lease()
        except WorkerError as error:
            return Ended(error=error, unstarted=True)
        self._visits[channel] = member
        visit = _Visit(self, member)
        failed, restart = True, False
        begun = self._clock.monotonic()
        try:
            channel.started()
            ended = await self._program(call, channel, visit.invoke)
            failed, restart = (False, False) if ended.error is None else _judged(ended.error)
        finally:
            if self._visits.pop(channel, None) is not None:
                member.busy += self._clock.monotonic() - begun
                self.staff.give_back(
                    member, failed=failed, doubted=visit.asked, restart=restart or visit.spoilt
                )
        if visit.absent:
            return Ended(error=ended.error, unstarted=True)
        if visit.crashed is not None:
            return Ended(error=visit.crashed, fault=capture(visit.crashed), crashed=True)
        return ended

    def give_up(self, channel: Channel) -> None:
        """A call will not end: its worker is made anew and goes on without it."""
        member = self._visits.pop(channel, None)
        if member is not None:
            self.staff.give_back(member, failed=True, restart=True)

    async def aclose(self) -> None:
        """Stop the workers. No call may be running."""
        await self.staff.aclose()

    async def noticed(self, call: Submission) -> bool:
        """Whether code ends by itself within the patience."""
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        call.future.add_done_callback(lambda _: _tell(loop, over))
        timer = self._clock.call_later(self.staff.patience, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()
        return call.future.done()


class _Visit(msgspec.Struct, eq=False):
    """The function of one call at one worker."""

    site: WorkerSite
    member: Member
    # The code was asked to end; it may not have ended when the call has.
    asked: bool = False
    # The worker has gone or was left with code that does not end.
    absent: bool = False
    spoilt: bool = False
    # What the worker lived in has died under the code.
    crashed: WorkerCrashed | None = None

    def invoke(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """What the function returns, called with the worker before the other arguments."""
        place = self.member.place
        assert place is not None, "a worker that is lent has a place"
        plain = not _is_async(fn)
        neighbour = None if plain else getattr(place, "resident", None)
        if neighbour is not None:
            # In our own loop, so with nothing in between. The staff keeps its life still meanwhile.
            given: Awaitable[Any] = fn(neighbour, *args, **kwargs)
            return given
        return self._submitted(fn, args, kwargs, place, plain=plain)

    async def _submitted(
        self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], place: Place, *, plain: bool
    ) -> Any:
        """The same where the worker lives elsewhere."""
        visitor = InContext(fn) if plain else AsyncInContext(fn)
        call = Submission(Kind.VISIT, visitor, args, kwargs)
        # That we are cancelled asks the code to end; when it has, is for the code to say.
        call.future.stopper = _is_asked
        place.total += 1
        place.submit(call)
        try:
            return await call.future
        except WorkerCrashed as error:
            self.crashed = error if error.worker == self.site.staff.name else None
            raise
        except (WorkerNotStarted, WorkerStopped) as error:
            self.absent = self.spoilt = error.worker == self.site.staff.name
            raise
        except asyncio.CancelledError:
            if call.future.done():
                raise
        return await self._end(call, place, plain=plain)

    async def _end(self, call: Submission, place: Place, *, plain: bool) -> Any:
        """Ask code to end, then make it; what it gives or raises all the same.

        A coroutine is cancelled at once. Plain code has time to notice first.
        """
        self.asked = True
        abandoned = place.abandoned
        if not (plain and await self.site.noticed(call)):
            place.interrupt(call)
        try:
            return await call.future
        except CallCancelled:
            raise asyncio.CancelledError from None
        finally:
            # Code that has a thread of its own is left alone with a worker of its own.
            self.spoilt = place.abandoned > abandoned and not plain


class InContext:
    """A plain function that runs in the context of its attempt, wherever in this process.

    In another process it is the function alone.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self._context = copy_context()
        self.__name__ = getattr(fn, "__name__", "call")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._context.run(self._fn, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _same, (self._fn,)


class AsyncInContext(InContext):
    """The same for an ``async def`` function, whose task may have been made elsewhere."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        for variable, value in self._context.items():
            variable.set(value)
        return await self._fn(*args, **kwargs)


def _same(fn: Any) -> Any:
    return fn


def _is_async(fn: Any) -> bool:
    """What ``iscoroutinefunction`` says; for a function written with ``async`` at once."""
    code = getattr(fn, "__code__", None)
    return (code is not None and code.co_flags & CO_COROUTINE > 0) or iscoroutinefunction(fn)


def _is_asked() -> bool:
    return True


def _judged(error: BaseException) -> tuple[bool, bool]:
    """Whether a worker may have suffered, and whether a fresh one is asked for."""
    cause = leaf(error)
    return not isinstance(cause, Skip), isinstance(cause, Control) and cause.restart_worker


def _tell(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(over.set)
    except RuntimeError:  # the loop was closed: nobody is left to be told
        return
