"""Calls carried out in a child process of the place."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

from treadle.errors import CallCancelled
from treadle.logs import get_logger
from treadle.pools.places.process import wire
from treadle.pools.places.process.ends import end, finish, may_rest
from treadle.pools.places.process.errand import Errand, packed_call
from treadle.pools.places.process.forwarding import replay
from treadle.pools.places.process.life import Life
from treadle.pools.places.process.nursery import release
from treadle.pools.places.process.parcel import Parcel
from treadle.pools.places.process.raising import Raising
from treadle.pools.places.process.wire import Frame, frame
from treadle.pools.resident import Plan
from treadle.pools.submission import Kind, Submission, said_of

__all__ = ["ProcessPlace"]

_log = get_logger("treadle.pools")
# Looking a member up in its enum costs more than a global name.
_LIFE = Kind.LIFE
# Seconds that code has to end once it was interrupted.
_GRACE = 1.0
S = TypeVar("S", bound=Submission)


class ProcessPlace(Raising):
    """Its worker lives in a child process; calls are carried out one after another.

    A child that dies takes with it the call that it was carrying out, and no other: the place
    starts another child, with a fresh worker, for those that had not begun.

    Args:
        plan: how the worker is made.
        index: its number.
        rest: see :class:`~treadle.pools.places.process.raising.Raising`.
    """

    abandoned = 0

    def __init__(self, plan: Plan, index: int = 0, **rest: Any) -> None:
        super().__init__(plan, index, **rest)
        self.total = 0
        self.failed = 0
        self.busy = 0.0
        self._over = 0
        # When the child got to the call that it carries out.
        self._since = 0.0
        self._closed = threading.Event()

    @property
    def active(self) -> int:
        """Calls that were given to it and have not ended."""
        return self.total - self._over

    @property
    def here(self) -> bool:
        """Whether the caller is told of ends, so that none comes while it waits."""
        return self._ear.is_current

    # ------------------------------------------------------------- calls

    def submit(self, call: Submission) -> None:
        """Carry out a call after those before it."""
        self._take(call, urgent=False)

    def submit_together(self, calls: Sequence[Submission]) -> None:
        """Carry out calls after those before them, which go to the child in one message."""
        for call in calls[:-1]:
            self._take(call, urgent=False, more=True)
        self._take(calls[-1], urgent=False)

    def take_back(self, calls: Sequence[S]) -> list[S]:
        """Let go of the last of these calls, as many as have not begun; they, in their order.

        The last one first: else the child might begin one between two that it passes over.
        """
        found: list[S] = []
        with self._lock:
            board = None if self._life is None else self._life.board
            for call in reversed(calls):
                errand = self._line.take_back(call, board)
                if errand is None:
                    break
                self._forget(errand)
                found.append(call)
        return found[::-1]

    def hasten(self, call: Submission) -> None:
        """Carry out a step of the worker's life before the calls that wait."""
        self._take(call, urgent=True)

    def _take(self, call: Submission, *, urgent: bool, more: bool = False) -> None:
        if call.kind is _LIFE and call.what == "start" and self._packed is None:
            self._start(call)
            return
        try:
            parcel = packed_call(call)
        except Exception as error:  # noqa: BLE001 - it is the end of the call
            errand = self._line.open[call] = Errand(call, Parcel(b""))
            self._end(errand, None, error)
            return
        errand, line = Errand(call, parcel), self._line
        with self._lock:
            if urgent:
                line.hasten(errand, None if self._life is None else self._life.board)
            else:
                line.add(errand)
            if not (more or line.has_enough):
                self._pump()
            if parcel.buffers:
                errand.wait()
        if self._ends:
            # Who submits may hold what those who hear of an end wait for.
            self._ear.post(self._settle)

    def _pump(self) -> None:
        """Send what there is room for."""
        life, line = self._life, self._line
        if life is None:
            self._ends.extend((errand, None) for errand in line.without_child())
            if line and not self._pausing and self._packed is not None:
                self._give_birth()
        elif life.ready:
            if life.retiring:
                self._see_off(life)
            else:
                self._send_what_fits(life)
        if self._closing:
            self._rest()

    def _send_what_fits(self, life: Life) -> None:
        """Many at once: a child that has enough to do is sent more when it has little left."""
        line = self._line
        if line.has_plenty:
            return
        idle = not line.sent
        frames: list[bytes] = []
        while life.given != self._terms.max_calls and (errand := line.next()):
            life.given += not errand.is_life
            body, descriptors = self._wrapped(life, errand)
            frames.append(frame(wire.CALL, errand.number, body, len(descriptors)))
            if descriptors:
                # They go with the first byte of what is sent.
                life.send(b"".join(frames[:-1]))
                life.send(frames[-1], descriptors)
                frames.clear()
        life.send(b"".join(frames))
        while line.vain:
            self._ends.append((line.vain.pop(), None))
        if idle:
            self._since = self._now()

    def _wrapped(self, life: Life, errand: Errand) -> tuple[bytes, tuple[int, ...]]:
        try:
            return errand.wrapped()
        except OSError as error:  # no memory, no descriptor more
            errand.over = True
            life.board.skip(errand.number)
            self._ends.append((errand, error))
            return b"", ()

    def _settle(self) -> None:
        while self._ends:
            errand, error = self._ends.popleft()
            self._end(errand, None, error)

    def _end(self, errand: Errand, value: Any, error: BaseException | None = None) -> None:
        with self._lock:
            self._forget(errand)
        end(errand.call, value, error)
        if self._closing:
            with self._lock:
                self._rest()

    def _forget(self, errand: Errand) -> None:
        if errand.is_heavy:
            errand.close()
        # It may end and be ended in the same moment, and is counted once.
        if self._line.open.pop(errand.call, None) is not None and not errand.is_life:
            self._over += 1

    # ------------------------------------------------------------- what the child says

    def heard(self, life: Life, frames: Sequence[Frame]) -> bool:
        """The child said something; whether it may rather be heard a little later again."""
        reports: list[Frame] = []
        for told in frames:
            if told.number and told.tag != wire.SAID:
                reports.append(told)
                continue
            # In the order in which it was said.
            if reports:
                self._reported(life, reports)
                reports = []
            if told.tag == wire.LOG:
                replay(told.body, self._name)
            elif told.tag == wire.BORN:
                life.pid = int.from_bytes(told.body, "little")
            elif told.tag == wire.SAID:
                self._pass_on(told)
            else:
                self._started(life, told)
        return bool(reports) and self._reported(life, reports)

    def _reported(self, life: Life, reports: Sequence[Frame]) -> bool:
        line = self._line
        ended: list[tuple[Errand, Frame]] = []
        with self._lock:
            # Whoever held the lock until now may have begun to count anew.
            now = self._now()
            took = now - self._since
            for told in reports:
                errand = self._accounted(life, told, now)
                if errand is not None:
                    ended.append((errand, told))
            line.begin_first()
            self._fruitless = 0
            if not life.retiring and life.has_served(self._terms, now):
                life.retiring = True
                # What it was sent ahead is for the next one: it may be hundreds of calls.
                line.recall(life.board, keep=self._terms.slots)
            self._pump()
            rests = may_rest(took / len(reports), len(line.sent))
        self._settle()
        for errand, told in ended:
            finish(errand, told, self._name)
        return rests

    def _accounted(self, life: Life, told: Frame, now: float) -> Errand | None:
        """The call that a report is of, if it is to be told what came of it."""
        skipped = told.tag == wire.SKIPPED
        errand = self._line.reported(skipped)
        # It may have begun when it was to be passed over, and its field is that of another.
        life.board.unskip(told.number)
        if not errand.is_life:
            life.reported += 1
            self.busy += now - self._since
            self.failed += told.tag == wire.ERROR
        self._since = now
        if errand.over or skipped:
            for one in told.descriptors:
                os.close(one)
            return None
        self._forget(errand)
        return errand

    def _pass_on(self, told: Frame) -> None:
        with self._lock:
            errand = self._line.sent[0] if self._line.sent else None
        said = said_of(errand.call) if errand is not None else None
        if errand is not None and errand.number == told.number and said is not None:
            said(told.body)

    # ------------------------------------------------------------- its end

    def interrupt(self, call: Submission, error: BaseException | None = None) -> bool:
        """End a call.

        What has not begun ends at once. A coroutine is cancelled. Plain code goes on beside the
        future that has ended, until it notices, or the patience is over and it is interrupted; what
        goes on after that is killed.
        """
        reason = error or CallCancelled("the call was cancelled")
        with self._lock:
            errand, life = self._line.open.get(call), self._life
            if errand is None:
                pass  # it has ended, or is on its way here
            elif self._line.withdraw(errand, None if life is None else life.board):
                self._ends.append((errand, reason))
            elif errand.asked is None and life is not None:
                errand.asked = reason
                self._ask(life, errand, reason)
                self._later(self._terms.patience, partial(self._insist, life, errand))
        if errand is None:
            return end(call, None, reason)
        self._settle()
        return True

    def _ask(self, life: Life, errand: Errand, reason: BaseException) -> None:
        life.ask(errand.number, reason)
        if life.board.awaiting != errand.number:
            errand.over = True
            self._ends.append((errand, reason))

    def _insist(self, life: Life, errand: Errand) -> None:
        with self._lock:
            if self._carries_out(life, errand):
                # What it was about to do is unknown: it does nothing more; or a fork of it ends.
                life.retiring = life.retiring or not self._terms.fork
                self._line.recall(life.board)
                life.end(errand.number)
                self._later(_GRACE, partial(self._kill, life, errand))

    def _kill(self, life: Life, errand: Errand) -> None:
        with self._lock:
            if self._carries_out(life, errand):
                life.kill()

    def _carries_out(self, life: Life, errand: Errand) -> bool:
        """Whether a child has begun nothing since, also if nobody has heard its reports."""
        here = self._life is life and self._line.has(errand)
        return here and life.board.begun == errand.number

    def tell_stopping(self) -> None:
        """Have code that asks know that it should find a good place to end."""
        with self._lock:
            if self._life is not None:
                self._life.board.stop()

    def ask(self, error: BaseException) -> None:
        """Ask what runs to end; what does not hear it is interrupted, then killed."""
        with self._lock:
            running = [one.call for one in self._line.sent if not (one.is_life or one.over)]
        for call in running:
            self.interrupt(call, error)

    def drop(self, error: BaseException) -> None:
        """End everything that has not begun, with an error; not the steps of its life."""
        with self._lock:
            self._drop(error)
        self._settle()

    def _drop(self, error: BaseException) -> None:
        board = None if self._life is None else self._life.board
        for errand in list(self._line.open.values()):
            if not errand.over and not errand.is_life and self._line.withdraw(errand, board):
                self._ends.append((errand, error))

    def close(self) -> None:
        """Let go of the process once everything given has ended."""
        with self._lock:
            self._closing = True
            self._pump()
        self._settle()

    def _rest(self) -> None:
        """End the child when nothing is left to do."""
        if self._line.open or self._first is not None or self._closed.is_set():
            return
        if self._life is not None:
            self._life.close()
            return
        self._closed.set()
        if self._packed is not None:
            self._packed.close()
        release(self._nursery)

    def kill(self, error: BaseException) -> None:
        """End the process; what runs ends with the error."""
        with self._lock:
            self._closing = True
            self._drop(error)
            self._ends.extend((errand, error) for errand in self._line.clear())
            for errand in self._line.sent:
                errand.asked = errand.asked or error
            if self._life is not None:
                self._life.retiring = True
                self._life.kill()
            else:
                self._rest()
        self._settle()

    def join(self, timeout: float | None) -> bool:
        """Block until the process has ended; whether it was in time."""
        return self._closed.wait(0 if self.here else timeout)
