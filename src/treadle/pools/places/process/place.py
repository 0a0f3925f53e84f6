"""Calls carried out in a child process of the place."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from treadle.clock import Clock, SystemClock
from treadle.errors import CallCancelled, WorkerCrashed, WorkerNotStarted
from treadle.logs import get_logger
from treadle.pools.places.process import wire
from treadle.pools.places.process.birth import Death
from treadle.pools.places.process.ends import crash_of, end, finish, may_rest
from treadle.pools.places.process.errand import Errand, packed_call
from treadle.pools.places.process.forwarding import replay
from treadle.pools.places.process.life import Life
from treadle.pools.places.process.line import Line
from treadle.pools.places.process.manner import manner_of
from treadle.pools.places.process.nursery import nursery, release
from treadle.pools.places.process.parcel import Parcel, pack
from treadle.pools.places.process.terms import Terms
from treadle.pools.places.process.trouble import unpack_error
from treadle.pools.places.process.wire import Frame, frame
from treadle.pools.resident import Plan
from treadle.pools.submission import Kind, Submission, said_of

__all__ = ["ProcessPlace"]

_log = get_logger("treadle.pools")
# Looking a member up in its enum costs more than a global name.
_LIFE = Kind.LIFE
# Children in a row that come to nothing before what waits is given up.
_STARTS = 5
_LONGEST_PAUSE = 30.0
# Seconds that code has to end once it was interrupted.
_GRACE = 1.0


class ProcessPlace:
    """Its worker lives in a child process; calls are carried out one after another.

    A child that dies takes with it the call that it was carrying out, and no other: the place
    starts another child, with a fresh worker, for those that had not begun.

    Args:
        plan: how the worker is made.
        index: its number.
        terms: of the children.
        clock: measures their age.
    """

    abandoned = 0

    def __init__(
        self,
        plan: Plan,
        index: int = 0,
        *,
        terms: Terms | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.index = index
        self.total = 0
        self.failed = 0
        self.busy = 0.0
        self._over = 0
        self._plan = plan
        self._name = f"{plan.name}-{index}"
        self._terms = terms or Terms()
        self._clock = clock or SystemClock()
        self._now = self._clock.monotonic
        # When the child got to the call that it carries out.
        self._since = 0.0
        self._lock = threading.Lock()
        self._line = Line()
        self._nursery = nursery(self._terms.preload)
        # What each child is told first.
        self._packed: Errand | None = None
        # The step that waits for the first child to be ready.
        self._first: Submission | None = None
        self._life: Life | None = None
        # Children in a row that came to nothing, and why the last one did.
        self._fruitless = 0
        self._failure: BaseException | None = None
        self._pausing = False
        self._closing = False
        self._closed = threading.Event()
        # Calls to be ended once the lock is free: who hears of it may submit the next one.
        self._ends: deque[tuple[Errand, BaseException | None]] = deque()

    @property
    def active(self) -> int:
        """Calls that were given to it and have not ended."""
        return self.total - self._over

    @property
    def here(self) -> bool:
        """Whether the caller is told of ends, so that none comes while it waits."""
        return self._nursery.hub.is_current

    @property
    def pid(self) -> int:
        """The child that lives now; 0 when there is none."""
        life = self._life
        return 0 if life is None else life.pid

    # ------------------------------------------------------------- calls

    def submit(self, call: Submission) -> None:
        """Carry out a call after those before it."""
        self._take(call, urgent=False)

    def hasten(self, call: Submission) -> None:
        """Carry out a step of the worker's life before the calls that wait."""
        self._take(call, urgent=True)

    def _take(self, call: Submission, *, urgent: bool) -> None:
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
            if not line.has_enough:
                self._pump()
            if parcel.buffers:
                errand.wait()
        if self._ends:
            # Who submits may hold what those who hear of an end wait for.
            self._nursery.hub.post(self._settle)

    def _start(self, call: Submission) -> None:
        try:
            weighs = self._terms.max_rss is not None
            plan = pack((self._plan, manner_of(self._terms), weighs), self._plan.name)
        except Exception as error:  # noqa: BLE001 - it is the end of the call
            call.future.end(None, error)
            return
        plan.keep()
        call.future.begin()
        with self._lock:
            self._packed, self._first = Errand(call, plan), call
            self._give_birth()
        self._settle()

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
            elif told.tag == wire.SAID:
                self._pass_on(told)
            else:
                self._started(life, told)
        return bool(reports) and self._reported(life, reports)

    def _reported(self, life: Life, reports: Sequence[Frame]) -> bool:
        now, line = self._now(), self._line
        ended: list[tuple[Errand, Frame]] = []
        with self._lock:
            took = now - self._since
            for told in reports:
                errand = self._accounted(life, told, now)
                if errand is not None:
                    ended.append((errand, told))
            line.begin_first()
            self._fruitless = 0
            if not life.retiring:
                life.retiring = life.has_served(self._terms, now)
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
        if skipped or errand.asked is not None:
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

    # ------------------------------------------------------------- births and deaths

    def _give_birth(self) -> None:
        assert self._packed is not None
        try:
            if self._nursery.gone:
                release(self._nursery)
                self._nursery = nursery(self._terms.preload)
            life = Life(self, self._nursery, self._name, self._terms)
        except OSError as error:  # no process, no descriptor more
            self._give_up(error)
            return
        life.since = self._now()
        self._life = life
        body, descriptors = self._packed.wrapped()
        life.send(frame(wire.PLAN, 0, body, len(descriptors)), descriptors)

    def _started(self, life: Life, told: Frame) -> None:
        error = unpack_error(told.body, self._name) if told.tag == wire.ERROR else None
        with self._lock:
            first, self._first = self._first, None
            if error is None or first is not None:
                # Without its worker the calls that need it are told so there.
                life.ready = True
                self._pump()
            else:
                self._failure = error
                life.close()
        if first is not None:
            first.future.end(None, error)
        self._settle()

    def died(self, life: Life, death: Death) -> None:
        """The child has ended, and everything that it said was heard."""
        crash = self._crash_of(death)
        with self._lock:
            victim = self._line.bereaved(life.board.begun)
            self._life = None
            life.let_go()
            if victim is not None and not victim.over:
                self._ends.append((victim, victim.asked or crash))
            if victim is None and not life.reported and not life.retiring:
                self._fruitless += 1
            else:
                self._fruitless = 0
            self._tell_first(self._not_started(crash))
            self._carry_on(self._failure or crash)
            self._failure = None
        if not life.retiring:
            _log.warning("process.died", worker=self._name, pid=life.pid, reason=str(death))
        self._settle()

    def _crash_of(self, death: Death) -> WorkerCrashed:
        return crash_of(self._plan.name, death)

    def _carry_on(self, reason: BaseException) -> None:
        """Have another child, later each time that one comes to nothing."""
        if self._fruitless >= _STARTS:
            # Whoever comes next is worth one more.
            self._fruitless = _STARTS - 1
            self._give_up(reason)
        elif self._fruitless > 1:
            pause = min(_LONGEST_PAUSE, 0.1 * 2.0 ** (self._fruitless - 2))
            self._pausing = True
            self._later(pause, self._again)
        elif not self._closing and not self._fruitless:
            self._give_birth()
        else:
            self._pump()

    def _again(self) -> None:
        with self._lock:
            self._pausing = False
            self._pump()
        self._settle()

    def _give_up(self, reason: BaseException) -> None:
        error = self._not_started(reason)
        self._ends.extend((errand, error) for errand in self._line.clear())
        self._tell_first(error)

    def _tell_first(self, error: BaseException) -> None:
        first, self._first = self._first, None
        if first is not None:
            self._ends.append((Errand(first, Parcel(b"")), error))

    def _not_started(self, reason: BaseException) -> WorkerNotStarted:
        error = WorkerNotStarted(
            f"{self._plan.name} could not be started: {reason}", worker=self._plan.name
        )
        error.__cause__ = reason
        return error

    def _see_off(self, life: Life) -> None:
        """A child has lived long enough: when it has nothing to do, it stops its worker."""
        if self._line.sent:
            return
        if life.leaving:
            life.close()
            return
        life.leaving = True
        stop = Submission(Kind.LIFE, "stop")
        errand = Errand(stop, packed_call(stop))
        self._line.send(errand)
        life.send(frame(wire.CALL, errand.number, errand.wrapped()[0]))

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

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        self._nursery.hub.call_later(seconds, act)

    def _insist(self, life: Life, errand: Errand) -> None:
        with self._lock:
            if self._life is life and self._line.has(errand):
                # What it was about to do is unknown: it does nothing more.
                life.retiring = True
                life.end(errand.number)
                self._later(_GRACE, partial(self._kill, life, errand))

    def _kill(self, life: Life, errand: Errand) -> None:
        with self._lock:
            if self._life is life and self._line.has(errand):
                life.kill()

    def tell_stopping(self) -> None:
        """Have code that asks know that it should find a good place to end."""
        with self._lock:
            if self._life is not None:
                self._life.board.stop()

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
        if self.here:
            return False
        return self._closed.wait(timeout)
