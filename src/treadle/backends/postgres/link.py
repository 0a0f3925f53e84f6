"""The way to the server: a client for each event loop, and repeats where that is safe."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from treadle.backends.postgres.address import Address
from treadle.backends.postgres.client import Client, Wire
from treadle.backends.postgres.ears import Ears
from treadle.backends.postgres.notices import Notices
from treadle.backends.postgres.refusals import LOST, is_transient, meaning
from treadle.clock import Clock, SystemClock
from treadle.errors import NotOpen
from treadle.ids import Chance

__all__ = ["Link", "Local", "Work"]

T = TypeVar("T")
_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
_PARTING = 1.5
"""Seconds that a server has for all that a loop still says to it."""


class Local:
    """What one event loop has of its own."""

    def __init__(self, client: Client, ears: Ears, notices: Notices) -> None:
        self.client = client
        self.ears = ears
        self.notices = notices
        # What is carried out on a connection, also when nobody waits for it any more.
        self._under_way: set[asyncio.Task[Any]] = set()

    def start(self, step: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Carry something out on a connection, to its end."""
        task = self.client.loop.create_task(step)
        self._under_way.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it is told; nobody may

    async def aclose(self) -> None:
        """Close everything in good order, or else at once."""
        try:
            async with asyncio.timeout(_PARTING):
                await self.notices.aclose()
                await self.ears.aclose()
                if self._under_way:
                    await asyncio.wait(self._under_way)
                await self.client.aclose()
        except TimeoutError:
            self.terminate()

    def terminate(self) -> None:
        """Close everything at once."""
        self.notices.terminate()
        self.ears.terminate()
        self.client.terminate()

    def drop(self) -> None:
        """Close everything of a loop that is closed."""
        self.ears.drop()
        self.client.drop()


class Work(Generic[T]):
    """Something to be done on a connection.

    Args:
        run: does it.
        again: it may be done once more when its answer was lost.
    """

    __slots__ = ("again", "run")

    def __init__(self, run: Callable[[Wire], Awaitable[T]], *, again: bool = True) -> None:
        self.run = run
        self.again = again


class Link:
    """Connections to one server, for all loops and threads of a process.

    Args:
        address: where the server is.
        chance: spreads what many processes repeat.
        equip: makes what a loop has beside its connections.
    """

    def __init__(
        self,
        address: Address,
        *,
        chance: Chance,
        equip: Callable[[Client], tuple[Ears, Notices]],
    ) -> None:
        self._address = address
        # Of the network. Not that of the jobs: a test that moves theirs by an hour has not
        # waited an hour for an answer.
        self._clock: Clock = SystemClock()
        self._chance = chance
        self._equip = equip
        self._lock = threading.Lock()
        self._locals: dict[asyncio.AbstractEventLoop, Local] = {}
        self._closed = False

    @property
    def local(self) -> Local:
        """That of the running loop.

        Raises:
            NotOpen: the store was closed.
        """
        loop = asyncio.get_running_loop()
        found = self._locals.get(loop)
        if found is None:
            with self._lock:
                if self._closed:
                    raise NotOpen(f"the backend {self._address.url} is closed; open another")
                self._forget_closed()
                client = Client(self._address)
                found = self._locals[loop] = Local(client, *self._equip(client))
        return found

    def _forget_closed(self) -> None:
        for loop in [loop for loop in self._locals if loop.is_closed()]:
            self._locals.pop(loop).drop()

    async def do(self, work: Work[T]) -> T:
        """Do something, again where a failure is of the moment.

        Raises:
            BackendUnavailable: it cannot be reached.
            BackendError: it refuses.
        """
        end = self._clock.monotonic() + self._address.patience
        pause = _PAUSE
        while True:
            local = self.local
            sent = False
            try:
                wire = await local.client.take()
                sent = True
                # For who is cancelled it goes on: a connection that is left in the middle of a
                # statement can only be given up.
                step = local.start(self._carry_out(local.client, wire, work))
                return await asyncio.shield(step)
            except (*LOST, Exception) as error:
                lost = sent and isinstance(error, LOST)
                if not is_transient(error) or (lost and not work.again):
                    raise _said(error, self._address.url) from error
                delay = pause * self._chance.uniform(0.5, 1.0)
                if self._clock.monotonic() + delay > end:
                    raise _said(error, self._address.url) from error
            await self._clock.sleep(delay)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _carry_out(self, client: Client, wire: Wire, work: Work[T]) -> T:
        broken = True
        try:
            answer = await work.run(wire)
            broken = False
            return answer
        except Exception as error:
            # A refusal leaves the connection as it was, once its transaction is rolled back.
            broken = isinstance(error, LOST) or is_transient(error)
            raise
        finally:
            client.put(wire, broken=broken or wire.is_in_transaction())

    # ------------------------------------------------------------- the end

    async def aclose(self) -> None:
        """Close what the running loop has."""
        found = self._locals.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found.aclose()

    def close(self) -> None:
        """Close everything: who asks after this is refused."""
        with self._lock:
            self._closed = True
            locals_ = dict(self._locals)
            self._locals.clear()
        for loop, local in locals_.items():
            if loop.is_closed():
                local.drop()
            elif loop.is_running():
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(local.terminate)
            else:
                local.terminate()

    def abandon(self) -> None:
        """Forget everything in a forked child: it is the parent's, and not to be closed here."""
        for local in self._locals.values():
            _of_parents.append(local)
            local.client.abandon()
        self._locals = {}


_of_parents: list[Any] = []
"""What the parent had, kept in a forked child."""


def _said(error: BaseException, url: str) -> BaseException:
    return meaning(error, url)
