"""What runs in an actor: its worker, one call after another."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any, NamedTuple

from treadle.clock import Clock, SystemClock
from treadle.pools.noticing import noticed_by
from treadle.pools.places.process.forwarding import forward
from treadle.pools.places.process.parcel import Parcel, proved, unpack
from treadle.pools.places.process.trouble import pack_error
from treadle.pools.places.ray.journal import (
    ERROR,
    LEFT,
    LOG,
    SAID,
    SKIPPED,
    VALUE,
    Journal,
    Report,
)
from treadle.pools.places.ray.seat import Asked, RaySeat
from treadle.pools.resident import Resident
from treadle.pools.seat import loop_aside, seat_of
from treadle.pools.submission import Kind

__all__ = ["Hello", "Host", "Order", "Reception"]

_FULL = 1 << 20
"""Bytes after which further reports go with the next message."""
_LARGE = 64 << 10
"""Bytes from which a report ends its message, so that nothing else keeps it in memory."""


class Hello(NamedTuple):
    """An actor, as it tells of itself."""

    pid: int
    node: str
    journal: str


class Order(NamedTuple):
    """A call on its way to an actor."""

    number: int
    urgent: bool
    # For messages.
    name: str
    body: bytes
    buffers: tuple[Any, ...]


class Reception:
    """What Ray makes an actor of. It passes on to the host, whose own methods Ray leaves alone.

    Args:
        name, plan, buffers, log_level: for the host.
    """

    def __init__(self, name: str, plan: bytes, buffers: tuple[Any, ...], log_level: int) -> None:
        self._name = name
        self._host = Host(name, plan, buffers, log_level)

    def __repr__(self) -> str:
        # Ray puts it before every line that is printed here.
        return self._name

    def hello(self) -> Hello:
        """Who this is."""
        return self._host.hello()

    def deliver(self, message: int, orders: list[Order]) -> None:
        """Take calls."""
        self._host.deliver(message, orders)

    def collect(self, known: int) -> tuple[Report, ...]:
        """What has ended, once something has."""
        return self._host.collect(known)

    def interrupt(self, number: int, reason: bytes, dropped: list[int]) -> str:
        """Ask a call to end."""
        return self._host.interrupt(number, reason, dropped)

    def tell_stopping(self) -> None:
        """Have code that asks know that it should find a good place to end."""
        self._host.tell_stopping()

    def drop(self, numbers: list[int]) -> None:
        """Pass calls over that have not begun."""
        self._host.drop(numbers)


class Host:
    """Carries out calls in a thread of its own; its methods are called from others.

    Args:
        name: of the worker, for messages.
        plan: how it is made, packed.
        buffers: large parts of the plan.
        log_level: from which on what is logged is passed on.
    """

    def __init__(self, name: str, plan: bytes, buffers: tuple[Any, ...], log_level: int) -> None:
        self._name = name
        self._plan = plan, buffers
        self._clock: Clock = SystemClock()
        self._journal = Journal()
        self._changed = threading.Condition()
        self._line: deque[Order] = deque()
        # Messages that overtook others.
        self._early: dict[int, list[Order]] = {}
        self._next_message = 0
        # The last call that was taken, and calls to be passed over that come after it.
        self._seen = 0
        self._skips: set[int] = set()
        # Reports that the place is not known to have, and how many it has.
        self._reports: list[Report] = []
        self._known = 0
        # Reports at the head that are on their way.
        self._sent = 0
        self._current = 0
        # The call that was asked to end, and whether any call should.
        self._asked: Asked | None = None
        # The call whose plain code was asked to end, and whose future does not wait for that.
        self._left = 0
        self.stopping = False
        self._resident: Resident | None = None
        self._runner: asyncio.Runner | None = None
        self._task: asyncio.Task[Any] | None = None
        # The loop does not run, because a coroutine carries out plain code.
        self._plain = False
        forward(log_level, lambda body: self.say(LOG, 0, body))
        seat_of(lambda: RaySeat(self, self._current))
        threading.Thread(target=self._work, name=f"treadle-{name}", daemon=True).start()

    # ------------------------------------------------------------- called by the place

    def hello(self) -> Hello:
        """Who this is."""
        from treadle.pools.places.ray.cluster import node_of_this_process

        return Hello(os.getpid(), node_of_this_process(), self._journal.path)

    def deliver(self, message: int, orders: list[Order]) -> None:
        """Take calls; messages are numbered, because Ray may have them overtake each other."""
        with self._changed:
            self._early[message] = orders
            while (following := self._early.pop(self._next_message, None)) is not None:
                self._next_message += 1
                for order in following:
                    self._seen = order.number
                    if order.number in self._skips:
                        self._reports.append(Report(order.number, SKIPPED, 0.0))
                    elif order.urgent:
                        # The start comes before everything.
                        self._line.insert(int(bool(self._line) and self._resident is None), order)
                    else:
                        self._line.append(order)
            self._changed.notify_all()

    def collect(self, known: int) -> tuple[Report, ...]:
        """What has ended, once something has.

        Args:
            known: how many reports have arrived; they are forgotten here.
        """
        with self._changed:
            if known > self._known:
                told = self._reports[: known - self._known]
                del self._reports[: len(told)]
                self._known = known
                # By number: what has ended just now may not be among the reports yet.
                self._journal.forget(report.number for report in told if report.is_end)
            while not self._reports:
                self._changed.wait()
            some = tuple(self._some())
            self._sent = len(some)
            return some

    def _some(self) -> list[Report]:
        size = 0
        some: list[Report] = []
        for report in self._reports:
            some.append(report)
            size += len(report.body)
            if report.buffers or len(report.body) > _LARGE or size > _FULL:
                break
        return some

    def interrupt(self, number: int, reason: bytes, dropped: list[int]) -> str:
        """Ask a call to end: ``waits``, ``asked``, ``plain`` when it cannot be, ``over``.

        Args:
            number: of the call.
            reason: what it is told.
            dropped: calls that are not to begin when it has ended. Messages overtake each other,
                and that with :meth:`drop` may come too late.
        """
        with self._changed:
            if dropped:
                self._passed_over(set(dropped))
            if number != self._current:
                return "waits" if self._passed_over({number}) else "over"
            self._asked = Asked(number, reason)
            task = self._task
            if task is None:
                self._left = number
                return "plain"
            if not self._plain:
                task.get_loop().call_soon_threadsafe(task.cancel)
            return "asked"

    def tell_stopping(self) -> None:
        """Have code that asks know that it should find a good place to end."""
        self.stopping = True

    def drop(self, numbers: list[int]) -> None:
        """Pass these calls over, unless they have begun."""
        with self._changed:
            self._passed_over(set(numbers))

    def _passed_over(self, numbers: set[int]) -> bool:
        line = [order for order in self._line if order.number not in numbers]
        skipped = [order for order in self._line if order.number in numbers]
        self._line = deque(line)
        self._reports += [Report(order.number, SKIPPED, 0.0) for order in skipped]
        # This message may have overtaken the calls.
        ahead = {number for number in numbers if number > self._seen}
        self._skips |= ahead
        self._changed.notify_all()
        return bool(skipped or ahead)

    # ------------------------------------------------------------- called by code that runs

    def say(self, tag: int, number: int, body: bytes) -> None:
        """Tell something meanwhile. Of what a call says of itself the last word counts."""
        report = Report(number, tag, 0.0, body)
        with self._changed:
            last = self._reports[-1] if len(self._reports) > self._sent else None
            if tag == SAID and last is not None and (last.tag, last.number) == (SAID, number):
                self._reports[-1] = report
            else:
                self._reports.append(report)
            self._changed.notify_all()

    def ending(self, number: int) -> BaseException | None:
        """Why a call has to end, once it has to."""
        asked = self._asked
        return None if asked is None or asked.number != number else asked.why

    @contextmanager
    def plain_code(self) -> Iterator[None]:
        """A block in a coroutine in which its loop does not run."""
        with self._changed:
            self._plain = True
        try:
            with loop_aside():
                yield
        finally:
            with self._changed:
                self._plain = False

    # ------------------------------------------------------------- its thread

    def _work(self) -> None:
        noticed_by(lambda: self.ending(self._current))
        while True:
            with self._changed:
                while not self._line:
                    self._changed.wait()
                order = self._line.popleft()
                self._current = order.number
            self._journal.begin(order.number)
            report = self._carried_out(order)
            with self._changed:
                self._current = 0
                if self._left == order.number:
                    # This may arrive before the answer to who asked, and is not to contradict it.
                    report = Report(order.number, LEFT, report.took)
            self._journal.end(report)
            with self._changed:
                self._reports.append(report)
                self._changed.notify_all()
            del order, report  # with what they refer to, before the next wait

    def _carried_out(self, order: Order) -> Report:
        began = self._clock.monotonic()
        try:
            value = self._value(order)
            tag, parcel = VALUE, proved(value, f"the result of {order.name}")
        # Whatever it raises, SystemExit included, is the end of the call and not of the actor.
        except BaseException as error:  # noqa: BLE001
            tag, parcel = ERROR, Parcel(pack_error(error))
        took = self._clock.monotonic() - began
        return Report(order.number, tag, took, parcel.body, tuple(parcel.buffers))

    def _value(self, order: Order) -> Any:
        if self._resident is None:
            self._resident = Resident(unpack(self._plan[0], f"worker {self._name}", self._plan[1]))
            del self._plan
        kind, what, args, kwargs = unpack(
            order.body, f"{order.name} of {self._name}", order.buffers
        )
        value = self._resident.perform(Kind(kind), what, args, kwargs)
        if isawaitable(value):
            value = self._awaited(value)
        if kind == Kind.LIFE and what == "stop":
            self._journal.remove()
        return value

    def _awaited(self, value: Any) -> Any:
        if self._runner is None:
            self._runner = asyncio.Runner()

        async def main() -> Any:
            with self._changed:
                self._task = task = asyncio.current_task()
                # It may have been asked to end before there was anything to cancel.
                if task is not None and self.ending(self._current) is not None:
                    task.cancel()
            try:
                return await value
            finally:
                with self._changed:
                    self._task = None

        return self._runner.run(main())
