"""Calls in other processes, one at a time in each."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from treadle.errors import TreadleError, WorkerCrashed, WorkerError, WorkerNotStarted
from treadle.faults import capture
from treadle.logs import get_logger
from treadle.pools.future import Future
from treadle.pools.places.place import life
from treadle.pools.sites.account import Account, ended, expanded
from treadle.pools.sites.jobcall import HostPlace, JobCall
from treadle.pools.sites.site import Call, Channel, Ended
from treadle.pools.submission import Kind, Submission

__all__ = ["ElsewhereSite"]

_log = get_logger("treadle.pools")
P = TypeVar("P", bound=HostPlace)


class ElsewhereSite(Generic[P]):
    """Runs each call whole in another process: its decoding, its dependencies, its code.

    A process starts when none is idle and stays. One that dies is the end of the call that it ran,
    told at once, and of nothing else.

    Args:
        name: of the hosts, for messages.
        lesson: what a process has to be told to run a task that it does not know.
        patience: seconds that code has to end once it was asked to.
        stopping: set when long work should find a good place to end.
    """

    def __init__(
        self,
        name: str,
        *,
        lesson: Callable[[str], tuple[Any, ...]],
        patience: float,
        stopping: asyncio.Event,
    ) -> None:
        self.abandoned = 0
        self._name = name
        self._lesson = lesson
        self._patience = patience
        self._stopping = stopping
        self._numbers = 0
        self._places: list[P] = []
        self._idle: list[P] = []
        # Those that were let go. They end by themselves, as long as the loop runs.
        self._leaving: list[P] = []
        # Those that no process has yet.
        self._waiting: deque[JobCall[P]] = deque()
        self._watch: asyncio.Task[None] | None = None

    def _most(self) -> int:
        """How many processes there may be now."""
        raise NotImplementedError

    def _made(self, index: int) -> P:
        """One more."""
        raise NotImplementedError

    async def run(self, call: Call, channel: Channel) -> Ended:
        """Run a call to its end. It has begun once it has a process."""
        job = JobCall[P](call, channel)
        try:
            await self._carried_out(job)
        except asyncio.CancelledError as asked:
            if job.at is None:
                raise
            # The code is asked to end; when it has, is for its process to say, or its death.
            job.at.interrupt(job, channel.ending or asked)
            await job.end()
        except (TreadleError, OSError) as error:
            # It may be another day: a module is missing, or memory.
            _log.error("process.not_started", task=call.name, error=str(error))
            return Ended(error=error, undecodable=True)
        if job.is_unknown:
            return await self._taught(job, call)
        return self._told(job)

    async def _carried_out(self, job: JobCall[P]) -> None:
        """Return when a call has ended, which begins when a process is free."""
        while not job.future.done():
            if job.at is not None:
                await job.word()
            elif self._idle:
                self._begin(self._idle.pop(), job)
            elif len(self._places) < self._most():
                self._begin(await self._started(), job)
            else:
                await self._waited(job)

    async def _waited(self, job: JobCall[P]) -> None:
        """Return when a call that waits has ended, or may look for a process itself."""
        if job.told.done():
            job.told = job.loop.create_future()
        self._waiting.append(job)
        try:
            await job.told
        except asyncio.CancelledError:
            if not job.told.cancelled() and job.at is None:
                self._look_again()  # told for nothing: another one may have the room
            raise

    def _begin(self, place: P, job: JobCall[P]) -> None:
        """Give a call to a process that has nothing else to do."""
        job.next()
        self._give(place, job)

    def _give(self, place: P, job: JobCall[P]) -> None:
        self._assign(place, job)
        place.submit(job)

    def _assign(self, place: P, job: JobCall[P]) -> None:
        """A call is given to a process now."""
        job.at = place
        place.total += 1
        if not job.watched:
            job.watched = True
            job.future.add_done_callback(partial(self._heard, job))

    def _heard(self, job: JobCall[P], _: Any) -> None:
        """A call has ended. In whatever thread hears it."""
        job.in_loop(self._over, job)

    def _over(self, job: JobCall[P]) -> None:
        # At once, so that its process has the next one before anybody else is woken.
        if job.at is not None and (job.taught or not job.is_unknown):
            self._free(job.at)
        job.tell()

    async def _taught(self, job: JobCall[P], call: Call) -> Ended:
        """What comes of a call of a task that was declared after the app was loaded there.

        Its process, which is still kept for it, is told of the task and given the call again.
        """
        place, again = job.at, JobCall[P](call, job.channel)
        assert place is not None, "it was carried out"
        again.taught = True
        try:
            lesson = Submission(Kind.METHOD, "learn", self._lesson(call.name))
            place.total += 1
            place.submit(lesson)
            await lesson.future.aresult()
            self._give(place, again)
        except Exception as error:  # noqa: BLE001 - whatever the import of a module raises
            return Ended(error=error, undecodable=True)
        finally:
            if again.at is None:
                self._free(place)
        try:
            await again.end()
        except asyncio.CancelledError as asked:
            place.interrupt(again, job.channel.ending or asked)
            await again.end()
        return self._told(again)

    def _told(self, job: JobCall[P]) -> Ended:
        """What came of a call that has ended."""
        future: Future[Account | bytes | None] = job.future
        error, ending = future.failure, job.channel.ending
        if error is None:
            account = future.result()
            if account is None:
                return Ended(error=WorkerError(f"{self._name}: the task stays unknown"))
            told = expanded(Account, account)
            self._took(job, told.took)
            return ended(told)
        if ending is not None:
            return Ended(error=ending)
        if isinstance(error, WorkerNotStarted):
            # Its process could not be started anew: its code has not run, as with the first one.
            return Ended(error=error, undecodable=True)
        return Ended(error=error, fault=capture(error), crashed=isinstance(error, WorkerCrashed))

    def _took(self, job: JobCall[P], seconds: float) -> None:
        """Hear how long the code of a call has run."""

    # ------------------------------------------------------------- processes

    async def _started(self) -> P:
        place = self._made(self._numbers)
        self._numbers += 1
        self._places.append(place)
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_for_stop(), name="treadle-stopping")
        try:
            await life(place, "start").aresult()
        except BaseException:
            self._let_go(place)
            raise
        finally:
            # There is room again, or it is known now how much there is.
            self._look_again()
        return place

    def _let_go(self, place: P) -> None:
        self._places.remove(place)
        self._leaving = [*(one for one in self._leaving if not one.join(0)), place]
        place.close()

    def _free(self, place: P) -> None:
        while self._waiting:
            job = self._waiting.popleft()
            if not job.told.done():
                self._begin(place, job)
                return
        self._idle.append(place)

    def _look_again(self) -> None:
        """Have those that wait look whether they may start a process."""
        room = self._most() - len(self._places) if self._waiting else 0
        while room > 0 and self._waiting:
            job = self._waiting.popleft()
            if not job.told.done():
                job.tell()
                room -= 1

    async def _watch_for_stop(self) -> None:
        await self._stopping.wait()
        for place in self._places:
            place.tell_stopping()

    async def aclose(self) -> None:
        """End the processes."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        places, self._places = self._places, []
        for place in places:
            ended = life(place, "stop")
            place.close()
            try:
                await ended.aresult(self._patience)
            except TimeoutError:
                place.kill(WorkerCrashed("it did not stop in time"))
            except Exception:  # noqa: BLE001 - it is gone all the same
                _log.exception("worker.stop_failed", worker=self._name)
        leaving, self._leaving = self._leaving, []
        for place in leaving:
            if not await asyncio.to_thread(place.join, self._patience):
                place.kill(WorkerCrashed("it did not start and stop in time"))
        for place in (*places, *leaving):
            await asyncio.to_thread(place.join, self._patience * 2)
