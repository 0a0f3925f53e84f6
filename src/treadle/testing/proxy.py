"""A network that fails as a test wants it: a TCP proxy in a thread.

::

    with Proxy(server.port) as proxy:
        app = Treadle(f"redis://127.0.0.1:{proxy.port}")
        with proxy.losing_replies(b"push"):  # carried out, but nobody is told
            ...
        proxy.cut()  # all connections are reset
        with proxy.silent():  # they stay open, but nothing passes
            ...

A block says when a fault begins and when it is over. Nothing else disturbs what passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Iterator
from concurrent.futures import Future
from enum import StrEnum
from typing import Self, TypeVar

import msgspec

from treadle.clock import SystemClock

__all__ = ["Proxy", "Way"]

T = TypeVar("T")
_CLOCK = SystemClock()
_HOST = "127.0.0.1"
_CHUNK = 65_536
_BEGIN = 4096
_RESET = struct.pack("ii", 1, 0)
_PATIENCE = 10.0


class Way(StrEnum):
    """One of the two ways of a connection."""

    UP = "up"  # from the client to the server
    DOWN = "down"


class _Faults(msgspec.Struct):
    """What is wrong with the network just now."""

    refusing: bool = False
    # What is read there and thrown away.
    dropped: frozenset[Way] = frozenset()
    # Only on connections that have carried this upwards.
    dropped_on: bytes = b""
    # Seconds for which everything is held up.
    delay: float = 0.0
    # Bytes that pass in a second, one at a time; 0 for no bound.
    drip: float = 0.0
    # Of a connection: bytes that still pass, before it is reset.
    cut_after: int | None = None
    cut_way: Way = Way.UP
    # The answer to what contains this is lost, so many times.
    lost: bytes | None = None
    losses: int = 0


class Proxy:
    """Stands between clients and one server of this machine.

    Args:
        target: the port of the server.
        port: where it listens; a free one by default.
    """

    def __init__(self, target: int, *, port: int = 0) -> None:
        self.target = target
        self.port = port
        # When each connection came, in monotonic seconds; those that were refused, too.
        self.arrivals: list[float] = []
        # Answers that were lost on purpose.
        self.lost = 0
        self._faults = _Faults()
        self._flows: set[_Flow] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="treadle-proxy", daemon=True)
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    def start(self) -> Self:
        """Listen from now on."""
        self._thread.start()
        self._do(self._listen())
        return self

    def close(self) -> None:
        """Reset all connections and end."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._flows)

    # ------------------------------------------------------------- faults

    def cut(self) -> None:
        """Reset all connections; new ones pass."""
        self._do(self._cut())

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody can connect, and who was connected is cut off."""
        self._set(refusing=True)
        self.cut()
        try:
            yield
        finally:
            self._set(refusing=False)

    @contextlib.contextmanager
    def silent(self, *ways: Way, on: bytes = b"") -> Iterator[None]:
        """What is sent these ways (both by default) disappears; connections stay open.

        After the block they are cut, because what disappeared does not come back.

        Args:
            ways: up, down, or both.
            on: only on connections over which this was once sent to the server.
        """
        self._set(dropped=frozenset(ways or Way), dropped_on=on)
        try:
            yield
        finally:
            self._set(dropped=frozenset[Way]())
            self.cut()

    @contextlib.contextmanager
    def slow(self, *, delay: float = 0.0, drip: float = 0.0) -> Iterator[None]:
        """Everything is held up, or passes byte for byte, so many a second."""
        self._set(delay=delay, drip=drip)
        try:
            yield
        finally:
            self._set(delay=0.0, drip=0.0)

    @contextlib.contextmanager
    def cutting_after(self, count: int, way: Way = Way.UP) -> Iterator[None]:
        """Connections are reset once so many bytes have passed this way, from now on."""
        for flow in tuple(self._flows):
            flow.passed = dict.fromkeys(Way, 0)
        self._set(cut_after=count, cut_way=way)
        try:
            yield
        finally:
            self._set(cut_after=None)

    @contextlib.contextmanager
    def losing_replies(self, to: bytes = b"", times: int = 1) -> Iterator[None]:
        """The server carries out what contains ``to``, but its answer is lost with the connection.

        Args:
            to: what the request has in it; anything by default.
            times: how often.
        """
        self._set(lost=to, losses=times)
        try:
            yield
        finally:
            self._set(lost=None, losses=0)

    # ------------------------------------------------------------- inside

    def _set(self, **changes: object) -> None:
        async def change() -> None:
            self._faults = msgspec.structs.replace(self._faults, **changes)

        self._do(change())

    def _do(self, work: Awaitable[T]) -> T:
        """Carry something out in the loop of the proxy, and wait for that."""

        async def run() -> T:
            return await work

        done: Future[T] = asyncio.run_coroutine_threadsafe(run(), self._loop)
        return done.result(_PATIENCE)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self) -> None:
        listener = socket.create_server((_HOST, self.port), backlog=512)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._accepting = self._loop.create_task(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            self.arrivals.append(_CLOCK.monotonic())
            if self._faults.refusing:
                _reset(client)
                continue
            flow = _Flow(self._loop, client, self)
            self._flows.add(flow)
            flow.task = self._loop.create_task(self._serve(flow))

    async def _serve(self, flow: _Flow) -> None:
        try:
            await flow.run(self.target)
        finally:
            self._flows.discard(flow)

    async def _cut(self) -> None:
        tasks = [flow.task for flow in self._flows if flow.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait({self._accepting})
        await self._cut()
        if self._listener is not None:
            self._listener.close()

    def faults(self) -> _Faults:
        """As they are now."""
        return self._faults

    def lose(self, data: bytes) -> bool:
        """Whether the answer to this is to be lost; counts it."""
        faults = self._faults
        if faults.lost is None or faults.losses <= 0 or faults.lost not in data:
            return False
        self._faults = msgspec.structs.replace(faults, losses=faults.losses - 1)
        self.lost += 1
        return True


class _Flow:
    """One connection through the proxy."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: socket.socket, owner: Proxy):
        self._loop = loop
        self._client = client
        self._client.setblocking(False)
        self._server = socket.socket()
        self._server.setblocking(False)
        self._owner = owner
        self.passed = dict.fromkeys(Way, 0)
        self.task: asyncio.Task[None] | None = None
        # The answers of the server are not passed on any more.
        self._deaf = False
        # What was sent first.
        self._begin = b""

    async def run(self, target: int) -> None:
        """Carry bytes until one side ends."""
        try:
            await self._loop.sock_connect(self._server, (_HOST, target))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(self._client, self._server, Way.UP))
                group.create_task(self._carry(self._server, self._client, Way.DOWN))
        except* OSError:
            pass
        finally:
            # As a broken network does, without a farewell.
            _reset(self._client)
            _reset(self._server)

    async def _carry(self, source: socket.socket, sink: socket.socket, way: Way) -> None:
        while data := await self._loop.sock_recv(source, _CHUNK):
            faults = self._owner.faults()
            if way is Way.UP:
                self._begin += data[: max(0, _BEGIN - len(self._begin))]
            if self._silent(way, faults):
                continue
            if faults.delay:
                await _CLOCK.sleep(faults.delay)
            if way is Way.UP and self._owner.lose(data):
                await self._lose(sink, data)
                return
            await self._pass(sink, data, way, faults)
        raise ConnectionResetError("one side has ended")

    def _silent(self, way: Way, faults: _Faults) -> bool:
        if way is Way.DOWN and self._deaf:
            return True
        return way in faults.dropped and faults.dropped_on in self._begin

    async def _pass(self, sink: socket.socket, data: bytes, way: Way, faults: _Faults) -> None:
        if faults.cut_after is not None and way is faults.cut_way:
            left = max(0, faults.cut_after - self.passed[way])
            self.passed[way] += len(data)
            if len(data) > left:
                await self._loop.sock_sendall(sink, data[:left])
                raise ConnectionResetError("as many bytes as may have passed")
        if not faults.drip:
            await self._loop.sock_sendall(sink, data)
            return
        for at in range(len(data)):
            await self._loop.sock_sendall(sink, data[at : at + 1])
            await _CLOCK.sleep(1 / faults.drip)

    async def _lose(self, server: socket.socket, data: bytes) -> None:
        """Have it carried out, and reset the client when that is sure to have happened."""
        self._deaf = True
        await self._loop.sock_sendall(server, data)
        # A server that has read to the end has carried out what came before, and closes.
        server.shutdown(socket.SHUT_WR)


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    one.close()
