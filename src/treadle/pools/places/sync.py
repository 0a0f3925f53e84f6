"""Calls carried out at once, by the caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from treadle.clock import Clock, SystemClock
from treadle.errors import Blocking, CallCancelled
from treadle.guards import is_awaitable
from treadle.loopthread import background, may_block
from treadle.pools.future import Future
from treadle.pools.places.shift import end_raised
from treadle.pools.resident import Plan, Resident
from treadle.pools.submission import Kind, Submission

__all__ = ["SyncPlace"]


class SyncPlace:
    """Its worker lives in the caller's thread; a call has ended when ``submit`` returns.

    Several threads take turns. Coroutines are run to their end in an event loop of the place, so
    inside a running loop they are refused.

    Args:
        plan: how the worker is made.
        index: its number.
    """

    abandoned = 0
    pid = 0
    rss = None

    def __init__(self, plan: Plan, index: int = 0, *, clock: Clock | None = None) -> None:
        self.index = index
        self.total = 0
        self.failed = 0
        self.busy = 0.0
        self._over = 0
        self._clock = clock or SystemClock()
        self._now = self._clock.monotonic
        self._resident = Resident(plan, self._clock)
        # A call may lead to another one of the same worker.
        self._turn = threading.RLock()
        self._runner: asyncio.Runner | None = None

    def submit(self, call: Submission) -> None:
        """Carry out a call."""
        with self._turn:
            began = self._now()
            try:
                if call.future.begin():
                    self._carry_out(call)
            finally:
                if call.kind != Kind.LIFE:
                    self._over += 1
                    self.failed += call.future.failure is not None
                    self.busy += self._now() - began

    def performed(
        self,
        kind: Kind,
        what: str | Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Future[Any]:
        """As :meth:`submit`, of a call that nobody knows yet; its future, which has ended."""
        with self._turn:
            began = self._now()
            try:
                value = self._resident.perform(kind, what, args, kwargs)
                if is_awaitable(value):
                    value = self._finished(value, Submission(kind, what).name)
            except BaseException as error:
                self.failed += 1
                if isinstance(error, KeyboardInterrupt | SystemExit):
                    raise
                if isinstance(error, CallCancelled | asyncio.CancelledError):
                    return _cancelled(error)
                # No name is given to it here: the traceback of the error refers to this frame.
                return Future.ended(None, error)
            finally:
                self._over += 1
                self.busy += self._now() - began
            return Future.ended(value)

    # Nothing ever waits here.
    hasten = submit

    def ask(self, error: BaseException) -> None:
        """Nothing: nobody is there to ask while a call runs."""

    @property
    def here(self) -> bool:
        """Never: who stops it inside one of its calls does that at once, and waits for nothing."""
        return False

    @property
    def active(self) -> int:
        """Calls that were given to it and have not ended."""
        return self.total - self._over

    def _carry_out(self, call: Submission) -> None:
        try:
            value = self._resident.perform(call.kind, call.what, call.args, call.kwargs)
            if is_awaitable(value):
                value = self._finished(value, call.name)
        except (KeyboardInterrupt, SystemExit) as error:
            call.future.end(None, error)
            raise
        except BaseException as error:  # noqa: BLE001 - it is the result
            end_raised(call, error)
        else:
            call.future.end(value)

    def _finished(self, value: Awaitable[Any], name: str) -> Any:
        if not may_block():
            getattr(value, "close", lambda: None)()
            raise Blocking(
                f"{name}() is asynchronous, and in mode 'sync' it would block the event loop that "
                "runs here; a worker with mode='asyncio' lives in that loop",
                twin="asyncio",
            )
        if asyncio._get_running_loop() is not None:
            # In the cell of a notebook, whose loop is taken.
            return background().call(_awaited(value))
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(_awaited(value))

    def interrupt(self, call: Submission, error: BaseException | None = None) -> bool:
        """Nothing: nobody else is there to ask."""
        return False

    def drop(self, error: BaseException) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Close the event loop."""
        with self._turn:
            runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    def kill(self, error: BaseException) -> None:
        """Close the event loop."""
        self.close()

    def join(self, timeout: float | None) -> bool:
        """Nothing to wait for."""
        return True


def _cancelled(error: BaseException) -> Future[Any]:
    call = Submission(Kind.FUNCTION, "")
    end_raised(call, error)
    return call.future


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value
