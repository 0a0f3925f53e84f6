"""A backend whose connections live on the loop of a thread of its own.

No code of a job, however long it blocks, then keeps the server from hearing that this process is
alive, and the backend is safe to use from any loop and thread.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Generic, Protocol, TypeVar

from treadle.loopthread import LoopThread

__all__ = ["Threaded"]

_T = TypeVar("_T")


class _Connected(Protocol):
    """What has the connections, and lives on the loop."""

    async def open(self) -> None: ...

    async def aclose(self) -> None: ...


_C = TypeVar("_C", bound=_Connected)


class Threaded(ABC, Generic[_C]):
    """The thread, and who uses it. It starts when it is first needed."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._thread = LoopThread("treadle-rabbitmq")
        self._client = self._made()
        self._loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    @abstractmethod
    def _made(self) -> _C:
        """What has the connections, a new one for each process."""

    async def _on_thread(self, verb: Coroutine[Any, Any, _T]) -> _T:
        """Carry out a verb to its end, also when nobody waits for it any more."""
        return await asyncio.shield(asyncio.wrap_future(self._thread.start(verb)))

    async def open(self) -> None:
        """Reach the server and make what every namespace has."""
        if self._pid != os.getpid():  # connections and thread are the parent's
            self._begin()
        self._loops.add(asyncio.get_running_loop())
        await self._on_thread(self._client.open())

    async def aclose(self) -> None:
        """The running loop is done; with the last one the connections are closed."""
        loop = asyncio.get_running_loop()
        known = loop in self._loops
        self._loops.discard(loop)
        if known and not self._loops and self._pid == os.getpid():
            await self._on_thread(self._client.aclose())

    def close(self) -> None:
        """Close the connections, and end the thread."""
        if self._pid != os.getpid():
            return
        self._loops.clear()
        self._thread.call(self._client.aclose())
        self._thread.close()
