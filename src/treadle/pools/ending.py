"""The end of a pool."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from treadle.errors import WaitTimeout
from treadle.loopthread import may_block
from treadle.pools.future import Future
from treadle.pools.places.place import Place, life

if TYPE_CHECKING:
    from treadle.pools.crew import Crew

__all__ = ["Ending"]

# Seconds from when a child process is interrupted until it is killed, and a moment more.
_LAST = 1.5

_crews: weakref.WeakSet[Crew] = weakref.WeakSet()
"""Those that were started and may not have been stopped."""


class Ending:
    """Stops the workers of a pool, once, however many ask for it.

    First the calls that are under way without a worker come to their end, then each worker stops
    after what it was given.

    Args:
        crew: the pool.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._lock = threading.Lock()
        self._begun = False
        self._places: list[Place] = []
        self._left = 0
        # Ends when all workers have stopped.
        self.future: Future[None] = Future()
        _crews.add(crew)

    def begin(self, *, drain: bool, ask: bool = False) -> None:
        """Take no more calls, and let the workers end.

        Args:
            drain: what was submitted before is carried out.
            ask: what runs is asked to end.
        """
        crew = self._crew
        with self._lock:
            first, self._begun = not self._begun, True
        crew.refuse()
        if not drain:
            self._drop()
        if ask:
            gone = crew.gone()
            for place in crew.all_places():
                place.ask(gone)
        if first:
            crew.underway.when_none(self._close)

    def _drop(self) -> None:
        crew, gone = self._crew, self._crew.gone()
        crew.drop(gone)
        crew.underway.let_go(gone)
        for place in crew.all_places():
            place.drop(gone)

    def _close(self) -> None:
        closed = self._crew.close()
        self._places = list(closed)
        self._left = len(closed)
        if not closed:
            self._over()
        for place, leaving in closed.items():
            stopped = leaving or life(place, "stop")
            if leaving is None:
                place.close()
            stopped.add_done_callback(self._stopped)

    def _stopped(self, _: Future[Any]) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._over()

    def _over(self) -> None:
        _crews.discard(self._crew)
        self.future.end(None)

    def kill(self) -> None:
        """End what still runs, as the mode can."""
        crew, gone = self._crew, self._crew.gone()
        self._drop()
        for future in crew.underway.all():
            if future.stopper is not None:
                future.cancel()
            future.end(None, gone)
        for place in crew.all_places():
            place.kill(gone)

    # ------------------------------------------------------------- a block left by an error

    def abort(self) -> None:
        """Ask what runs to end, and block until it is over, or the time for that is up."""
        self.begin(drain=False, ask=True)
        try:
            self.wait(self._bound)
        except BaseException:  # Ctrl+C once more
            self.kill()
            raise

    async def abort_async(self) -> None:
        """As :meth:`abort`, awaited."""
        self.begin(drain=False, ask=True)
        try:
            await self.wait_async(self._bound)
        except BaseException:
            self.kill()
            raise

    @property
    def _bound(self) -> float:
        return self._crew.options.patience + _LAST

    # ------------------------------------------------------------- waiting

    def wait(self, timeout: float | None) -> None:
        """Block until it is over; kill what is left when the time is up."""
        if not may_block() or self._inside():
            return
        patience = self._crew.options.patience
        try:
            self.future.result(timeout)
        except WaitTimeout:
            self.kill()
            with contextlib.suppress(WaitTimeout):
                self.future.result(2 * patience)
        for place in self._places:
            place.join(patience)

    async def wait_async(self, timeout: float | None) -> None:
        """As :meth:`wait`, awaited."""
        if self._inside():
            return
        patience = self._crew.options.patience
        if not await _over_in(self.future, timeout):
            self.kill()
            await _over_in(self.future, 2 * patience)
        for place in self._places:
            if not place.join(0):
                await asyncio.to_thread(place.join, patience)

    def _inside(self) -> bool:
        """Whether a call of the pool asks, which cannot wait for its own end."""
        return any(place.here for place in self._crew.all_places())


async def _over_in(future: Future[None], timeout: float | None) -> bool:
    """Whether it ended in time. Who goes away does not cancel it."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def wake(_: Future[None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(ended.set)

    future.add_done_callback(wake)
    try:
        await asyncio.wait_for(ended.wait(), timeout)
    except TimeoutError:
        return False
    return True


@atexit.register
def _end_all() -> None:
    """End what nobody has stopped; nothing that hangs keeps the interpreter."""
    crews = list(_crews)
    for crew in crews:
        crew.ending.begin(drain=True)
    for crew in crews:
        crew.ending.wait(crew.options.patience)


def _after_fork() -> None:
    """The threads of the parent are not here."""
    for crew in list(_crews):
        crew.disown()
    _crews.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
