"""The breakers of tasks, which all foremen of their queues share through the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from treadle.clock import Clock
from treadle.errors import BackendError
from treadle.foreman.running import Running
from treadle.foreman.waits import within
from treadle.logs import get_logger
from treadle.policies.breaker import Breaker, BreakerChange, Outcome
from treadle.policies.parking import BREAKER_CELL, AttemptReport, Parked, judge
from treadle.ports import QUEUE_CELL, Backend, Cell, QueueRule, Write
from treadle.queuenames import covers

if TYPE_CHECKING:
    from treadle.task import Task

__all__ = ["Breakers"]

T = TypeVar("T")
_log = get_logger("treadle.foreman")
_FRESH = 1.0
"""Seconds for which what was seen of a breaker is relied on when a job succeeds."""
_PATIENCE = 5.0
"""Seconds that a store has to take a report; without one the verdict goes on."""
_TRIES = 50


class Breakers:
    """Tells the breakers of tasks how their jobs ended.

    A verdict is sent after its report: the place of a probe becomes free when it is decided what
    follows from it, so that there is one probe and not a second.

    Args:
        backend: has the cells.
        tasks: by name.
        clock: of the foreman.
        told: what has become of the breaker of a queue, after so many trips.
    """

    def __init__(
        self,
        backend: Backend,
        tasks: Mapping[str, Task[Any, Any]],
        *,
        clock: Clock,
        told: Callable[[str, BreakerChange, int], None],
    ) -> None:
        self._backend = backend
        self._tasks = tasks
        self._clock = clock
        self._told = told
        # What was seen last, and when.
        self._seen: dict[str, tuple[Parked, float]] = {}
        # One after the other: reports of one foreman must not outdate each other.
        self._turn = asyncio.Lock()
        self._reports: set[asyncio.Task[None]] = set()

    def report(
        self, job: Running, breaker: Breaker, outcome: Outcome, retry_after: float | None
    ) -> asyncio.Task[None] | None:
        """Tell how an attempt ended; what its verdict has to wait for, if anything."""
        queue = self._queue_of(job)
        clock = self._clock
        began = clock.now() - (clock.monotonic() - job.began)
        if outcome is Outcome.NEUTRAL or self._knows(queue, outcome, began):
            return None
        report = AttemptReport(outcome=outcome, began=began, retry_after=retry_after)
        task = asyncio.create_task(self._report(queue, breaker, report), name="treadle-breaker")
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)
        return task

    async def aclose(self) -> None:
        """Give up what is not written yet."""
        for report in self._reports:
            report.cancel()
        await asyncio.gather(*self._reports, return_exceptions=True)

    def _queue_of(self, job: Running) -> str:
        """Whose breaker it is: the queue of the task, or another that the job was given."""
        spec = job.lease.spec
        own = self._tasks[spec.task].options.queue
        return own if covers(own, spec.queue) else spec.queue

    def _knows(self, queue: str, outcome: Outcome, began: float) -> bool:
        """Whether a report would change nothing, as far as is known here."""
        seen = self._seen.get(queue)
        if seen is None or outcome in (Outcome.FAILURE, Outcome.TRIP):
            return False
        parked, at = seen
        clean = parked.state.failures == 0 and parked.turned == 0
        return clean and self._clock.monotonic() - at < _FRESH

    async def _report(self, queue: str, breaker: Breaker, report: AttemptReport) -> None:
        await within(self._clock, _PATIENCE, self._told_in_turn(queue, breaker, report))

    async def _told_in_turn(self, queue: str, breaker: Breaker, report: AttemptReport) -> None:
        try:
            async with self._turn:
                for _ in range(_TRIES):
                    if await self._written(queue, breaker, report):
                        return
            _log.warning("breaker.contended", queue=queue)
        except (BackendError, OSError) as error:
            _log.warning("breaker.not_told", queue=queue, error=repr(error))
        # The verdict waits for this, and must be sent whatever happens here.
        except Exception:  # noqa: BLE001
            _log.exception("breaker.failed", queue=queue)

    async def _written(self, queue: str, breaker: Breaker, report: AttemptReport) -> bool:
        """Whether it is done, and not overtaken by what somebody else has written."""
        keys = (BREAKER_CELL + queue, QUEUE_CELL + queue)
        cells = await self._backend.read(keys)
        parked = _decoded(cells.get(keys[0]), Parked, Parked())
        rule = _decoded(cells.get(keys[1]), QueueRule, QueueRule())
        change, now_parked, now_rule = judge(breaker, parked, rule, report, self._clock.now())
        writes = [
            Write(key=key, value=msgspec.msgpack.encode(after), expect=_version(cells.get(key)))
            for key, before, after in zip(keys, (parked, rule), (now_parked, now_rule), strict=True)
            if before != after
        ]
        if writes and not await self._backend.write(writes):
            return False
        self._seen[queue] = (now_parked, self._clock.monotonic())
        if change is not None:
            self._told(queue, change, now_parked.state.trips)
        return True


def _decoded(cell: Cell | None, kind: type[T], absent: T) -> T:
    if cell is None:
        return absent
    try:
        return msgspec.msgpack.decode(cell.value, type=kind)
    except msgspec.DecodeError:  # of a version that says it otherwise
        return absent


def _version(cell: Cell | None) -> int:
    return 0 if cell is None else cell.version
