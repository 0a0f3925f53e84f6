"""Calls in other processes, one at a time in each."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from treadle.errors import TreadleError, WorkerCrashed, WorkerError, WorkerNotStarted
from treadle.faults import Fault, capture
from treadle.logs import get_logger
from treadle.pools.future import Future
from treadle.pools.places.place import Place, life
from treadle.pools.places.process.trouble import unpack_error
from treadle.pools.punctual import Begun
from treadle.pools.sites.site import Call, Channel, Ended
from treadle.pools.submission import Kind, Submission
from treadle.records import NewJob, Note

__all__ = ["Account", "ElsewhereSite", "HostPlace", "JobCall", "compact", "expanded"]

_log = get_logger("treadle.pools")
_SAID: msgspec.msgpack.Decoder[Note | bool] = msgspec.msgpack.Decoder(Note | bool)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call, as its process tells it: :class:`Ended` with the error as bytes."""

    result: bytes | None = None
    error: bytes | None = None
    fault: Fault | None = None
    undecodable: bool = False
    unsendable: bool = False
    follow_ups: tuple[NewJob, ...] = ()
    committed: bool = False
    # Seconds, as its process has measured them.
    took: float = 0.0


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE: dict[type[Any], Callable[[bytes], Any]] = {
    kind: msgspec.msgpack.Decoder(kind).decode for kind in (Call, Account)
}
T = TypeVar("T", Call, Account)


def compact(what: T) -> T | bytes:
    """A call or an account in a form that travels for less: as stores have what is in it."""
    try:
        return _ENCODE(what)
    # It came from a store that keeps everything, such as memory.
    except (TypeError, ValueError, OverflowError):
        return what


def expanded(kind: type[T], what: T | bytes) -> T:
    """What :func:`compact` was given."""
    if not isinstance(what, bytes):
        return what
    found: T = _DECODE[kind](what)
    return found


class HostPlace(Place, Protocol):
    """A place in another process."""

    def tell_stopping(self) -> None:
        """Have code that asks know that it should find a good place to end."""
        ...


class JobCall(Submission):
    """A call whose code tells of itself meanwhile.

    Args:
        call: itself.
        channel: hears what its code says.
    """

    __slots__ = (
        "_begins",
        "alone",
        "at",
        "begun",
        "channel",
        "loop",
        "taught",
        "task",
        "told",
        "watched",
    )

    def __init__(self, call: Call, channel: Channel) -> None:
        self._begins = Begun()
        super().__init__(Kind.METHOD, "run", (compact(call),), future=self._begins)
        self.task = call.name
        self.alone = call.alone
        self.channel = channel
        self.loop = asyncio.get_running_loop()
        # The process that it was given to; and whether that was told of the task for it.
        self.at: HostPlace | None = None
        self.taught = False
        self.watched = False
        self.begun = False
        # Ends when its call has, or when it should look for a process itself.
        self.told: asyncio.Future[None] = self.loop.create_future()

    def next(self) -> None:
        """Nothing is before it any more: its channel is told when its code begins.

        That may be later, when its process has to be started again; or it is told now, where it
        has to be known before.
        """
        if self.alone:
            self._has_begun()
            return
        self._begins.when_begun(partial(self.in_loop, self._has_begun))

    def in_loop(self, act: Callable[..., None], *args: Any) -> None:
        """Have something done in the loop of who waits for it: at once, or as soon as it can."""
        if asyncio._get_running_loop() is self.loop:
            act(*args)
            return
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self.loop.call_soon_threadsafe(act, *args)

    def _has_begun(self) -> None:
        if not self.begun:
            self.begun = True
            self.channel.started()

    def tell(self) -> None:
        """Wake who waits for it. In the loop."""
        if not self.told.done():
            self.told.set_result(None)

    async def end(self) -> None:
        """Return when its call has ended, in whatever way. It has a process."""
        while not self.future.done():
            await self.word()

    async def word(self) -> None:
        """Return when its call may have ended, or have no process any more."""
        if self.told.done():
            self.told = self.loop.create_future()
        await self.told

    def said(self, body: bytes) -> None:
        """Hear what its code says."""
        word = _SAID.decode(body)
        if isinstance(word, bool):
            # At once: what it is about is on its way to the store.
            self.channel.committing(word)
            return
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody listens
            self.loop.call_soon_threadsafe(self.channel.note, word)


class ElsewhereSite:
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
        self._places: list[HostPlace] = []
        self._idle: list[HostPlace] = []
        # Those that were let go. They end by themselves, as long as the loop runs.
        self._leaving: list[HostPlace] = []
        # Those that no process has yet.
        self._waiting: deque[JobCall] = deque()
        self._watch: asyncio.Task[None] | None = None

    def _most(self) -> int:
        """How many processes there may be now."""
        raise NotImplementedError

    def _made(self, index: int) -> HostPlace:
        """One more."""
        raise NotImplementedError

    async def run(self, call: Call, channel: Channel) -> Ended:
        """Run a call to its end. It has begun once it has a process."""
        job = JobCall(call, channel)
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
        if _is_unknown(job):
            return await self._taught(job, call)
        return self._told(job)

    async def _carried_out(self, job: JobCall) -> None:
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

    async def _waited(self, job: JobCall) -> None:
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

    def _begin(self, place: HostPlace, job: JobCall) -> None:
        """Give a call to a process that has nothing else to do."""
        job.next()
        self._give(place, job)

    def _give(self, place: HostPlace, job: JobCall) -> None:
        self._assign(place, job)
        place.submit(job)

    def _assign(self, place: HostPlace, job: JobCall) -> None:
        """A call is given to a process now."""
        job.at = place
        place.total += 1
        if not job.watched:
            job.watched = True
            job.future.add_done_callback(partial(self._heard, job))

    def _heard(self, job: JobCall, _: Any) -> None:
        """A call has ended. In whatever thread hears it."""
        job.in_loop(self._over, job)

    def _over(self, job: JobCall) -> None:
        # At once, so that its process has the next one before anybody else is woken.
        if job.at is not None and (job.taught or not _is_unknown(job)):
            self._free(job.at)
        job.tell()

    async def _taught(self, job: JobCall, call: Call) -> Ended:
        """What comes of a call of a task that was declared after the app was loaded there.

        Its process, which is still kept for it, is told of the task and given the call again.
        """
        place, again = job.at, JobCall(call, job.channel)
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

    def _told(self, job: JobCall) -> Ended:
        """What came of a call that has ended."""
        future: Future[Account | bytes | None] = job.future
        error, ending = future.failure, job.channel.ending
        if error is None:
            account = future.result()
            if account is None:
                return Ended(error=WorkerError(f"{self._name}: the task stays unknown"))
            told = expanded(Account, account)
            self._took(job, told.took)
            return _read(told)
        if ending is not None:
            return Ended(error=ending)
        if isinstance(error, WorkerNotStarted):
            # Its process could not be started anew: its code has not run, as with the first one.
            return Ended(error=error, undecodable=True)
        return Ended(error=error, fault=capture(error), crashed=isinstance(error, WorkerCrashed))

    def _took(self, job: JobCall, seconds: float) -> None:
        """Hear how long the code of a call has run."""

    # ------------------------------------------------------------- processes

    async def _started(self) -> HostPlace:
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

    def _let_go(self, place: HostPlace) -> None:
        self._places.remove(place)
        self._leaving = [*(one for one in self._leaving if not one.join(0)), place]
        place.close()

    def _free(self, place: HostPlace) -> None:
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


def _is_unknown(job: JobCall) -> bool:
    """Whether a call has ended because nobody has told its process what it is."""
    return job.future.failure is None and job.future.result() is None


def _read(account: Account) -> Ended:
    error = None if account.error is None else unpack_error(account.error, "its process")
    return Ended(
        result=account.result,
        error=error,
        fault=account.fault,
        undecodable=account.undecodable,
        unsendable=account.unsendable,
        follow_ups=account.follow_ups,
        committed=account.committed,
    )
