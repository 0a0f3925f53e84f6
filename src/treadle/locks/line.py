"""Standing in line for a lock: asked again when it may be one's turn."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from treadle.errors import BackendError
from treadle.logs import get_logger
from treadle.ports import Feature, Granted, Shared, Ticket, Wait
from treadle.records import Ask, Hold

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.ports import Backend

__all__ = ["RELEASED", "Line", "hold_of"]

RELEASED = "lock.released"
"""The event that lets those in line know of a release at once."""
_LOOK = 1.0
"""Seconds after which who waits asks again without having heard of a release: the holder may have
died, and events are best effort. A ticket lasts several times as long."""
_PLACE = 0.05
"""Seconds by which a store puts off whoever is not at the head, for each place in line."""
_log = get_logger("treadle.locks")
_undoing: set[asyncio.Task[None]] = set()
"""What goes on after its caller was cancelled; the loop holds tasks only weakly."""


def hold_of(name: str) -> tuple[Ask, ...]:
    """What a lock is to the store. No limit has ``@`` in its name, so none can be one."""
    return (Hold(key=f"@lock:{name}", slots=1),)


class Line:
    """One request for a lock, as the host of :func:`~treadle.policies.taking.taking`.

    The store keeps the line, first come first served. It is asked once in the uncontended case. Who
    has to wait listens for releases, and asks again when as many were heard as there were others
    before it, so a long line does not ask at each of them.

    Args:
        core: of the app.
        name: of the lock.
        lease: seconds.
    """

    def __init__(self, core: Core, name: str, lease: float) -> None:
        self.clock = core.clock
        # When the last request was sent, by the monotonic clock.
        self.sent = 0.0
        self._core = core
        self._name = name
        self._lease = lease
        self._turn = asyncio.Event()
        self._before = 1
        self._heard = 0
        self._listener: asyncio.Task[None] | None = None
        self._listens = False

    async def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Granted | Wait:
        """Ask for it. What is granted to a caller who is cancelled meanwhile is given back."""
        backend = await self._core.ready()
        self._turn.clear()
        self._heard = 0
        self.sent = self.clock.monotonic()
        who = f"pid {os.getpid()}"
        asked = asyncio.ensure_future(backend.acquire(asks, who, ticket, self._lease))
        try:
            answer = await asyncio.shield(asked)
        except asyncio.CancelledError:
            _aside(_undo(asked, backend))
            raise
        if isinstance(answer, Wait):
            self._before = max(1, round(answer.delay / _PLACE))
            if self._listens:
                return msgspec.structs.replace(answer, delay=_LOOK)
            self._listen(backend)
        return answer

    async def turn(self, ticket: Ticket, seconds: float) -> None:
        """Wait until it may be the turn of the ticket, or the seconds have passed."""
        timer = self.clock.call_later(seconds, self._turn.set)
        try:
            await self._turn.wait()
        finally:
            timer.cancel()

    async def withdraw(self, ticket: Ticket) -> None:
        """Leave the line."""
        await (await self._core.ready()).cancel(ticket)

    async def aclose(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait({self._listener})

    def _listen(self, backend: Backend) -> None:
        """Begin to listen. Until the next request a release may have been missed."""
        self._listens = Feature.PUSHES_WAKE in backend.features
        if self._listens:
            self._listener = asyncio.create_task(self._count(backend), name="treadle-lock-line")

    async def _count(self, backend: Backend) -> None:
        try:
            events: Any = backend.subscribe(RELEASED)
            async with aclosing(events):
                async for event in events:
                    self._heard += event.data.get("lock") == self._name
                    if self._heard >= self._before:
                        self._turn.set()
        # Events are a convenience: without them the line asks by itself.
        except Exception as error:  # noqa: BLE001
            self._listens = False
            _log.warning("lock.not_heard", lock=self._name, error=repr(error))


def _aside(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work, name="treadle-lock-undo")
    _undoing.add(task)
    task.add_done_callback(_undoing.discard)


async def _undo(asked: asyncio.Future[Granted | Wait], shared: Shared) -> None:
    """Give back what came of a request that nobody waits for any more."""
    try:
        answer = await asked
        if isinstance(answer, Granted):
            await shared.release(answer.permit)
        else:
            await shared.cancel(answer.ticket)
    except (BackendError, OSError) as error:
        _log.warning("lock.not_given_back", error=repr(error), hint="it lapses with its lease")
