"""What runs in a child: its worker, one call after another."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any

from treadle.guards import is_awaitable
from treadle.pools.footprint import resident_bytes
from treadle.pools.noticing import noticed_by
from treadle.pools.places.process import wire
from treadle.pools.places.process.birth import Birth
from treadle.pools.places.process.board import Board
from treadle.pools.places.process.forwarding import forward
from treadle.pools.places.process.manner import Manner
from treadle.pools.places.process.parcel import LARGE, open_parcel, proved
from treadle.pools.places.process.plain import plain
from treadle.pools.places.process.trouble import pack_error
from treadle.pools.places.process.wire import Frame, Receiver, frame, send_all
from treadle.pools.resident import Resident
from treadle.pools.seat import Interrupted, Seat, loop_aside, seat_of
from treadle.pools.submission import Kind

__all__ = ["Child", "live"]

# Looking a member up in its enum costs more than a global name.
_LIFE = Kind.LIFE


def live(birth: Birth, sock: int, board: int) -> None:
    """Carry out calls until the parent closes the socket."""
    sys.path[:] = birth.path
    os.environ.update(birth.env)
    if os.path.isdir(birth.folder):  # noqa: PTH112 - pathlib is slow to begin with
        os.chdir(birth.folder)
    _reseed()
    child = _child_of(birth, socket.socket(fileno=sock), Board(board))
    forward(birth.log_level, lambda body: child.tell(wire.LOG, 0, body))
    noticed_by(lambda: child.seat().ending)
    seat_of(child.seat)
    signal.signal(signal.SIGTERM, child.on_signal)
    try:
        child.run()
    except Interrupted:
        os._exit(128 + signal.SIGTERM)
    except ConnectionError:  # the parent has gone
        os._exit(1)


def _child_of(birth: Birth, sock: socket.socket, board: Board) -> Child:
    if birth.slots == 1:
        return Child(sock, board, birth.name)
    from treadle.pools.places.process.overlap import OverlappingChild

    return OverlappingChild(sock, board, birth.name, birth.slots)


def _reseed() -> None:
    """Python reseeds its own generator after a fork; that of numpy would repeat its siblings'."""
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


class Child:
    """Carries out what it is sent.

    Args:
        sock: to the parent.
        board: shared with it.
        name: of the place.
    """

    def __init__(self, sock: socket.socket, board: Board, name: str) -> None:
        self.board = board
        self.name = name
        self._a_call = f"a call of {name}"
        # The number of the call that runs, or 0.
        self.current = 0
        self._sock = sock
        self._receiver = Receiver(sock)
        self._sending = threading.Lock()
        self._resident: Resident | None = None
        self._runner: asyncio.Runner | None = None
        self._runs_in = 0
        self._others: list[asyncio.Runner | None] = []
        # All coroutines share it, as they would in one run.
        self._context = copy_context()
        self._task: asyncio.Task[Any] | None = None
        self._plain = False
        # The call that was cancelled last.
        self._cancelled = 0
        self._pid = os.getpid()
        self._manner: Manner | None = None
        self._aside: tuple[str, ...] = ()
        # Whether anybody wants to know how much memory it uses.
        self._weighs = False
        board.close_descriptor()

    def run(self) -> None:
        """Carry out calls until the parent closes the socket."""
        self.greet()
        try:
            while (frames := self._receiver.receive()) is not None:
                for one in frames:
                    self._carry_out(one)
        finally:
            if self._runner is not None and os.getpid() == self._pid:
                self._runner.close()

    def seat(self) -> Seat:
        """The call that this code runs in."""
        return _Call(self, self.current)

    def _carry_out(self, order: Frame) -> None:
        number = order.number
        if not self.board.begin(number):
            for one in order.descriptors:
                os.close(one)
            self.tell(wire.SKIPPED, number)
            return
        self.current = number
        try:
            tag, body, descriptors = self._ended(order)
        finally:
            self.current = 0
        if os.getpid() != self._pid:
            os._exit(0)  # a fork made by the call, which has come back from it
        self._weigh()
        try:
            self.tell(tag, number, body, descriptors)
        finally:
            for one in descriptors:
                os.close(one)

    def _ended(self, order: Frame) -> tuple[int, bytes, tuple[int, ...]]:
        try:
            value, name = self._value(order)
            plainly = plain(value)
            if plainly is not None and len(plainly) < LARGE:
                return wire.VALUE, plainly, ()
            body, descriptor = proved(value, f"the result of {name}").wrapped()
        except Interrupted:
            raise  # the end of the process
        # Whatever else it raises, SystemExit included, is the end of the call alone.
        except BaseException as error:  # noqa: BLE001
            return wire.ERROR, pack_error(error), ()
        return wire.VALUE, body, () if descriptor is None else (descriptor,)

    def _value(self, order: Frame) -> tuple[Any, str]:
        if order.tag == wire.PLAN:
            plan, self._manner, self._weighs = open_parcel(
                order.body, order.descriptors, f"the worker {self.name}"
            )
            self._resident = Resident(plan)
            self._aside = plan.aside
            return self._finished(self._resident.perform(Kind.LIFE, "start", (), {})), "start"
        kind, what, args, kwargs = open_parcel(order.body, order.descriptors, self._a_call)
        name = what if isinstance(what, str) else getattr(what, "__name__", "a call")
        if self._manner is None or kind == _LIFE or what in self._aside:
            assert self._resident is not None, "the plan comes first"
            value = self._resident.perform(kind, what, args, kwargs)
            return self._finished(value) if is_awaitable(value) else value, name
        perform = partial(self._performed, kind, what, args, kwargs)
        return self._manner.carry_out(perform), name

    def _performed(self, kind: Kind, what: Any, args: Any, kwargs: Any) -> Any:
        assert self._resident is not None, "the plan comes first"
        return self._finished(self._resident.perform(kind, what, args, kwargs))

    def _finished(self, value: Any) -> Any:
        if not is_awaitable(value):
            return value
        if self._runner is None or os.getpid() != self._runs_in:
            # In a fork the loop of the child is there, and is not to be touched.
            self._others.append(self._runner)
            self._runner, self._runs_in = asyncio.Runner(), os.getpid()
            self._context = copy_context()

        async def main() -> Any:
            self._task = task = asyncio.current_task()
            self.board.become_coroutine(self.current)
            # It may have been asked to end before there was anything to cancel.
            if task is not None and self.asked:
                self._cancel(task)
            try:
                return await value
            finally:
                self.board.become_coroutine(0)
                self._task = None

        return self._run(self._runner.get_loop(), main())

    def _run(self, loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, Any]) -> Any:
        """What ``Runner.run`` does, but for a handler of SIGINT that it sets for each call.

        No terminal sends one here, and to set it takes longer than what most calls do.
        """
        task = loop.create_task(main, context=self._context)
        try:
            return loop.run_until_complete(task)
        except KeyboardInterrupt:
            # Somebody has sent one all the same: it is the end of the call, wherever it was.
            if not task.done():
                task.cancel()
                loop.run_until_complete(asyncio.wait({task}))
            raise

    def _weigh(self) -> None:
        """Say how much memory this process uses, before it is heard that a call has ended."""
        if self._weighs:
            self.board.tell_resident(resident_bytes())

    @property
    def asked(self) -> bool:
        """Whether the call that runs was asked to end."""
        return self.current != 0 and self.board.asked == self.current

    def on_signal(self, number: int, frame: Any) -> None:
        """A call is asked to end. What comes from elsewhere, or too late, is not heard.

        A service manager signals every process of a service at once; when the children end is
        for the parent to say, which may have calls to wait for.
        """
        if not self.asked:
            return
        task = None if self._plain else self._task
        if task is not None:
            self._cancel(task)
        elif self.board.ending == self.current:
            raise Interrupted

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        """Once for each request, so that its cleaning up is left alone."""
        cancelled, self._cancelled = self._cancelled, self.current
        if cancelled != self.current or self.board.ending == self.current:
            task.get_loop().call_soon_threadsafe(task.cancel)

    @contextmanager
    def plain_code(self) -> Iterator[None]:
        """A block in a coroutine in which its loop does not run."""
        self._plain = True
        try:
            with loop_aside():
                yield
        finally:
            self._plain = False

    def greet(self) -> None:
        """Say which process it is: before all else, so that whoever hears more knows that."""
        self.tell(wire.BORN, 0, os.getpid().to_bytes(8, "little"))

    def tell(
        self, tag: int, number: int, body: bytes = b"", descriptors: tuple[int, ...] = ()
    ) -> None:
        """Send to the parent. From any thread."""
        with self._sending:
            send_all(self._sock, frame(tag, number, body, len(descriptors)), descriptors)


class _Call:
    """The seat of one call."""

    def __init__(self, child: Child, number: int) -> None:
        self._child = child
        self._number = number

    @property
    def stopping(self) -> bool:
        """Long work should find a good place to end."""
        return self._child.board.stopping

    @property
    def ending(self) -> BaseException | None:
        """Why the call has to end, once it has to."""
        board = self._child.board
        if not self._number or board.asked != self._number:
            return None
        return board.reason or asyncio.CancelledError()

    def say(self, body: bytes) -> None:
        """Tell who waits for the call."""
        self._child.tell(wire.SAID, self._number, body)

    def plain_code(self) -> AbstractContextManager[None]:
        """A block in a coroutine in which its loop does not run."""
        return self._child.plain_code()
