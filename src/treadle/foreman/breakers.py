"""The breakers of tasks, which all foremen of their queues share through the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from treadle.clock import Clock
from treadle.errors import BackendError
from treadle.foreman.running import Running
from treadle.foreman.waits import within
from treadle.logs import get_logger
from treadle.policies.breaker import Breaker, BreakerChange, Outcome
from treadle.policies.parking import BREAKER_CELL, AttemptReport, Parked, is_probe, judge
from treadle.ports import QUEUE_CELL, Backend, Cell, QueueRule, Write
from treadle.queuenames import covers

if TYPE_CHECKING:
    from treadle.task import Task

__all__ = ["Breakers"]

T = TypeVar("T")
_log = get_logger("treadle.foreman")
_FRESH = 1.0
"""Seconds for which a breaker that was seen at rest is relied on to be so."""
_PATIENCE = 5.0
"""Seconds that a store has to answer; a verdict whose report it does not take goes on."""
_TRIES = 50


class Breakers:
    """Tells the breakers of tasks how their jobs ended, and whoever listens what follows.

    A verdict is sent after its report: the place of a probe becomes free when it is decided what
    follows from it, so that there is one probe and not a second.

    Args:
        backend: has the cells.
        tasks: by name.
        clock: of the foreman.
        probing: told that the breaker of a queue, after so many trips, lets one job through.
        told: what has become of the breaker of a queue, after so many trips.
    """

    def __init__(
        self,
        backend: Backend,
        tasks: Mapping[str, Task[Any, Any]],
        *,
        clock: Clock,
        probing: Callable[[str, int], None],
        told: Callable[[str, BreakerChange, int], None],
    ) -> None:
        self._backend = backend
        self._tasks = tasks
        self._clock = clock
        self._probing = probing
        self._told = told
        # What was seen last, and when.
        self._seen: dict[str, tuple[Parked, float]] = {}
        # One after the other: reports of one foreman must not outdate each other, and that a probe
        # has begun is told before what it came to.
        self._turn = asyncio.Lock()
        self._asking: set[asyncio.Task[None]] = set()

    def begun(self, job: Running) -> None:
        """See whether an attempt that has begun is a probe; it does not wait for that."""
        queue = self._queue_of(job)
        if not self._at_rest(queue):
            self._ask(queue, partial(self._looked, queue, self._began(job)))

    def report(
        self, job: Running, breaker: Breaker, outcome: Outcome, retry_after: float | None
    ) -> asyncio.Task[None] | None:
        """Tell how an attempt ended; what its verdict has to wait for, if anything."""
        queue = self._queue_of(job)
        counts = outcome in (Outcome.FAILURE, Outcome.TRIP)
        if outcome is Outcome.NEUTRAL or (not counts and self._at_rest(queue)):
            return None
        report = AttemptReport(outcome=outcome, began=self._began(job), retry_after=retry_after)
        return self._ask(queue, partial(self._written, queue, breaker, report))

    async def aclose(self) -> None:
        """Give up what is not written yet."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    def _queue_of(self, job: Running) -> str:
        """Whose breaker it is: the queue of the task, or another that the job was given."""
        spec = job.lease.spec
        own = self._tasks[spec.task].options.queue
        return own if covers(own, spec.queue) else spec.queue

    def _began(self, job: Running) -> float:
        """When an attempt began, in seconds since the epoch."""
        clock = self._clock
        return clock.now() - (clock.monotonic() - job.began)

    def _at_rest(self, queue: str) -> bool:
        """Whether its breaker is closed and has counted nothing, as far as is known here."""
        seen = self._seen.get(queue)
        if seen is None:
            return False
        parked, at = seen
        clean = parked.state.failures == 0 and parked.turned == 0
        return clean and self._clock.monotonic() - at < _FRESH

    def _ask(self, queue: str, step: Callable[[], Awaitable[bool]]) -> asyncio.Task[None]:
        wait = within(self._clock, _PATIENCE, self._in_turn(queue, step))
        task = asyncio.create_task(wait, name="treadle-breaker")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    async def _in_turn(self, queue: str, step: Callable[[], Awaitable[bool]]) -> None:
        """Take a step until it says that it is done."""
        try:
            async with self._turn:
                for _ in range(_TRIES):
                    if await step():
                        return
            _log.warning("breaker.contended", queue=queue)
        except (BackendError, OSError) as error:
            _log.warning("breaker.not_told", queue=queue, error=repr(error))
        # The verdict waits for this, and must be sent whatever happens here.
        except Exception:  # noqa: BLE001
            _log.exception("breaker.failed", queue=queue)

    async def _looked(self, queue: str, began: float) -> bool:
        cells = await self._backend.read(_keys(queue))
        parked, rule = _parked(queue, cells)
        self._seen[queue] = (parked, self._clock.monotonic())
        if is_probe(parked, rule, began):
            self._probing(queue, parked.state.trips)
        return True

    async def _written(self, queue: str, breaker: Breaker, report: AttemptReport) -> bool:
        """Whether it is done, and not overtaken by what somebody else has written."""
        keys = _keys(queue)
        cells = await self._backend.read(keys)
        parked, rule = _parked(queue, cells)
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


def _keys(queue: str) -> tuple[str, str]:
    return BREAKER_CELL + queue, QUEUE_CELL + queue


def _parked(queue: str, cells: Mapping[str, Cell]) -> tuple[Parked, QueueRule]:
    """What is remembered of its breaker, and its rule."""
    breaker, rule = _keys(queue)
    parked = _decoded(cells.get(breaker), Parked, Parked())
    return parked, _decoded(cells.get(rule), QueueRule, QueueRule())


def _decoded(cell: Cell | None, kind: type[T], absent: T) -> T:
    if cell is None:
        return absent
    try:
        return msgspec.msgpack.decode(cell.value, type=kind)
    except msgspec.DecodeError:  # of a version that says it otherwise
        return absent


def _version(cell: Cell | None) -> int:
    return 0 if cell is None else cell.version
