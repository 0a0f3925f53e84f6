"""What a call of a worker will give: one future for all modes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from functools import partial
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

from treadle.clock import interruptible
from treadle.durations import Duration, seconds
from treadle.errors import Blocking, CallCancelled, NotEncodable, WaitTimeout
from treadle.logs import get_logger
from treadle.loopthread import is_listening, may_block
from treadle.pools.told import Progress, afollow, follow

__all__ = ["Future"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_PENDING, _RUNNING, _DONE, _CANCELLED = range(4)
_new_lock = threading.Lock
# Of those that have nothing to guard any more; nobody keeps it.
_NO_LOCK = threading.Lock()
_log = get_logger("treadle.pools")
_Callback: TypeAlias = "Callable[[Future[T_co]], object]"
_Callbacks: TypeAlias = "list[_Callback[T_co]] | tuple[_Callback[T_co]] | None"


class Future(Generic[T_co]):
    """The result of a call that may not have ended. Safe to use from any thread and event loop.

    It can be awaited in every loop, and asked with :meth:`result` by code that has none::

        future = model.predict("text")
        score = future.result()  # or: await future

    To await it is to want it: cancelling what awaits it cancels the call. :meth:`aresult` only
    waits, and leaves the call alone.
    """

    # One for each call: no attribute is set that most calls do not need.
    __slots__ = (
        "__weakref__", "_callbacks", "_error", "_hearers", "_lock", "_said", "_state", "_value",
        "stopper",
    )  # fmt: skip

    def __init__(self) -> None:
        self._lock = _new_lock()
        self._state = _PENDING
        # What the call returned; where it failed, the traceback that its error came with.
        self._value: Any = None
        self._error: BaseException | None = None
        # A list of its own; or a tuple of one, which many futures share.
        self._callbacks: _Callbacks[T_co] = None
        # Asks what carries out the call to stop; False when it cannot be stopped any more.
        self.stopper: Callable[[], bool] | None = None

    def __repr__(self) -> str:
        state = ("waiting", "running", "done", "cancelled")[self._state]
        if self._state == _DONE and self._error is not None:
            state = f"failed with {type(self._error).__name__}"
        return f"<Future {state}>"

    # ------------------------------------------------------------- asking

    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._state >= _DONE

    def running(self) -> bool:
        """Whether the code of the call has begun and not ended."""
        return self._state == _RUNNING

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state == _CANCELLED

    def result(self, timeout: Duration | None = None) -> T_co:
        """What the call returned; raises what it raised.

        Args:
            timeout: to wait at most; the call goes on when it is over.

        Raises:
            WaitTimeout: it has not ended in time.
            CallCancelled: it was cancelled.
            Blocking: it has not ended and an event loop runs here; ``await`` it.
        """
        if self._state < _DONE:
            self.wait(timeout)
        if self._error is None:
            value: T_co = self._value
            return value
        try:
            self._fail()
        finally:
            del self  # see there

    async def aresult(self, timeout: Duration | None = None) -> T_co:
        """As :meth:`result`, awaited. The call goes on when the waiting is cancelled."""
        if self._state < _DONE:
            await self.await_for(timeout)
        if self._error is None:
            value: T_co = self._value
            return value
        try:
            self._fail()
        finally:
            del self  # see there

    def exception(self, timeout: Duration | None = None) -> BaseException | None:
        """What the call raised, or ``None``. Waits as :meth:`result` does.

        Raises:
            WaitTimeout: it has not ended in time.
            CallCancelled: it was cancelled.
            Blocking: it has not ended and an event loop runs here; ``await`` it.
        """
        if self._state < _DONE:
            self.wait(timeout)
        if self._state != _CANCELLED:
            return self._error
        try:
            self._fail()
        finally:
            del self  # see there

    @property
    def failure(self) -> BaseException | None:
        """What it has ended with so far instead of a value: an error, or ``CallCancelled``."""
        return self._error

    def _fail(self) -> NoReturn:
        error = self._error
        assert error is not None
        try:
            # Its own traceback, or that would grow each time it is raised.
            raise error.with_traceback(self._value)
        finally:
            # The traceback refers to this frame and to that of the caller, and must not lead
            # back to itself: what it holds would wait for the garbage collector.
            del error, self

    def wait(self, timeout: Duration | None = None) -> None:
        """Return when it has ended, in whatever way.

        Raises:
            WaitTimeout: it has not ended in time.
            Blocking: it has not ended, and an event loop runs here; or a callback waits of the
                end of a call in another process.
        """
        if self._state >= _DONE:
            return
        limit = _read(timeout)
        if not may_block():
            raise Blocking(
                "the call has not ended, and waiting for it would block the event loop that runs "
                "here; use 'await future'",
                twin="future",
            )
        if is_listening():
            raise Blocking(
                "the call has not ended, and no call of a worker in another process ends as long "
                "as the callback of one waits; use add_done_callback, or wait in another thread",
                twin="add_done_callback",
            )
        # A lock is the cheapest thing that a thread can sleep on.
        gate = threading.Lock()
        gate.acquire()

        def open_gate(_: Future[T_co]) -> None:
            gate.release()

        self.add_done_callback(open_gate)
        if interruptible(partial(gate.acquire, True), limit):
            return
        self.forget_callback(open_gate)
        if self._state < _DONE:
            raise _late(timeout)

    async def await_for(self, timeout: Duration | None = None) -> None:
        """As :meth:`wait`, awaited."""
        if self._state >= _DONE:
            return
        if timeout is None:
            await self._ended_in_loop()
            return
        try:
            async with asyncio.timeout(_read(timeout)):
                await self._ended_in_loop()
        except TimeoutError:
            if self._state < _DONE:
                raise _late(timeout) from None

    def add_done_callback(self, callback: Callable[[Future[T_co]], object]) -> None:
        """Call ``callback(future)`` when it has ended, at once when it has.

        It is called by whoever ends the call, in any thread; what it raises is logged.
        """
        if self._state < _DONE:
            # Made outside of the lock: it may be what starts a garbage collection, and what that
            # collects may cancel this very call.
            alone = [callback]
            with self._lock:
                if self._state < _DONE:
                    known = self._callbacks
                    if type(known) is list:
                        known.append(callback)
                        return
                    if known is not None:
                        alone[:0] = known
                    self._callbacks = alone
                    return
        self._tell(callback)

    @staticmethod
    def watch(
        futures: Iterable[Future[Any]], callback: Callable[[Future[Any]], object]
    ) -> tuple[int, Future[Any] | None]:
        """:meth:`add_done_callback` for each of many that has not ended.

        Returns:
            How many had ended, of which nobody is told; and the first of them that failed.
        """
        alone = (callback,)
        ended, failed = 0, None
        for one in futures:
            if one._state >= _DONE:
                ended += 1
                if one._error is not None and failed is None:
                    failed = one
                continue
            with one._lock:
                if one._state < _DONE and one._callbacks is None:
                    one._callbacks = alone
                    continue
            one.add_done_callback(callback)
        return ended, failed

    @staticmethod
    def values(futures: Iterable[Future[T]]) -> list[T]:
        """What calls returned, all of which have ended and none has failed."""
        return [one._value for one in futures]

    def forget_callback(self, callback: Callable[[Future[T_co]], object]) -> None:
        """Do not call a callback any more. Harmless when it was, or never was to be."""
        with self._lock:
            known = self._callbacks
            if known is None or callback not in known:
                return
            if type(known) is list:
                known.remove(callback)
            else:
                self._callbacks = None

    def __await__(self) -> Generator[Any, None, T_co]:
        """Wait in the running event loop. Cancelling what awaits it cancels the call."""
        if self._state < _DONE:
            yield from self._wanted().__await__()
        if self._error is None:
            value: T_co = self._value
            return value
        try:
            self._fail()
        finally:
            del self  # see there

    async def _wanted(self) -> None:
        try:
            await self._ended_in_loop()
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _ended_in_loop(self) -> None:
        """Return when it has ended."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        here = threading.get_ident()

        def wake(_: Future[T_co]) -> None:
            if threading.get_ident() == here:
                _set(ended)
                return
            try:
                loop.call_soon_threadsafe(_set, ended)
            except RuntimeError:  # the loop was closed, and with it what waited
                return

        self.add_done_callback(wake)
        try:
            await ended
        except BaseException:
            self.forget_callback(wake)
            raise

    def __reduce__(self) -> NoReturn:
        raise NotEncodable(
            "a future cannot leave the process that made it; among the arguments of a call its "
            "result goes in its place, unless unwrap_futures=False"
        )

    # ------------------------------------------------------------- progress

    @property
    def said(self) -> Progress | None:
        """The last word of the code on how far it is, by ``ctx.progress(…)``."""
        return getattr(self, "_said", None)

    def progress(self) -> Iterator[Progress]:
        """What the code says of its progress, until the call has ended.

        Starts with the last word, however late one listens; words that come faster than they are
        read are left out.

        Raises:
            Blocking: it has not ended and an event loop runs here; use :meth:`aprogress`.
        """
        return follow(self)

    def aprogress(self) -> AsyncIterator[Progress]:
        """As :meth:`progress`, for ``async for``."""
        return afollow(self)

    def listen(self, hearer: Callable[[Future[T_co]], object]) -> None:
        """Call ``hearer(future)`` at each word of the code on how far it is, in any thread."""
        with self._lock:
            self._hearers = (*getattr(self, "_hearers", ()), hearer)

    def unlisten(self, hearer: Callable[[Future[T_co]], object]) -> None:
        """Do not call it any more."""
        with self._lock:
            self._hearers = tuple(one for one in self._hearers if one is not hearer)

    # ------------------------------------------------------------- stopping

    def cancel(self) -> bool:
        """Ask the call to end.

        One that has not begun ends at once. Code that runs is stopped as its mode can: a
        coroutine is cancelled, a process is ended when it does not come back within the
        ``patience`` of its pool; a thread cannot be stopped, so it is left to itself. The future
        ends with :class:`~treadle.errors.CallCancelled`, unless the call ends otherwise first.

        Returns:
            False when it had ended already.
        """
        with self._lock:
            if self._state >= _DONE:
                return False
            stopper = self.stopper
        if stopper is not None:
            return stopper()
        return self.end_cancelled()

    # ------------------------------------------------------------- for who carries it out

    def begin(self) -> bool:
        """Say that the code begins; False when the call has ended already."""
        with self._lock:
            if self._state >= _DONE:
                return False
            self._state = _RUNNING
            return True

    def say(self, said: Progress) -> None:
        """Say how far the code is."""
        self._said = said
        for hearer in getattr(self, "_hearers", ()):
            self._tell(hearer)

    @classmethod
    def ended(cls, value: Any, error: BaseException | None = None) -> Future[Any]:
        """One that has ended when it is made; nobody waits for it, and it needs no lock."""
        future: Future[Any] = cls.__new__(cls)
        future._lock = _NO_LOCK
        future._state = _DONE
        future._value = value if error is None else error.__traceback__
        future._error = error
        future._callbacks = future.stopper = None
        return future

    def end_cancelled(self, reason: str = "the call was cancelled") -> bool:
        """End it as cancelled; False when it had ended already."""
        return self.end(None, CallCancelled(reason), _CANCELLED)

    def end(self, value: Any, error: BaseException | None = None, state: int = _DONE) -> bool:
        """Say what came of the call; False when it had ended already."""
        with self._lock:
            if self._state >= _DONE:
                return False
            if error is None:
                self._value = value
            else:
                self._value = error.__traceback__
                self._error = error
            self._state = state
            callbacks, self._callbacks = self._callbacks, None
            # It refers to what the call needed.
            self.stopper = None
        if callbacks is not None:
            for callback in callbacks:
                try:
                    callback(self)
                except Exception:  # noqa: BLE001 - see _tell, which is a call more
                    _say_failed(callback)
        return True

    def _tell(self, callback: Callable[[Future[T_co]], object]) -> None:
        try:
            callback(self)
        except Exception:  # noqa: BLE001 - the end of a call does not depend on who hears of it
            _say_failed(callback)


def _say_failed(callback: Callable[..., object]) -> None:
    _log.exception("future.callback_failed", callback=repr(callback))


def _set(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def _read(timeout: Duration | None) -> float | None:
    return None if timeout is None else seconds(timeout, "timeout")


def _late(timeout: Duration | None) -> WaitTimeout:
    return WaitTimeout(f"the call has not ended after {_read(timeout):g} s; it goes on")
