"""A thread, and the worker that lives in it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from treadle.errors import CallCancelled
from treadle.guards import is_awaitable
from treadle.logs import get_logger
from treadle.pools.future import Future
from treadle.pools.noticing import noticed_by
from treadle.pools.resident import Resident
from treadle.pools.submission import Kind, Submission

if TYPE_CHECKING:
    from treadle.pools.places.thread import ThreadPlace

__all__ = ["NUDGE", "Inbox", "Shift", "end_raised"]

Inbox = SimpleQueue["Submission | None"]
"""Calls that wait for a thread; ``None`` ends one thread."""

NUDGE = Submission(Kind.LIFE, "nudge")
"""Wakes a thread to look for what is urgent."""

_log = get_logger("treadle.pools")
_LIFE = Kind.LIFE


class Shift:
    """A thread and the worker that lives in it, until it is abandoned or ended."""

    def __init__(self, place: ThreadPlace, resident: Resident, *first: Submission) -> None:
        self.current: Submission | None = None
        self.abandoned = False
        # Nobody waits for its end.
        self.forsaken = False
        # Steps of the worker's life that come before the calls that wait.
        self.urgent: deque[Submission] = deque(first)
        self._place = place
        self._resident = resident
        self._runner: asyncio.Runner | None = None
        # The coroutine that runs and the call that it is of; why it was cancelled.
        self._task: tuple[Submission, asyncio.Task[Any]] | None = None
        self._reason: tuple[Submission, BaseException] | None = None
        name = f"treadle-{place.plan.name}-{place.index}"
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)

    def _work(self) -> None:
        place, take, urgent = self._place, self._place.take, self.urgent
        noticed_by(self._why, self._hear)
        try:
            while (call := urgent.popleft() if urgent else take()) is not None:
                if call is NUDGE:
                    continue
                self.current = call
                if call.future.begin():
                    self._carry_out(call)
                if not place.over(self, call):
                    place.come_back(self)
                    return
                del call  # with what it refers to, before the next wait
        finally:
            if self._runner is not None:
                self._runner.close()

    def _why(self) -> BaseException | None:
        call, reason = self.current, self._reason
        if call is None:
            return None
        if reason is not None and reason[0] is call:
            return reason[1]
        return call.future.failure if call.future.done() else None

    def _hear(self, wake: Callable[[], object]) -> Callable[[], object]:
        call = self.current
        assert call is not None, "its code asks"

        def over(_: Future[Any]) -> None:
            wake()

        call.future.add_done_callback(over)
        return lambda: call.future.forget_callback(over)

    def _carry_out(self, call: Submission) -> None:
        place = self._place
        began = place.now()
        try:
            value = self._resident.perform(call.kind, call.what, call.args, call.kwargs)
            if is_awaitable(value):
                if place.passes_on(call, value):
                    return
                value = self._finished(call, value)
        # Whatever it raises, SystemExit included, is the end of the call and not of the thread.
        except BaseException as error:  # noqa: BLE001
            reason, self._reason = self._reason, None
            if isinstance(error, asyncio.CancelledError) and reason and reason[0] is call:
                error = reason[1]
            if call.kind is not _LIFE:
                place.failed += 1
                place.busy += place.now() - began
            end_raised(call, error)
        else:
            if call.kind is not _LIFE:
                place.busy += place.now() - began
            call.future.end(value)

    def _finished(self, call: Submission, value: Any) -> Any:
        if self._runner is None:
            self._runner = asyncio.Runner()

        async def main() -> Any:
            task = asyncio.current_task()
            assert task is not None
            self._task = call, task
            if call.future.done():  # it was asked to end a moment ago
                task.cancel()
            try:
                return await value
            finally:
                self._task = None

        return self._runner.run(main())

    def cancel(self, call: Submission, error: BaseException | None) -> bool:
        """Cancel the coroutine of a call; whether there is one."""
        running = self._task
        if running is None or running[0] is not call:
            return False
        task = running[1]
        self._reason = call, error or CallCancelled("the call was cancelled")
        try:
            task.get_loop().call_soon_threadsafe(task.cancel)
        except RuntimeError:  # it has ended, and its loop with it
            return False
        return True

    def stop_worker(self) -> None:
        """Stop the worker of an abandoned thread that has come back after all."""
        stop = Submission(Kind.LIFE, "stop")
        try:
            stopped = self._resident.perform(stop.kind, stop.what, (), {})
            if is_awaitable(stopped):
                self._finished(stop, stopped)
        except Exception:  # noqa: BLE001 - nobody is left to be told
            _log.exception("worker.stop_failed", worker=self._place.plan.name)


def end_raised(call: Submission, error: BaseException) -> None:
    """End a call that raised; cancelled when its code says so."""
    if isinstance(error, CallCancelled):
        call.future.end_cancelled(str(error))
    elif isinstance(error, asyncio.CancelledError):
        call.future.end_cancelled()
    else:
        call.future.end(None, error)
