"""What must be read of a store to say why a job is where it is."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from treadle.clock import Clock
from treadle.errors import JobNotFound
from treadle.ports import QUEUE_CELL, SESSION_CELL, Backend, Feature, Gone, Query, QueueRule
from treadle.queuenames import Matcher, ancestors
from treadle.records import Hold, JobRecord, JobState, SessionInfo

__all__ = ["SHOWN", "Scene", "foremen", "missing", "rules", "survey"]

SHOWN = 10
"""Jobs that an answer names."""
_CALLS = 20  # pages of running jobs looked at


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A job and what surrounds it."""

    record: JobRecord
    now: float
    # Of its queue and those above it.
    rules: Mapping[str, QueueRule]
    # All that are present.
    foremen: tuple[SessionInfo, ...]
    # Jobs per queue and state.
    counts: Mapping[str, Mapping[JobState, int]]
    # Running jobs that hold its key, or the slots that it waits for.
    holders: tuple[JobRecord, ...] = ()
    # The jobs that it waits for, as far as they are known.
    before: tuple[JobRecord, ...] = ()

    @property
    def serving(self) -> tuple[SessionInfo, ...]:
        """The foremen that serve its queue."""
        queue = self.record.spec.queue
        return tuple(
            one for one in self.foremen if Matcher(one.queues, one.exclude).place(queue) is not None
        )


async def survey(backend: Backend, job_id: str, clock: Clock) -> Scene:
    """Read a job and its surroundings.

    Raises:
        JobNotFound: the store does not know the job, or keeps it no longer.
    """
    page = await backend.find(Query(ids=(job_id,), counts=True))
    if not page.records:
        raise JobNotFound(missing(job_id, page.gone.get(job_id)), job_id=job_id)
    record = page.records[0]
    queue = record.spec.queue
    return Scene(
        record=record,
        now=clock.now(),
        rules=await rules(backend, (queue, *ancestors(queue))),
        foremen=await foremen(backend, clock),
        counts=page.counts,
        holders=await _holders(backend, record),
        before=await _before(backend, record),
    )


async def rules(backend: Backend, queues: tuple[str, ...]) -> dict[str, QueueRule]:
    """The rules of queues that have one; ``("*",)`` reads all."""
    if Feature.SHARED not in backend.features:
        return {}  # nor can it have any
    cells = await backend.read([QUEUE_CELL + name for name in queues])
    return {
        key.removeprefix(QUEUE_CELL): msgspec.msgpack.decode(cell.value, type=QueueRule)
        for key, cell in cells.items()
    }


async def foremen(backend: Backend, clock: Clock) -> tuple[SessionInfo, ...]:
    """The foremen that are present, by name; none where the store does not know."""
    if Feature.SHARED not in backend.features:
        return ()
    cells = await backend.read([SESSION_CELL + "*"])
    found = (msgspec.msgpack.decode(cell.value, type=SessionInfo) for cell in cells.values())
    present = (one for one in found if not one.until or one.until > clock.now())
    return tuple(sorted(present, key=lambda one: (one.name, one.pid)))


def missing(job_id: str, gone: Gone | None) -> str:
    """What to say of a job that is not there."""
    if gone is None:
        return f"no job {job_id!r} in this store: it was never here, or is no longer kept"
    if gone.pushed.of is not None:
        answer = f"{gone.pushed.status}, see {gone.pushed.of}"
        return f"{job_id} is not a job: its push was answered {answer}"
    ended = f"ended {gone.state} and" if gone.state else "was removed and"
    return f"job {job_id} {ended} is no longer kept"


async def _holders(backend: Backend, record: JobRecord) -> tuple[JobRecord, ...]:
    key, limit = _waits_on(record)
    if key is None and limit is None:
        return ()
    found: list[JobRecord] = []
    query = Query(states=(JobState.RUNNING,), key=key, oldest_first=True)
    for _ in range(_CALLS):
        page = await backend.find(query)
        found += [one for one in page.records if limit is None or _holds(one, limit)]
        if page.cursor is None or len(found) >= SHOWN:
            break
        query = msgspec.structs.replace(query, cursor=page.cursor)
    return tuple(found[:SHOWN])


def _waits_on(record: JobRecord) -> tuple[str | None, str | None]:
    """The key, or the limit, that the job is parked at."""
    what, _, name = record.reason.partition(":")
    if record.state is not JobState.WAITING:
        return None, None
    return (name if what == "key" else None), (name if what == "limit" else None)


def _holds(record: JobRecord, limit: str) -> bool:
    return any(isinstance(ask, Hold) and ask.key == limit for ask in record.spec.asks)


async def _before(backend: Backend, record: JobRecord) -> tuple[JobRecord, ...]:
    if record.state is not JobState.WAITING or not record.waits_for:
        return ()
    page = await backend.find(Query(ids=record.waits_for[:SHOWN]))
    return page.records
