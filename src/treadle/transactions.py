"""Rows of the caller in one commit with jobs (``app.connect``) and ends (``ctx.transaction``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from treadle.errors import Blocking, NotOpen, Unsupported, UsageError
from treadle.loopthread import may_block
from treadle.ports import Feature, Transactions, Unit, routed
from treadle.records import NewJob

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["Transaction", "check_follow_ups", "transactions_of"]

_Error = type[BaseException] | None


def transactions_of(core: Core, who: str, queue: str | None = None) -> Transactions:
    """The part of the backend that shares transactions.

    Args:
        who: needs it, for the message.
        queue: whose backend it has to be, where there are several.

    Raises:
        Unsupported: it has no such part.
    """
    backend = core.backend()
    several = routed(backend)
    if several is not None and queue is not None:
        backend = several.parts[several.route(queue)]
    if Feature.TRANSACTIONS not in backend.features:
        raise Unsupported(
            f"{backend.url} does not serve 'transactions', which {who} needs; sqlite:// and "
            "postgresql:// do",
            backend=backend.url,
            feature=Feature.TRANSACTIONS.value,
        )
    return cast("Transactions", backend)


def check_follow_ups(core: Core, queue: str, jobs: Sequence[NewJob]) -> None:
    """Return when what follows a job can be committed with its end.

    Raises:
        Unsupported: some of it is for another backend.
    """
    several = routed(core.backend())
    for job in jobs if several is not None else ():
        assert several is not None
        home, other = several.route(queue), several.route(job.queue)
        if home != other:
            raise Unsupported(
                f"ctx.transaction(): the follow-up of task {job.task!r} goes to backend {other!r} "
                f"({several.parts[other].url}), whose jobs are not in the commit of backend "
                f"{home!r} ({several.parts[home].url}); enqueue it in a follow-up of this job, "
                f"or route queue {job.queue!r} to {home!r}",
                backend=several.parts[other].url,
                feature=Feature.TRANSACTIONS.value,
            )


class Transaction:
    """A transaction of the store for rows of your own: ``with`` or ``async with``.

    The block is given a connection, commits when it is left, and rolls back when it raises.

    Args:
        core: whose store.
        limit: seconds that it may take.
        name: of what made it, for messages.
        queue: of the job that it ends.
        ending: called before the commit, adds what ends with it.
        outcome: told before the commit that it comes, and after it whether it has.
    """

    def __init__(
        self,
        core: Core,
        limit: float,
        name: str,
        *,
        queue: str | None = None,
        ending: Callable[[Unit], None] = lambda _: None,
        outcome: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._core = core
        self._limit = limit
        self._name = name
        self._queue = queue
        self._ending = ending
        self._outcome = outcome
        self._unit: Unit | None = None
        self._block: AbstractContextManager[Unit] | None = None
        self._ablock: AbstractAsyncContextManager[Unit] | None = None

    def _opened(self) -> Transactions:
        if self._unit is not None:
            raise UsageError(f"{self._name} gives one transaction; call it again for another")
        return transactions_of(self._core, self._name, self._queue)

    def _opens(self, unit: Unit) -> Any:
        self._unit = unit
        return unit.connection

    def _left(self) -> Unit:
        if self._unit is None:
            raise NotOpen(f"{self._name} was not entered")
        return self._unit

    def _prepare(self, error: BaseException | None) -> bool:
        """Add what ends with the commit; whether there is one to come."""
        if error is not None:
            return False
        self._ending(self._left())
        self._outcome(True)
        return True

    def __enter__(self) -> Any:
        if not may_block():
            raise Blocking(
                f"'with {self._name}' would block the event loop that runs here; use "
                f"'async with {self._name}'",
                twin="async with",
            )
        self._block = self._opened().transaction(self._limit)
        return self._opens(self._block.__enter__())

    def __exit__(
        self, kind: _Error, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        unit, block = self._left(), self._block
        assert block is not None
        try:
            tried = self._prepare(error)
        except BaseException as refused:
            block.__exit__(type(refused), refused, refused.__traceback__)
            raise
        try:
            return block.__exit__(kind, error, trace)
        finally:
            if tried:
                self._told(unit)

    def _told(self, unit: Unit) -> None:
        self._outcome(unit.committed)
        if unit.committed and unit.fates:
            self._core.hear(unit.fates)

    async def __aenter__(self) -> Any:
        self._ablock = self._opened().atransaction(self._limit)
        return self._opens(await self._ablock.__aenter__())

    async def __aexit__(
        self, kind: _Error, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        unit, block = self._left(), self._ablock
        assert block is not None
        try:
            tried = self._prepare(error)
        except BaseException as refused:
            await block.__aexit__(type(refused), refused, refused.__traceback__)
            raise
        try:
            return await block.__aexit__(kind, error, trace)
        finally:
            if tried:
                self._told(unit)
