"""Queues: a handle to pause, bound, empty and count one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from treadle.altering import alter
from treadle.durations import Duration, seconds, timestamp
from treadle.errors import BackendError, InvalidOption
from treadle.events import Event
from treadle.ports import QUEUE_CELL, Cell, Delete, Query, QueueRule, Write
from treadle.queuenames import check_queue, covers
from treadle.records import FINAL, JobState

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["Queue"]

T = TypeVar("T")
_TRIES = 20
_NOT_STARTED = tuple(state for state in JobState if state not in FINAL | {JobState.RUNNING})


class Queue:
    """A queue with its subqueues. Blocking verbs have an awaitable twin with an ``a`` in front.

    Args:
        core: the app.
        name: ``"mail"`` covers ``"mail.acme"`` and all else below it.
    """

    def __init__(self, core: Core, name: str) -> None:
        self._core = core
        self.name = check_queue(name)

    def __repr__(self) -> str:
        return f"<Queue {self.name}>"

    def _call(self, verb: Callable[[], Coroutine[Any, Any, T]], name: str) -> T:
        return self._core.call(verb, f"Queue.{name}", f"queue.a{name}")

    async def apause(
        self,
        reason: str = "",
        *,
        by: str | None = None,
        until: datetime | None = None,
        for_: Duration | None = None,
    ) -> QueueRule:
        """Hand out no more of its jobs; those that run go on. Enqueueing goes on too.

        Args:
            reason: shown to whoever asks why a job does not run.
            by: who pauses it; the name of the user by default.
            until: when it resumes by itself.
            for_: the same as a duration from now.
        """
        if until is not None and for_ is not None:
            raise InvalidOption(
                "until= and for_= both say when the queue resumes; give one of them",
                option="for_",
                value=for_,
            )
        now = self._core.clock.now()
        end = None
        if until is not None:
            end = timestamp(until, "until")
        elif for_ is not None:
            end = now + seconds(for_, "for_")
        who = _user() if by is None else by
        rule = await self._change(paused=True, reason=reason, by=who, since=now, until=end)
        self._tell("queue.paused", {"reason": reason, "by": who})
        return rule

    def pause(
        self,
        reason: str = "",
        *,
        by: str | None = None,
        until: datetime | None = None,
        for_: Duration | None = None,
    ) -> QueueRule:
        """Hand out no more of its jobs. See :meth:`apause`."""
        return self._call(lambda: self.apause(reason, by=by, until=until, for_=for_), "pause")

    async def aresume(self) -> QueueRule:
        """Hand out its jobs again."""
        rule = await self._change(paused=False, reason="", by="", since=None, until=None)
        self._tell("queue.resumed", {})
        return rule

    def resume(self) -> QueueRule:
        """Hand out its jobs again."""
        return self._call(self.aresume, "resume")

    async def arule(self) -> QueueRule:
        """What holds for the queue now."""
        return _rule(await self._cell())

    def rule(self) -> QueueRule:
        """What holds for the queue now."""
        return self._call(self.arule, "rule")

    async def alimit(self, max_running: int | None) -> QueueRule:
        """Let at most so many of its jobs run at a time, in all foremen; ``None`` lifts it."""
        if max_running is not None and max_running < 1:
            raise InvalidOption(
                f"max_running={max_running!r} is not a number from 1; pause() stops a queue",
                option="max_running",
                value=max_running,
            )
        return await self._change(max_running=max_running)

    def limit(self, max_running: int | None) -> QueueRule:
        """Let at most so many of its jobs run at a time. See :meth:`alimit`."""
        return self._call(lambda: self.alimit(max_running), "limit")

    async def apurge(self) -> int:
        """Remove its jobs that have not started.

        Returns:
            How many there were.
        """
        query = Query(queue=self.name, states=_NOT_STARTED, limit=1000)
        removed = 0
        while True:
            altered = await alter(self._core, query, Delete())
            removed += len(altered.done)
            if altered.cursor is None:
                return removed
            query = msgspec.structs.replace(query, cursor=altered.cursor)

    def purge(self) -> int:
        """Remove its jobs that have not started, and say how many there were."""
        return self._call(self.apurge, "purge")

    async def acounts(self) -> Mapping[JobState, int]:
        """Jobs per state, those of the subqueues included. States without jobs count 0."""
        backend = await self._core.ready()
        page = await backend.find(Query(queue=self.name, counts=True, limit=1))
        total: Counter[JobState] = Counter(dict.fromkeys(JobState, 0))
        for name, counts in page.counts.items():
            if covers(self.name, name):
                total.update(counts)
        return total

    def counts(self) -> Mapping[JobState, int]:
        """Jobs per state, those of the subqueues included."""
        return self._call(self.acounts, "counts")

    async def _cell(self) -> Cell | None:
        backend = await self._core.ready()
        key = f"{QUEUE_CELL}{self.name}"
        return (await backend.read([key])).get(key)

    async def _change(self, **changes: Any) -> QueueRule:
        """Change some of what holds; what others change at the same time is kept."""
        backend = await self._core.ready()
        key = f"{QUEUE_CELL}{self.name}"
        for _ in range(_TRIES):
            cell = await self._cell()
            rule = msgspec.structs.replace(_rule(cell), **changes)
            write = Write(
                key=key,
                value=msgspec.msgpack.encode(rule),
                expect=0 if cell is None else cell.version,
            )
            if await backend.write([write]):
                return rule
        raise BackendError(
            f"the rule of queue {self.name!r} changes all the time: {_TRIES} attempts to write it "
            "failed",
            backend=backend.url,
        )

    def _tell(self, name: str, data: Mapping[str, Any]) -> None:
        if self._core.bus.wanted(name):
            at = self._core.clock.now()
            self._core.bus.emit(Event(name=name, at=at, queue=self.name, data=data))


def _rule(cell: Cell | None) -> QueueRule:
    return QueueRule() if cell is None else msgspec.msgpack.decode(cell.value, type=QueueRule)


def _user() -> str:
    from getpass import getuser

    try:
        return getuser()
    except (OSError, KeyError):
        return ""  # a container without users
