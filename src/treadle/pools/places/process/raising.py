"""The children of a place, one after another: how each is born, and what follows its death."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence

from treadle.clock import Clock, SystemClock
from treadle.errors import NotEncodable, WorkerCrashed, WorkerNotStarted
from treadle.logs import get_logger
from treadle.pools.footprint import resident_bytes_of
from treadle.pools.places.process import wire
from treadle.pools.places.process.birth import Death
from treadle.pools.places.process.ear import ear_of
from treadle.pools.places.process.ends import crash_of
from treadle.pools.places.process.errand import Errand, packed_call
from treadle.pools.places.process.life import Life
from treadle.pools.places.process.line import Line
from treadle.pools.places.process.manner import manner_of
from treadle.pools.places.process.nursery import nursery, release
from treadle.pools.places.process.parcel import Parcel, pack
from treadle.pools.places.process.terms import Terms
from treadle.pools.places.process.trouble import unpack_error
from treadle.pools.places.process.wire import Frame, frame
from treadle.pools.resident import Plan
from treadle.pools.submission import Kind, Submission

__all__ = ["Raising"]

_log = get_logger("treadle.pools")
# Children in a row that come to nothing before what waits is given up.
_STARTS = 5
_LONGEST_PAUSE = 30.0


class Raising:
    """Has a child, and another one when that has died or lived long enough.

    A child that dies takes with it the call that it was carrying out, and no other.

    Args:
        plan: how the worker is made.
        index: the number of the place.
        terms: of the children.
        clock: measures their age.
        loop: where the children are heard, for who waits there; otherwise in the thread of the
            hub. Patience is measured there in any case, as a loop may be held up.
    """

    def __init__(
        self,
        plan: Plan,
        index: int = 0,
        *,
        terms: Terms | None = None,
        clock: Clock | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.index = index
        self._plan = plan
        self._name = f"{plan.name}-{index}"
        self._terms = terms or Terms()
        self._clock = clock or SystemClock()
        self._now = self._clock.monotonic
        self._lock = threading.Lock()
        self._line = Line()
        self._nursery = nursery(self._terms.preload)
        self._loop = loop
        self._ear = ear_of(loop, self._nursery.hub)
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
        # Calls to be ended once the lock is free: who hears of it may submit the next one.
        self._ends: deque[tuple[Errand, BaseException | None]] = deque()

    @property
    def pid(self) -> int:
        """The child that lives now; 0 when there is none."""
        life = self._life
        return 0 if life is None else life.pid

    @property
    def rss(self) -> int | None:
        """The memory of its child, in bytes, where the system tells."""
        return resident_bytes_of(self.pid)

    # ------------------------------------------------------------- what a place does with it

    def heard(self, life: Life, frames: Sequence[Frame]) -> bool:
        """The child said something; whether it may rather be heard a little later again."""
        raise NotImplementedError

    def _pump(self) -> None:
        """Send what there is room for. The lock is held."""
        raise NotImplementedError

    def _settle(self) -> None:
        """End what is to be ended. The lock is not held."""
        raise NotImplementedError

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        self._nursery.hub.call_later(seconds, act)

    # ------------------------------------------------------------- births and deaths

    def _start(self, call: Submission) -> None:
        try:
            plan = self._packed_plan()
        except Exception as error:  # noqa: BLE001 - it is the end of the call
            call.future.end(None, error)
            return
        plan.keep()
        call.future.begin()
        with self._lock:
            self._packed, self._first = Errand(call, plan), call
            self._give_birth()
        self._settle()

    def _packed_plan(self) -> Parcel:
        name, terms = self._plan.name, self._terms
        try:
            return pack((self._plan, manner_of(terms), terms.max_rss is not None), name)
        except NotEncodable:
            pack(self._plan, name)
            pack(terms.around, f"around= of {name}")
            raise

    def _give_birth(self) -> None:
        assert self._packed is not None
        try:
            if self._nursery.gone:
                release(self._nursery)
                self._nursery = nursery(self._terms.preload)
                self._ear = ear_of(self._loop, self._nursery.hub)
            life = Life(self, self._nursery, self._name, self._terms, self._ear)
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
