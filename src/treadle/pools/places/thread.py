"""Calls carried out in a thread of the place."""

from __future__ import annotations

import threading
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from treadle.clock import Clock, SystemClock
from treadle.logs import get_logger
from treadle.pools.places.patience import after
from treadle.pools.places.shared import SharedLine
from treadle.pools.places.shift import NUDGE, Inbox, Shift
from treadle.pools.resident import Plan, Resident
from treadle.pools.submission import Kind, Submission

__all__ = ["ThreadPlace"]

_log = get_logger("treadle.pools")
_LIFE = Kind.LIFE


class ThreadPlace:
    """Its worker lives in a thread; calls are carried out one after another.

    A thread cannot be stopped from outside. A coroutine that runs there is cancelled; plain code
    that is asked to end has ``patience`` seconds, then the thread is abandoned, said aloud,
    counted, and replaced by another one with a fresh worker.

    Args:
        plan: how the worker is made.
        index: its number.
        patience: seconds.
        clock: measures the patience.
        line: of calls that it shares with others, once its worker is started.
    """

    pid = 0
    rss = None

    def __init__(
        self,
        plan: Plan,
        index: int = 0,
        *,
        patience: float = 5.0,
        clock: Clock | None = None,
        line: SharedLine | None = None,
    ) -> None:
        self.index = index
        self.total = 0
        self.failed = 0
        self.busy = 0.0
        self.abandoned = 0
        self.plan = plan
        self.inbox: Inbox = SimpleQueue()
        self._clock = clock or SystemClock()
        self.now = self._clock.monotonic
        self._over = 0
        # Runs on beside the future that was ended.
        self._asked: Submission | None = None
        self._patience = patience
        self._lock = threading.Lock()
        self._killed = False
        self._line = line
        # Takes part in the line; was handed a call out of it that it has not taken.
        self._joined = self._handed = False
        self._shift = self._begin_shift()

    def submit(self, call: Submission) -> None:
        """Carry out a call after those before it."""
        self.inbox.put(call)

    def hasten(self, call: Submission) -> None:
        """Carry out a step of the worker's life before the calls that wait."""
        with self._lock:
            self._shift.urgent.append(call)
        self.inbox.put(NUDGE)

    def hand(self, call: Submission) -> None:
        """Carry out a call of the line: the place was found to be idle."""
        self.inbox.put(call)

    def take(self) -> Submission | None:
        """What its thread is to do next, once there is something; ``None`` for its end."""
        line = self._line
        if line is None or not self._joined:
            return self.inbox.get()
        if not self._handed:
            call = line.next(self)
            if call is not None:
                return call
        self._handed = False
        call = self.inbox.get()
        if call is NUDGE or (call is not None and call.kind is _LIFE):
            self._handed = not line.leave(self)
        return call

    @property
    def active(self) -> int:
        """Calls that were given to it and have not ended."""
        return self.total - self._over

    @property
    def here(self) -> bool:
        """Whether the caller runs in its thread."""
        return threading.current_thread() is self._shift.thread

    def _begin_shift(self, *first: Submission) -> Shift:
        shift = Shift(self, Resident(self.plan, self._clock), *first)
        shift.thread.start()
        return shift

    def interrupt(self, call: Submission, error: BaseException | None = None) -> bool:
        """End a call; its thread is abandoned when it does not come back within the patience."""
        shift = self._shift
        running = call.future.running() and shift.current is call
        cancelled = running and shift.cancel(call, error)
        ended = cancelled or (
            call.future.end(None, error) if error is not None else call.future.end_cancelled()
        )
        if ended and not cancelled:
            shift.cancel(call, error)  # its coroutine may have begun meanwhile
        if ended and shift.current is call:
            after(self._clock, self._patience, partial(self._abandon, shift, call, error))
        return ended

    def _abandon(self, shift: Shift, call: Submission, error: BaseException | None) -> None:
        with self._lock:
            if shift.current is not call or shift is not self._shift or self._killed:
                return
            shift.abandoned = True
            self.abandoned += 1
            self._over += call.kind != Kind.LIFE
            self._shift = self._begin_shift(Submission(Kind.LIFE, "start"), *shift.urgent)
        self._leave_alone(call, error, self._patience)

    def ask(self, error: BaseException) -> None:
        """Cancel the coroutine that runs; plain code can ask ``stopping()``."""
        shift = self._shift
        call = shift.current
        if call is None or call.kind is _LIFE:
            return
        self._asked = call
        if not shift.cancel(call, error):
            call.future.end(None, error)
            shift.cancel(call, error)  # its coroutine may have begun meanwhile

    def _leave_alone(self, call: Submission, error: BaseException | None, waited: float) -> None:
        self._shift.forsaken = True
        if error is not None:
            call.future.end(None, error)
        else:
            call.future.end_cancelled()
        _log.error(
            "thread.abandoned",
            worker=self.plan.name,
            call=call.name,
            patience=waited,
            hint="threads cannot be stopped; ask treadle.stopping() in long loops",
        )

    def drop(self, error: BaseException) -> int:
        """End everything that has not begun, with an error; not the steps of its life.

        Returns:
            How many that were.
        """
        dropped = 0
        kept: list[Submission | None] = []
        while True:
            try:
                call = self.inbox.get_nowait()
            except Empty:
                break
            if call is None or call.kind == Kind.LIFE:
                kept.append(call)
                continue
            call.future.end(None, error)
            dropped += 1
        with self._lock:
            self._over += dropped
        for one in kept:
            self.inbox.put(one)
        return dropped

    def close(self) -> None:
        """End the thread once everything given has ended."""
        self.inbox.put(None)

    def kill(self, error: BaseException) -> None:
        """Ask what runs to end; then leave it alone, and the thread with it."""
        self.drop(error)
        with self._lock:
            self._killed = True
            shift = self._shift
            call = shift.current
            shift.abandoned = call is not None
        if call is None:
            self.inbox.put(None)
            return
        self._end_life(error)
        if shift.cancel(call, error):
            after(self._clock, self._patience, partial(self._left, call, error, self._patience))
        else:
            # Plain code had time only if it was asked before.
            self._left(call, error, self._patience if call is self._asked else 0.0)

    def _end_life(self, error: BaseException) -> None:
        """The steps of a worker that nobody takes any more."""
        while True:
            try:
                step = self.inbox.get_nowait()
            except Empty:
                return
            if step is not None:
                step.future.end(None, error)

    def _left(self, call: Submission, error: BaseException, waited: float) -> None:
        goes_on = call is self._asked and self._shift.current is call
        if goes_on or not call.future.done():
            self.abandoned += 1
            self._leave_alone(call, error, waited)

    def join(self, timeout: float | None) -> bool:
        """Block until the thread has ended; whether it was in time."""
        if self.here:
            return False
        thread = self._shift.thread
        thread.join(0 if self._shift.forsaken else timeout)
        return not thread.is_alive()

    def passes_on(self, call: Submission, value: Any) -> bool:
        """Whether an awaitable that a call gave is awaited elsewhere."""
        return False

    def come_back(self, shift: Shift) -> None:
        """An abandoned thread has ended its call after all, and ends."""
        shift.stop_worker()

    def over(self, shift: Shift, call: Submission) -> bool:
        """A call has ended; whether the thread goes on."""
        with self._lock:
            shift.current = None
            if shift.abandoned:
                return False
            self._over += call.kind is not _LIFE
            self._joined = self._joined or (call.kind is _LIFE and call.what == "start")
            return True
