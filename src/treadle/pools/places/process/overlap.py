"""What runs in a child whose coroutines overlap: several calls, in one event loop."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from contextvars import ContextVar
from inspect import isawaitable
from typing import Any

from treadle.pools.places.process import wire
from treadle.pools.places.process.board import Board
from treadle.pools.places.process.child import Child
from treadle.pools.places.process.parcel import open_parcel, proved
from treadle.pools.places.process.trouble import pack_error
from treadle.pools.places.process.wire import Frame
from treadle.pools.resident import Resident
from treadle.pools.seat import Interrupted, Seat, loop_aside
from treadle.pools.submission import Kind

__all__ = ["OverlappingChild"]

_NUMBER: ContextVar[int] = ContextVar("treadle.call", default=0)
_ALONE = frozenset({"start", "stop", "restart"})


class OverlappingChild(Child):
    """Carries out so many calls at a time, those that wait beside each other.

    They begin in the order in which they were sent. Plain code runs between the coroutines. The
    steps of the worker's life are taken while no call runs.

    Args:
        sock: to the parent.
        board: shared with it.
        name: of the place.
        slots: calls at a time.
    """

    def __init__(self, sock: socket.socket, board: Board, name: str, slots: int) -> None:
        super().__init__(sock, board, name)
        self._slots = slots
        self._tasks: dict[int, asyncio.Task[None]] = {}
        # Why calls have to end that were asked to.
        self._reasons: dict[int, BaseException] = {}

    def run(self) -> None:
        """Carry out calls until the parent closes the socket."""
        self.greet()
        with asyncio.Runner() as runner:
            runner.run(self._serve())

    def seat(self) -> Seat:
        """The call that this code runs in."""
        return _Call(self, _NUMBER.get())

    async def _serve(self) -> None:
        orders: asyncio.Queue[Frame | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._sock, self._read, orders)
        try:
            while (order := await orders.get()) is not None:
                await self._take(order)
        finally:
            loop.remove_reader(self._sock)

    def _read(self, orders: asyncio.Queue[Frame | None]) -> None:
        frames = self._receiver.receive()
        if frames is None:
            asyncio.get_running_loop().remove_reader(self._sock)
            orders.put_nowait(None)
            return
        for one in frames:
            if one.tag == wire.ASK:
                self._ask(one)
            else:
                orders.put_nowait(one)

    def _ask(self, wish: Frame) -> None:
        """Have a call end. The parent hears that the loop turns."""
        self.tell(wire.ASKED, wish.number)
        task = self._tasks.get(wish.number)
        if task is None:
            return
        try:
            reason = pickle.loads(wish.body)
        except Exception:  # noqa: BLE001 - a reason that cannot travel is none
            reason = asyncio.CancelledError()
        self._reasons[wish.number] = reason
        task.cancel()

    async def _take(self, order: Frame) -> None:
        """Begin a call, once there is room for it."""
        while len(self._tasks) >= self._slots:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        number = order.number
        if not self.board.begin(number):
            for one in order.descriptors:
                os.close(one)
            self.tell(wire.SKIPPED, number)
            return
        try:
            call = self._opened(order)
        except Interrupted:
            raise
        except BaseException as error:  # noqa: BLE001 - it is the end of the call
            self.tell(wire.ERROR, number, pack_error(error))
            return
        alone = call[0] == Kind.LIFE and call[1] in _ALONE
        if alone and self._tasks:
            await asyncio.wait(self._tasks.values())
        task = asyncio.get_running_loop().create_task(self._live(number, call))
        self._tasks[number] = task
        if alone:
            await asyncio.wait([task])

    def _opened(self, order: Frame) -> tuple[Any, ...]:
        if order.tag == wire.PLAN:
            plan, _, self._weighs = open_parcel(
                order.body, order.descriptors, f"the worker {self.name}"
            )
            self._resident = Resident(plan)
            return Kind.LIFE, "start", (), {}
        call: tuple[Any, ...] = open_parcel(order.body, order.descriptors, f"a call of {self.name}")
        return call

    async def _live(self, number: int, call: tuple[Any, ...]) -> None:
        _NUMBER.set(number)
        descriptors: tuple[int, ...] = ()
        try:
            value, name = await self._given(call)
            body, descriptor = proved(value, f"the result of {name}").wrapped()
            tag, descriptors = wire.VALUE, () if descriptor is None else (descriptor,)
        # Whatever it raises, SystemExit included, is the end of the call alone.
        except BaseException as error:  # noqa: BLE001
            tag, body = wire.ERROR, pack_error(error)
        finally:
            del self._tasks[number]
            self._reasons.pop(number, None)
        self._weigh()
        try:
            self.tell(tag, number, body, descriptors)
        finally:
            for one in descriptors:
                os.close(one)

    async def _given(self, call: tuple[Any, ...]) -> tuple[Any, str]:
        kind, what, args, kwargs = call
        assert self._resident is not None, "the plan comes first"
        with loop_aside():
            value = self._resident.perform(Kind(kind), what, args, kwargs)
        if isawaitable(value):
            value = await value
        return value, what if isinstance(what, str) else getattr(what, "__name__", "a call")

    def why(self, number: int) -> BaseException | None:
        """Why a call has to end, once it has to."""
        return self._reasons.get(number)


class _Call:
    """The seat of one call among others."""

    def __init__(self, child: OverlappingChild, number: int) -> None:
        self._child = child
        self._number = number
        self.plain_code = loop_aside

    @property
    def stopping(self) -> bool:
        """Long work should find a good place to end."""
        return self._child.board.stopping

    @property
    def ending(self) -> BaseException | None:
        """Why the call has to end, once it has to."""
        return self._child.why(self._number)

    def say(self, body: bytes) -> None:
        """Tell who waits for the call."""
        self._child.tell(wire.SAID, self._number, body)
