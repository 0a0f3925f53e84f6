"""A lock for everything that shares the store of an app: ``with app.lock("reports") as fence``."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, cast

from treadle.durations import Duration, seconds
from treadle.errors import (
    InvalidOption,
    LeaseLost,
    LimitTimeout,
    LockTimeout,
    NotOpen,
    Unsupported,
    UsageError,
)
from treadle.guards import refuse_unknown
from treadle.locks.holding import Holding
from treadle.locks.line import Line, hold_of
from treadle.policies.drive import run_async
from treadle.policies.effects import Host
from treadle.policies.taking import taking
from treadle.ports import Feature

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Unpack

    from treadle.core import Core

__all__ = ["Lock", "LockOptions"]

T = TypeVar("T")
_LONGEST = 200


class LockOptions(TypedDict, total=False):
    """What ``app.lock(name, …)`` takes besides the name."""

    # After how long without renewal somebody else can have it; 30 seconds by default.
    lease: Duration
    # How long to wait for it at the most; without end by default.
    timeout: Duration | None
    # Renew it inside of a block; by default.
    renew: bool


class Lock:
    """At most one holder at a time, in all threads, processes and machines of an app.

    As a block it is renewed until the block is left, and its value is the *fence*, a number that is
    larger with each grant of any lock::

        with app.lock("reports") as fence:
            store.write(report, fence=fence)  # which refuses a smaller one than it has seen

    In an event loop: ``async with``, and ``aacquire``, ``aextend``, ``arelease``. Without a block
    nothing is renewed: :meth:`extend` before the lease has ended, and :meth:`release`. Who comes
    first is served first. What is locked is the name; a handle is one holder, and other threads and
    tasks make their own.

    Args:
        core: of the app.
        name: 1 to 200 characters.
        options: see :class:`LockOptions`.
    """

    def __init__(self, core: Core, name: str, **options: Unpack[LockOptions]) -> None:
        refuse_unknown("app.lock()", options, tuple(LockOptions.__annotations__), {"ttl": "lease"})
        timeout = options.get("timeout")
        self.name = _checked(name)
        self.lease = _lease(options.get("lease", 30.0))
        self._core = core
        self._timeout = None if timeout is None else seconds(timeout, "timeout")
        self._renew = options.get("renew", True)
        # Locked from the request to the release.
        self._used = threading.Lock()
        self._holding: Holding | None = None
        self._interruption: _Interruption | None = None

    def __repr__(self) -> str:
        return f"<Lock {self.name!r}, {'held' if self.held else 'not held'}>"

    # ------------------------------------------------------------- what it knows

    @property
    def held(self) -> bool:
        """Whether this handle holds it for certain. Asks nobody: the local clock says it."""
        return self._holding is not None and self._holding.held

    @property
    def fence(self) -> int:
        """The number of the grant: larger than that of every grant before it.

        Raises:
            NotOpen: this handle has not acquired it.
        """
        return self._mine("fence").fence

    def check(self) -> None:
        """Return while it is held. For long plain code, which cannot be interrupted.

        Raises:
            LeaseLost: its lease ended before it was renewed.
            NotOpen: this handle has not acquired it.
        """
        self._mine("check()").check()

    # ------------------------------------------------------------- verbs

    async def aacquire(self, timeout: Duration | None = None) -> int:
        """Wait for it, and hold it for its lease. The fence. See :meth:`acquire`."""
        return (await self._acquire(timeout)).fence

    def acquire(self, timeout: Duration | None = None) -> int:
        """Wait for it, and hold it for its lease, or until it is extended or released.

        Args:
            timeout: seconds to wait at the most, 0 to ask once; by default that of the handle.

        Returns:
            The fence.

        Raises:
            LockTimeout: somebody else had it all the time.
            UsageError: this handle holds it, or waits for it, already.
            Unsupported: the backend has no locks.
            BackendError: the store did not answer.
        """
        return self._call(lambda: self.aacquire(timeout), "acquire")

    async def aextend(self, lease: Duration | None = None) -> None:
        """Have its lease end later. See :meth:`extend`."""
        await self._mine("aextend()").extend(None if lease is None else _lease(lease))

    def extend(self, lease: Duration | None = None) -> None:
        """Have its lease end ``lease`` seconds from now; by default those it was acquired with.

        Raises:
            LeaseLost: it had ended, and somebody else may have the lock.
            NotOpen: this handle has not acquired it.
            BackendError: the store did not answer.
        """
        return self._call(lambda: self.aextend(lease), "extend")

    async def arelease(self) -> None:
        """Let others have it. See :meth:`release`."""
        holding = self._mine("arelease()")
        self._holding = None
        try:
            await holding.release()
        finally:
            self._used.release()

    def release(self) -> None:
        """Let others have it. When the store is away, they have to wait for the end of the lease.

        Raises:
            LeaseLost: it was lost before, so that what was done since was done without it.
            NotOpen: this handle has not acquired it.
        """
        return self._call(self.arelease, "release")

    # ------------------------------------------------------------- as a block

    def __enter__(self) -> int:
        return self._call(self._enter, "__enter__", "async with app.lock(…)")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._holding is not None:  # the block may have released it
            with suppress(*_said_by_log(error)):
                self.release()

    async def __aenter__(self) -> int:
        interruption = _Interruption()
        fence = await self._enter(interruption)
        self._interruption = interruption
        return fence

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        holding, interruption, self._interruption = self._holding, self._interruption, None
        interrupted = interruption is not None and interruption.is_the_reason(error)
        if holding is None:  # the block has released it
            return
        with suppress(*_said_by_log(error)):
            await self.arelease()
        if interrupted:
            raise holding.loss() from error

    # ------------------------------------------------------------- steps

    async def _enter(self, interruption: _Interruption | None = None) -> int:
        holding = await self._acquire(None)
        holding.keep(renew=self._renew, lost=interruption or _nothing)
        return holding.fence

    async def _acquire(self, timeout: Duration | None) -> Holding:
        most = self._timeout if timeout is None else seconds(timeout, "timeout")
        self._refuse_without_locks()
        if not self._used.acquire(blocking=False):
            raise UsageError(
                f"this handle of lock {self.name!r} is in use: it is held or waited for by it; "
                f"other code makes its own with app.lock({self.name!r}), and a lock cannot be "
                "taken twice"
            )
        try:
            self._holding = await self._take(most)
        except BaseException:
            self._used.release()
            raise
        return self._holding

    async def _take(self, most: float | None) -> Holding:
        line = Line(self._core, self.name, self.lease)
        steps = taking(f"lock {self.name!r}", hold_of(self.name), most)
        try:
            permit, _ = await run_async(steps, cast("Host", line))
        except LimitTimeout:
            raise LockTimeout(
                f"lock {self.name!r} was not free within {most:g} s", name=self.name
            ) from None
        finally:
            await line.aclose()
        return Holding(self._core, self.name, permit, lease=self.lease, sent=line.sent)

    def _refuse_without_locks(self) -> None:
        backend = self._core.backend()
        if Feature.SHARED not in backend.features:
            raise Unsupported(
                f"{backend.url} does not serve 'shared', which app.lock() needs; memory://, "
                "sqlite://, redis:// and postgresql:// do",
                backend=backend.url,
                feature=Feature.SHARED.value,
            )

    def _mine(self, what: str) -> Holding:
        if self._holding is None:
            raise NotOpen(
                f"{what} of lock {self.name!r}: this handle has not acquired it; use "
                "'with app.lock(…)', or acquire() first"
            )
        return self._holding

    def _call(
        self, verb: Callable[[], Coroutine[Any, Any, T]], name: str, twin: str | None = None
    ) -> T:
        return self._core.call(verb, f"Lock.{name}", twin or f"lock.a{name}")


class _Interruption:
    """Ends the block of a task whose lock was lost, as ``asyncio.timeout`` ends one."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "async with is for tasks"
        self._task = task
        self._before = task.cancelling()
        self._done = False

    def __call__(self) -> None:
        self._done = True
        self._task.cancel("the lock was lost")

    def is_the_reason(self, error: BaseException | None) -> bool:
        """Whether the block was left because of it, and not because of another cancellation."""
        if not self._done:
            return False
        left = self._task.uncancel()
        return left <= self._before and isinstance(error, asyncio.CancelledError)


def _said_by_log(error: BaseException | None) -> tuple[type[LeaseLost], ...]:
    """What is not raised at the end of a block: what the block raised itself says more."""
    return () if error is None else (LeaseLost,)


def _nothing() -> None:
    """Plain code cannot be interrupted: ``check()`` and ``held`` tell it."""


def _checked(name: Any) -> str:
    if isinstance(name, str) and 0 < len(name) <= _LONGEST and name.isprintable():
        return name
    raise InvalidOption(
        f"{name!r} is not the name of a lock; give 1 to {_LONGEST} characters that can be seen, "
        "such as 'reports' or 'account:42'",
        option="name",
        value=name,
    )


def _lease(value: Duration) -> float:
    lease = seconds(value, "lease")
    if lease > 0:
        return lease
    raise InvalidOption("lease=0: a lock is held for a time", option="lease", value=value)
