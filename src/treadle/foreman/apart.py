"""Coroutines with contexts of their own that have no tasks of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVarTuple, Unpack

from treadle.clock import Clock
from treadle.foreman.running import Running

__all__ = ["Apart", "InTurn"]

Ts = TypeVarTuple("Ts")
_NOTHING: Any = object()


class Apart:
    """A coroutine, to be awaited with a context of its own, as each attempt has one.

    What it sets is not seen outside. A task would do the same and cost two more rounds of the loop.

    Args:
        coroutine: what is awaited.
        context: a copy of the present one by default.
        awaited: what it waits for, when it has begun in that context.
    """

    __slots__ = ("_awaited", "_coroutine", "_run")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        context: Context | None = None,
        awaited: Any = _NOTHING,
    ) -> None:
        self._coroutine = coroutine
        self._run = (context or copy_context()).run
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        run, coroutine, awaited = self._run, self._coroutine, self._awaited
        go: Callable[[Any], Any] = coroutine.send
        given: Any = None
        while True:
            if awaited is not _NOTHING:
                try:
                    go, given = coroutine.send, (yield awaited)
                except BaseException as error:  # noqa: BLE001 - it is for the coroutine
                    go, given = coroutine.throw, error
            try:
                awaited = run(go, given)
            except StopIteration as over:
                return over.value


class InTurn(Generic[*Ts]):
    """Carries out attempts that begin in one round of the loop in one task, as far as they go.

    A task costs more than the code of a short job. Most of these end without having waited for
    anything: then the same task begins the next one. The first that waits keeps the task as its
    own, and those after it are given one each, as if there had been no turn.

    Args:
        spawn: makes a task.
        live: the coroutine of an attempt, which never raises.
    """

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        live: Callable[[Running, Unpack[Ts]], Coroutine[Any, Any, None]],
    ) -> None:
        self._spawn = spawn
        self._live = live
        self._line: deque[tuple[Running, *Ts]] = deque()
        # Some have been given a task in this round, and begin in the next one.
        self._late = False

    def put(self, *attempt: *tuple[Running, *Ts]) -> None:
        """Carry out one more in the next round of the loop."""
        line = self._line
        line.append(attempt)
        if len(line) == 1:
            self._spawn(self._round())

    async def begun(self, clock: Clock) -> None:
        """Return when all that were put before have begun."""
        await clock.sleep(0)
        if self._late:
            self._late = False
            await clock.sleep(0)

    async def _round(self) -> None:
        line, self._line = self._line, deque()
        us = asyncio.current_task()
        live = self._live
        try:
            while len(line) > 1:
                attempt = line.popleft()
                living, context = live(*attempt), copy_context()
                try:
                    awaited = context.run(living.send, None)
                except StopIteration:
                    if us is not None and us.cancelling():
                        return  # it has cancelled its own task, which is not that of the others
                    continue
                attempt[0].task = us
                self._alone(line)
                await Apart(living, context, awaited)
                return
            # The others have left nothing behind in the context of this task.
            attempt = line.popleft()
            attempt[0].task = us
            await live(*attempt)
        finally:
            self._alone(line)

    def _alone(self, line: deque[tuple[Running, *Ts]]) -> None:
        while line:
            attempt = line.popleft()
            attempt[0].task = self._spawn(self._live(*attempt))
            self._late = True
