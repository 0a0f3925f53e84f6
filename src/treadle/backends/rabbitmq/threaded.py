"""A backend whose connections live on the loop of a thread of its own.

No code of a job, however long it blocks, then keeps the server from hearing that this process is
alive, and the backend is safe to use from any loop and thread.
"""

from __future__ import annotations

import asyncio
import weakref
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Generic, Protocol, TypeVar

from treadle.backends.common.ofprocess import OfProcess
from treadle.loopthread import LoopThread

__all__ = ["Threaded"]

_T = TypeVar("_T")


class _Connected(Protocol):
    """What has the connections, and lives on the loop."""

    async def open(self) -> None: ...

    async def aclose(self) -> None: ...


_C = TypeVar("_C", bound=_Connected)


class _Own(Generic[_C]):
    """What a process has: the thread, which starts when it is first needed, and who uses it."""

    def __init__(self, client: _C) -> None:
        self.client = client
        self.thread = LoopThread("treadle-rabbitmq")
        self.loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


class Threaded(ABC, Generic[_C]):
    """The thread, and who uses it."""

    def __init__(self) -> None:
        # The connections and the thread of a parent are left to it.
        self._own = OfProcess(lambda: _Own(self._made()), lambda _: None)

    @abstractmethod
    def _made(self) -> _C:
        """What has the connections, a new one for each process."""

    @property
    def _client(self) -> _C:
        return self._own.get().client

    @property
    def _thread(self) -> LoopThread:
        return self._own.get().thread

    async def _on_thread(self, verb: Coroutine[Any, Any, _T]) -> _T:
        """Carry out a verb to its end, also when nobody waits for it any more."""
        return await asyncio.shield(asyncio.wrap_future(self._thread.start(verb)))

    async def open(self) -> None:
        """Reach the server and make what every namespace has."""
        self._join()
        await self._on_thread(self._client.open())

    def _join(self) -> None:
        """The running loop uses it from now on."""
        self._own.get().loops.add(asyncio.get_running_loop())

    async def aclose(self) -> None:
        """The running loop is done; with the last one the connections are closed."""
        own, loop = self._own.known(), asyncio.get_running_loop()
        if own is None or loop not in own.loops:
            return
        own.loops.discard(loop)
        if not own.loops:
            await self._on_thread(own.client.aclose())

    def close(self) -> None:
        """Close the connections, and end the thread."""
        own = self._own.known()
        if own is None:
            return
        own.loops.clear()
        own.thread.call(own.client.aclose())
        own.thread.close()
