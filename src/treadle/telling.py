"""What ended inside of a store is told as if a foreman had ended it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from treadle.bus import Bus
from treadle.clock import Clock
from treadle.events import Event
from treadle.fates import Fate, fates_of
from treadle.logs import get_logger
from treadle.records import JobState

if TYPE_CHECKING:
    from treadle.ports import (
        Altered,
        Backend,
        Change,
        Claim,
        Claimed,
        Feature,
        Held,
        Page,
        Query,
        Settlement,
    )
    from treadle.records import NewJob, Pushed, Renewal, Session, Settled

__all__ = ["Hear", "heard", "name_of", "tell_fates"]

Hear = Callable[[Sequence[Fate]], object]
# Those of foremen: the same facts, whoever is the first to know.
_log = get_logger("treadle.foreman")
_retries = get_logger("treadle.foreman.retries")


def name_of(fate: Fate) -> str:
    """The event that tells of it."""
    match fate.state:
        case JobState.FAILED:
            return "job.failed"
        case JobState.CANCELLED:
            return "job.cancelled"
        case _:
            return "job.retrying"


def tell_fates(bus: Bus, clock: Clock, fates: Sequence[Fate]) -> None:
    """Log what became of jobs by themselves, and tell the observers of this process."""
    for fate in fates:
        name, data = name_of(fate), _data(fate)
        facts = {"job": fate.id, "task": fate.task, **data}
        if fate.state is JobState.FAILED:
            _log.error(name, **facts)
        elif fate.state is not JobState.CANCELLED:
            _retries.warning(name, **facts)
        if bus.wanted(name):
            bus.emit(
                Event(
                    name=name,
                    at=clock.now(),
                    job_id=fate.id,
                    task=fate.task,
                    queue=fate.queue,
                    attempt=fate.attempt,
                    data=data,
                )
            )


def _data(fate: Fate) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if fate.cause is not None:
        data |= {"cause": str(fate.cause), "error": None}
    if fate.crashes:
        data["crashes"] = fate.crashes
    if fate.reason:
        data["reason"] = fate.reason
    if fate.state not in (JobState.FAILED, JobState.CANCELLED):
        data["delay"] = 0.0
    return data


def heard(backend: Backend, hear: Hear) -> Backend:
    """A backend that is the same, and whose verbs have somebody hear what ended by itself.

    Args:
        backend: does the work.
        hear: told the fates in each answer, once the answer is there.
    """
    return cast("Backend", _Heard(backend, hear))


class _Heard:
    """Goes between a caller and a backend, and takes nothing away."""

    def __init__(self, inner: Backend, hear: Hear) -> None:
        self._inner = inner
        self._hear = hear

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def features(self) -> frozenset[Feature]:
        """Asked for by each enqueue with a bound, and slow to look for."""
        return self._inner.features

    async def close_session(self, session: Session) -> Sequence[Fate]:
        fates = await self._inner.close_session(session)
        if fates:
            self._hear(fates)
        return fates

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """For all but the enqueues of an app, whose way has no room for another call."""
        answers = await self._inner.push(jobs)
        if fates := fates_of(answers):
            self._hear(fates)
        return answers

    async def claim(self, ask: Claim) -> Claimed:
        claimed = await self._inner.claim(ask)
        if claimed.fates:
            self._hear(claimed.fates)
        return claimed

    async def wait(
        self, queues: Sequence[str], timeout: float, exclude: Sequence[str] = ()
    ) -> Sequence[Fate]:
        fates = await self._inner.wait(queues, timeout, exclude)
        if fates:
            self._hear(fates)
        return fates

    async def wait_for_room(self, queue: str, bound: int, timeout: float) -> Sequence[Fate]:
        fates = await self._inner.wait_for_room(queue, bound, timeout)
        if fates:
            self._hear(fates)
        return fates

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        answers = await self._inner.extend(session, held, lease)
        if fates := fates_of(answers):
            self._hear(fates)
        return answers

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        answers = await self._inner.settle(ends)
        if fates := fates_of(answers):
            self._hear(fates)
        return answers

    async def find(self, query: Query) -> Page:
        page = await self._inner.find(query)
        if page.fates:
            self._hear(page.fates)
        return page

    async def alter(self, query: Query, change: Change) -> Altered:
        altered = await self._inner.alter(query, change)
        if altered.fates:
            self._hear(altered.fates)
        return altered
