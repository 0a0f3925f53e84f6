"""Calls in other processes, one at a time in each."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from treadle.errors import TreadleError, WorkerCrashed, WorkerError
from treadle.faults import Fault, capture
from treadle.logs import get_logger
from treadle.pools.future import Future
from treadle.pools.places.place import Place, life
from treadle.pools.places.process.trouble import unpack_error
from treadle.pools.sites.site import Call, Channel, Ended
from treadle.pools.submission import Kind, Submission
from treadle.records import NewJob, Note

__all__ = ["Account", "ElsewhereSite", "HostPlace", "compact", "expanded"]

_log = get_logger("treadle.pools")
_SAID: msgspec.msgpack.Decoder[Note | bool] = msgspec.msgpack.Decoder(Note | bool)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call, as its process tells it: :class:`Ended` with the error as bytes."""

    result: bytes | None = None
    error: bytes | None = None
    fault: Fault | None = None
    undecodable: bool = False
    unsendable: bool = False
    # It did not run: nobody has told the process what it is.
    unknown: bool = False
    follow_ups: tuple[NewJob, ...] = ()
    committed: bool = False


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


class _JobCall(Submission):
    """A call whose code tells of itself meanwhile."""

    __slots__ = ("said",)

    def __init__(self, call: Call, channel: Channel) -> None:
        super().__init__(Kind.METHOD, "run", (compact(call),))
        loop = asyncio.get_running_loop()

        def said(body: bytes) -> None:
            word = _SAID.decode(body)
            if isinstance(word, bool):
                # At once: what it is about is on its way to the store.
                channel.committing(word)
                return
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody listens
                loop.call_soon_threadsafe(channel.note, word)

        self.said = said


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
        self._waiting: deque[asyncio.Future[HostPlace | None]] = deque()
        self._watch: asyncio.Task[None] | None = None

    def _most(self) -> int:
        """How many processes there may be now."""
        raise NotImplementedError

    def _made(self, index: int) -> HostPlace:
        """One more."""
        raise NotImplementedError

    async def run(self, call: Call, channel: Channel) -> Ended:
        """Run a call to its end. It has begun once it has a process."""
        try:
            place = await self._taken()
        except (TreadleError, OSError) as error:
            # It may be another day: a module is missing, or memory.
            _log.error("process.not_started", task=call.name, error=str(error))
            return Ended(error=error, undecodable=True)
        submission = _JobCall(call, channel)
        channel.started()
        try:
            ended = await self._ended(place, submission, channel)
            if ended is None:
                ended = await self._taught(place, call.name)
            if ended is None:
                submission = _JobCall(call, channel)
                ended = await self._ended(place, submission, channel)
            return ended or Ended(error=WorkerError(f"{self._name}: {call.name} stays unknown"))
        finally:
            if submission.future.done():
                self._free(place)
            else:
                loop = asyncio.get_running_loop()
                submission.future.add_done_callback(partial(self._over, loop, place))

    async def _ended(
        self, place: HostPlace, submission: _JobCall, channel: Channel
    ) -> Ended | None:
        """What came of a call; ``None`` when its process does not know the task."""
        place.total += 1
        place.submit(submission)
        future: Future[Account | bytes] = submission.future
        try:
            await _settled(future)
        except asyncio.CancelledError as asked:
            # The code is asked to end; when it has, is for its process to say, or its death.
            place.interrupt(submission, channel.ending or asked)
            await _settled(future)
        error = future.failure
        if error is None:
            account = expanded(Account, future.result())
            return None if account.unknown else _told(account)
        if channel.ending is not None:
            return Ended(error=channel.ending)
        return Ended(error=error, fault=capture(error), crashed=isinstance(error, WorkerCrashed))

    async def _taught(self, place: HostPlace, name: str) -> Ended | None:
        """Tell a process of a task that was declared after its app was loaded there.

        Returns:
            What comes of the call when that cannot be.
        """
        try:
            lesson = Submission(Kind.METHOD, "learn", self._lesson(name))
            place.total += 1
            place.submit(lesson)
            await lesson.future.aresult()
        except Exception as error:  # noqa: BLE001 - whatever the import of a module raises
            return Ended(error=error, undecodable=True)
        return None

    # ------------------------------------------------------------- processes

    async def _taken(self) -> HostPlace:
        while not self._idle:
            if len(self._places) < self._most():
                return await self._started()
            turn: asyncio.Future[HostPlace | None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                place = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._passed_by(turn.result())
                raise
            if place is not None:
                return place
        return self._idle.pop()

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
        place.close()

    def _over(self, loop: asyncio.AbstractEventLoop, place: HostPlace, _: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(self._free, place)

    def _free(self, place: HostPlace) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(place)
                return
        self._idle.append(place)

    def _passed_by(self, place: HostPlace | None) -> None:
        if place is not None:
            self._free(place)
        else:
            self._look_again()

    def _look_again(self) -> None:
        """Have those that wait look whether they may start a process."""
        room = self._most() - len(self._places) if self._waiting else 0
        while room > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
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
        for place in places:
            await asyncio.to_thread(place.join, self._patience * 2)


async def _settled(future: Future[Any]) -> None:
    """Return when a future has ended, in whatever way."""
    with contextlib.suppress(Exception):
        await future.aresult()


def _told(account: Account) -> Ended:
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
