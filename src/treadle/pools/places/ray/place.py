"""Calls carried out in an actor of the place."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from functools import partial

from treadle.errors import (
    CallCancelled,
    NotDecodable,
    WorkerCrashed,
    WorkerError,
    WorkerNotStarted,
    WorkerStopped,
)
from treadle.logs import get_logger
from treadle.pools.places.process.forwarding import replay
from treadle.pools.places.process.parcel import Parcel, pack, unpack
from treadle.pools.places.process.trouble import unpack_error
from treadle.pools.places.ray.host import Order
from treadle.pools.places.ray.hub import hub
from treadle.pools.places.ray.journal import ERROR, LOG, VALUE, Findings, Report
from treadle.pools.places.ray.ledger import Errand, Ledger, end_with, packed
from treadle.pools.places.ray.life import Life
from treadle.pools.places.shift import end_raised
from treadle.pools.rayoptions import RayNeeds
from treadle.pools.resident import Plan
from treadle.pools.submission import Kind, Submission, said_of

__all__ = ["RayPlace"]

_log = get_logger("treadle.pools")
_MESSAGE = 4 << 20
"""Bytes after which further calls go with the next message."""
_ORDERS = 1000
"""Calls of a message, at the most."""


class RayPlace:
    """Its worker lives in a Ray actor; calls are carried out one after another.

    An actor that dies takes with it the call that it was carrying out, and no other: what had
    ended is told, and what had not begun is carried out by another actor with a fresh worker.

    Everything but taking calls happens on the hub.

    Args:
        plan: how the worker is made.
        index: its number.
        needs: of the cluster.
        patience: seconds that code has to end once it was asked to, before its actor is ended.
    """

    abandoned = 0
    # It may be on another machine.
    rss = None

    def __init__(
        self, plan: Plan, index: int = 0, *, needs: RayNeeds, patience: float = 5.0
    ) -> None:
        self.index = index
        self.total = 0
        self.failed = 0
        self.busy = 0.0
        self._over = 0
        self._plan = plan
        self._name = f"{plan.name}-{index}"
        self._needs = needs
        self._patience = patience
        self._packed: Parcel | None = None
        self._taken: deque[Errand] = deque()
        self._woken = False
        self._ledger = Ledger(self._struck)
        self._life: Life | None = None
        # The step by which the worker of this actor is started.
        self._start: Errand | None = None
        self._dropped: BaseException | None = None
        self._closing = False
        self._closed = threading.Event()
        self._hub = hub(self)

    @property
    def active(self) -> int:
        """Calls that were given to it and have not ended."""
        return self.total - self._over

    @property
    def here(self) -> bool:
        """Whether the caller is told of ends, so that none comes while it waits."""
        return self._hub.is_current

    @property
    def pid(self) -> int:
        """The process of the actor that lives now; 0 when there is none."""
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
        if self._closed.is_set():
            call.future.end(None, self._stopped())
            return
        try:
            parcel = packed(call, self._name)
        except Exception as error:  # noqa: BLE001 - it is the end of the call
            self._hub.do(partial(self._struck, Errand(call, Parcel(b""))))
            call.future.end(None, error)
            return
        self._taken.append(Errand(call, parcel, urgent=urgent))
        if not self._woken:
            self._woken = True
            self._hub.do(self._pump)
        if self._closed.is_set():
            self._give_up(self._stopped())

    def _stopped(self) -> WorkerStopped:
        return WorkerStopped(f"{self._name} is stopped", worker=self._name)

    def _struck(self, errand: Errand) -> None:
        self._over += not errand.is_life

    def _pump(self) -> None:
        """Send what was taken."""
        self._woken = False
        while self._taken:
            life = self._life or self._begin()
            if life is None or not life.is_met:
                return
            orders = self._next_message()
            if orders:
                life.send(orders)
        self._say_what_runs()
        self._close_when_idle()

    def _next_message(self) -> list[Order]:
        orders: list[Order] = []
        size = 0
        while self._taken and len(orders) < _ORDERS and size < _MESSAGE:
            errand = self._taken.popleft()
            if errand.call.future.done():
                self._struck(errand)
                continue
            self._ledger.enter(errand)
            orders.append(errand.order())
            size += errand.parcel.size
        return orders

    def _begin(self) -> Life | None:
        """Have an actor made that starts a worker, if there is something to do for it."""
        if self._taken[0].is_step("stop"):
            self._give_up(self._stopped())
            return None
        if not self._taken[0].is_step("start"):
            start = Submission(Kind.LIFE, "start")
            self._taken.appendleft(Errand(start, packed(start, self._name)))
        self._start = self._taken[0]
        try:
            if self._packed is None:
                self._packed = pack(self._plan, f"worker {self._name}")
            self._life = Life(
                self._name,
                self._needs,
                self._packed,
                hub=self._hub,
                met=self._pump,
                heard=self._hear,
                lost=self._go_on,
            )
        except Exception as error:  # noqa: BLE001 - it is told to all that wait
            self._give_up(error)
        return self._life

    def _hear(self, reports: tuple[Report, ...]) -> None:
        for report in reports:
            if report.is_end:
                self._end(report)
            else:
                self._pass_on(report)
        self._say_what_runs()
        self._close_when_idle()

    def _say_what_runs(self) -> None:
        """One call after another: it is the first of those that were sent."""
        first = self._ledger.first
        if first is not None:
            first.call.future.begin()

    def _pass_on(self, report: Report) -> None:
        if report.tag == LOG:
            replay(report.body, self._name)
            return
        errand = self._ledger.at(report.number)
        said = None if errand is None else said_of(errand.call)
        if said is not None:
            said(report.body)

    def _end(self, report: Report) -> None:
        errand = self._ledger.strike(report.number)
        if errand is None:
            return
        if errand is self._start:
            self._start = None
        if not errand.is_life:
            self.busy += report.took
            self.failed += report.tag == ERROR
        call = errand.call
        if report.tag == VALUE:
            try:
                call.future.end(unpack(report.body, f"the result of {call.name}()", report.buffers))
            except NotDecodable as error:
                call.future.end(None, error)
        elif report.tag == ERROR:
            raised = unpack_error(report.body, self._name)
            if errand.reason is not None and isinstance(raised, asyncio.CancelledError):
                raised = errand.reason
            end_raised(call, raised)
        else:
            end_with(
                errand.call,
                errand.reason or self._dropped or CallCancelled("the call was cancelled"),
            )

    # ------------------------------------------------------------- deaths

    def _go_on(self, error: BaseException, found: Findings | None) -> None:
        """Tell what had ended, blame what had begun, and have the rest carried out anew."""
        self._life = None
        again: list[Errand] = []
        for errand in self._ledger:
            if found is not None and errand.number in found.ended:
                self._end(found.ended[errand.number])
            elif errand.call.future.done() or found is None or errand.number in found.begun:
                self._ledger.strike(errand.number)
                end_with(errand.call, errand.reason or self._crashed(errand, error))
            elif (unwanted := self._unwanted(errand)) is not None:
                self._ledger.strike(errand.number)
                end_with(errand.call, unwanted)
            else:
                self._ledger.take(errand.number)
                again.append(errand)
        self._taken.extendleft(reversed(again))
        if self._start is not None:
            # It has not even come to that: another one would fare no better.
            self._give_up(error)
        else:
            self._pump()

    def _unwanted(self, errand: Errand) -> BaseException | None:
        """Why a call that has not begun is not to begin any more."""
        return errand.reason or (None if errand.is_life else self._dropped)

    def _crashed(self, errand: Errand, error: BaseException) -> WorkerError:
        crashed: WorkerError
        if errand is self._start:
            crashed = WorkerNotStarted(
                f"{self._name} could not be started: its actor has died", worker=self._name
            )
        else:
            crashed = WorkerCrashed(
                f"{self._name} died while it carried out {errand.call.name}(); whether that had "
                "an effect is not known",
                worker=self._name,
            )
        crashed.__cause__ = error
        return crashed

    def _give_up(self, error: BaseException) -> None:
        """There will be no worker: end everything that waits for one."""
        self._start = None
        failed = error
        if not isinstance(error, WorkerError):
            failed = WorkerNotStarted(
                f"{self._name} could not be started: {type(error).__name__}: {error}",
                worker=self._name,
            )
            failed.__cause__ = error
        while self._taken:
            errand = self._taken.popleft()
            self._struck(errand)
            if errand.is_step("stop"):
                errand.call.future.end(None)
            else:
                end_with(errand.call, failed)
        self._close_when_idle()

    # ------------------------------------------------------------- ends

    def interrupt(self, call: Submission, error: BaseException | None = None) -> bool:
        """Cancel the coroutine of a call; end the actor of plain code that does not come back."""
        if call.future.done():
            return False
        reason = error or CallCancelled("the call was cancelled")
        self._hub.do(partial(self._interrupt, call, reason))
        return True

    def _interrupt(self, call: Submission, reason: BaseException) -> None:
        errand, life = self._ledger.find(call), self._life
        if errand is None or life is None:
            end_with(call, reason)
        elif errand.reason is None:
            errand.reason = reason
            dropped = [] if self._dropped is None else self._calls_but(errand)
            life.interrupt(errand.number, reason, partial(self._answered, errand, reason), dropped)
            self._hub.later(self._patience, partial(self._force, life, errand, reason))

    def _answered(self, errand: Errand, reason: BaseException, answer: str | None) -> None:
        errand.answer = answer
        if answer in ("plain", "waits"):
            end_with(errand.call, reason)

    def _force(self, life: Life, errand: Errand, reason: BaseException) -> None:
        """The patience with a call is over."""
        if life is not self._life or self._ledger.at(errand.number) is not errand:
            return
        end_with(errand.call, reason)
        # Without an answer its thread may never let go of the interpreter.
        stuck = errand is self._ledger.first if errand.answer is None else errand.answer != "waits"
        if stuck:
            _log.error(
                "ray.actor_killed",
                worker=self._name,
                call=errand.call.name,
                patience=self._patience,
                hint="its code did not end when it was asked to",
            )
            life.kill()

    def tell_stopping(self) -> None:
        """Have code that asks know that it should find a good place to end."""
        self._hub.do(self._tell_stopping)

    def _tell_stopping(self) -> None:
        if self._life is not None and self._life.is_met:
            self._life.tell_stopping()

    def ask(self, error: BaseException) -> None:
        """Ask what runs to end; the actor of what does not hear it is ended."""
        self._hub.do(partial(self._ask_first, error))

    def _ask_first(self, error: BaseException) -> None:
        # Its worker may have started, and the report of that be on its way.
        first = next((errand for errand in self._ledger if not errand.is_life), None)
        if first is not None:
            self._interrupt(first.call, error)

    def drop(self, error: BaseException) -> None:
        """End everything that has not begun, with an error; not the steps of its life."""
        self._hub.do(partial(self._drop, error))

    def _drop(self, error: BaseException) -> None:
        self._dropped = error
        kept = deque[Errand]()
        while self._taken:
            errand = self._taken.popleft()
            if errand.is_life:
                kept.append(errand)
            else:
                self._struck(errand)
                end_with(errand.call, error)
        self._taken.extendleft(reversed(kept))
        numbers = self._calls_but(None)
        if numbers and self._life is not None:
            self._life.drop(numbers)

    def _calls_but(self, one: Errand | None) -> list[int]:
        """The numbers of the calls that the actor has, without one of them."""
        return [
            errand.number for errand in self._ledger if not errand.is_life and errand is not one
        ]

    def close(self) -> None:
        """Let go of the actor once everything given has ended."""
        self._hub.do(self._begin_to_close)

    def _begin_to_close(self) -> None:
        self._closing = True
        self._pump()

    def _close_when_idle(self) -> None:
        if not self._closing or self._taken or self._ledger or self._closed.is_set():
            return
        life, self._life = self._life, None
        if life is not None:
            life.finish()
        self._closed.set()
        self._hub.leave(self)

    def leave(self) -> None:
        """Stop once everything given has ended, because this process ends."""
        self.submit(Submission(Kind.LIFE, "stop"))
        self.close()

    def wait_left(self) -> None:
        """Block until it has left; what does not end within the patience is ended."""
        if not self.join(self._patience):
            self.kill(self._stopped())
            self.join(self._patience)

    def kill(self, error: BaseException) -> None:
        """End the actor now; what it was given ends with the error."""
        self._hub.do(partial(self._kill, error))

    def _kill(self, error: BaseException) -> None:
        self._closing = True
        for errand in self._ledger:
            self._ledger.strike(errand.number)
            end_with(errand.call, error)
        while self._taken:
            errand = self._taken.popleft()
            self._struck(errand)
            end_with(errand.call, error)
        self._close_when_idle()

    def join(self, timeout: float | None) -> bool:
        """Block until the actor was let go of; whether it was in time."""
        if self._hub.is_current:
            return self._closed.is_set()
        return self._closed.wait(timeout)
