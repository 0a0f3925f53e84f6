"""The life of workers that are lent: started, asked for their health, restarted, stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from treadle.clock import Clock, Timer
from treadle.errors import WorkerError, WorkerStopped
from treadle.logs import get_logger
from treadle.pools.future import Future
from treadle.pools.member import Member, Phase, is_well, taken
from treadle.pools.options import PoolOptions
from treadle.pools.places.make import Maker
from treadle.pools.places.place import Place, life
from treadle.pools.starting import begin_step, late

__all__ = ["Upkeep"]

_log = get_logger("treadle.pools")


class Upkeep:
    """Does what takes time for the workers of a staff, and what is put off, until it is closed.

    It lives in the event loop in which it was made. Nothing that a worker raises ends more than
    the step in which it did.

    Args:
        name: of the workers, for messages.
        options: mode, times.
        clock: paces the starts.
        welcome: told a worker that is ready for its next job.
        failed: told one that could not be started or restarted, and why.
    """

    def __init__(
        self,
        name: str,
        options: PoolOptions,
        clock: Clock,
        *,
        welcome: Callable[[Member], None],
        failed: Callable[[Member, WorkerError], None],
    ) -> None:
        self._name = name
        self._options = options
        self._clock = clock
        self._welcome = welcome
        self._failed = failed
        self._maker = Maker(options, clock, loop=asyncio.get_running_loop())
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[Timer] = set()
        # Places in which a worker did not start in time.
        self._lost: list[Place] = []
        self._closed = False

    # ------------------------------------------------------------- steps

    async def start(self, member: Member) -> None:
        """Start a worker, in a place that it is made if it has none.

        Raises:
            WorkerError: it could not be, which was told to ``failed`` before.
        """
        member.phase = Phase.AWAY
        try:
            if member.place is None:
                member.place = self._maker.make(member.plan, member.index)
            await self._in_time(member, "start")
        except WorkerError as error:
            self._failed(member, error)
            raise
        except BaseException:
            member.phase = Phase.RESTING
            raise
        self._welcome(member)

    async def start_each(self, members: Iterable[Member]) -> None:
        """Start workers one after another, with the delay between them.

        Raises:
            WorkerError: one could not be; those after it are not started.
        """
        for number, member in enumerate(members):
            if number and self._options.start_delay:
                await self._clock.sleep(self._options.start_delay)
            await self.start(member)

    async def look_after(self, member: Member) -> None:
        """Restart a worker if it is to be or is not well; it has no jobs meanwhile."""
        place = member.place
        assert place is not None, "a worker that was ready has a place"
        try:
            if member.restart or not await is_well(place):
                await self._in_time(member, "restart")
                member.restarts += 1
                member.jobs = 0
        except WorkerError as error:
            await self._leave(member)
            self._failed(member, error)
        else:
            self._welcome(member)

    async def dismiss(self, member: Member) -> None:
        """Stop a worker and end its place, if it has one."""
        place = member.place
        if place is None:
            return
        await self._leave(member)
        place.close()
        patience = self._options.patience
        if not place.join(0) and not await asyncio.to_thread(place.join, patience):
            place.kill(self.gone())

    def gone(self) -> WorkerStopped:
        """What to say of workers that there are no more."""
        return WorkerStopped(f"{self._name} was stopped", worker=self._name)

    async def _in_time(self, member: Member, step: str) -> None:
        """Start or restart a worker; a place in which that takes too long is given up."""
        place, limit = member.place, self._options.start_timeout
        assert place is not None, "it was made for this"

        def overdue(taken: Future[Any]) -> None:
            assert limit is not None, "only then is there a time"
            error = late(self._name, step, limit)
            member.place = None
            self._lost.append(place)
            place.kill(error)
            taken.end(None, error)

        await taken(begin_step(place, step, self._clock, limit, overdue), step)
        member.started = self._clock.now()

    async def _leave(self, member: Member) -> None:
        """Stop a worker; what it raises is said and changes nothing."""
        if member.place is None:
            return
        patience = self._options.patience
        stopped = life(member.place, "stop")
        late = TimeoutError(f"stop() took longer than {patience:g} s")
        timer = self._clock.call_later(patience, lambda: stopped.end(None, late))
        try:
            await stopped
        except Exception as error:  # noqa: BLE001
            _log.warning("worker.stop_failed", worker=self._name, index=member.index,
                         error=repr(error))  # fmt: skip
        finally:
            timer.cancel()

    # ------------------------------------------------------------- in the background

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        """Do something after a while, unless it is closed by then."""

        def fire() -> None:
            self._timers.discard(timer)
            if not self._closed:
                then()

        timer = self._clock.call_later(seconds, fire)
        self._timers.add(timer)

    def spawn(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have a step taken; its end waits for it, and whoever else wants to."""
        task = asyncio.get_running_loop().create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it is told; nobody may

    async def aclose(self, members: Iterable[Member]) -> None:
        """Stop workers, once the steps under way have ended or had their time."""
        self._closed = True
        for timer in self._timers:
            timer.cancel()
        if self._tasks:
            # A start that does not end is left to the end of its place.
            await asyncio.wait(self._tasks, timeout=self._options.patience)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(self.dismiss(member) for member in members))
        for place in self._lost:
            await asyncio.to_thread(place.join, 0.1)
