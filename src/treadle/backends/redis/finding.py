"""Finding jobs: which index a query asks, and what of its jobs is meant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from treadle.backends.common.queries import chosen, failures_of, is_glob, place_of
from treadle.backends.redis.decode import gone
from treadle.backends.redis.layout import LETTERS
from treadle.backends.redis.names import short
from treadle.backends.redis.seeking import PAGE, Seeker, Where, pass_time
from treadle.backends.redis.store import Store
from treadle.ports import EXAMINE_MAX, Gone, Page, Query
from treadle.queuenames import ALL
from treadle.records import JobRecord, JobState

__all__ = ["Found", "find", "select"]

_CHUNK = 200
"""Jobs that are fetched together where not all of them are meant."""

_FAILED_ONLY = (JobState.FAILED,)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs that a query finds, where to go on, and how many were looked at."""

    records: tuple[JobRecord, ...]
    cursor: str | None
    examined: int


async def find(store: Store, query: Query, most: int = EXAMINE_MAX) -> Page:
    """A page of jobs, of at most so many that are looked at."""
    found = await select(store, query, query.limit, most)
    counts: dict[str, dict[JobState, int]] = {}
    failures: dict[str, int] = {}
    if query.counts:
        counts, failures = await _counts(store, query)
    return Page(
        records=found.records,
        gone=await _gone(store, query, found),
        cursor=found.cursor,
        examined=found.examined,
        counts=counts,
        failures=failures,
    )


async def select(store: Store, query: Query, limit: int, most: int = EXAMINE_MAX) -> Found:
    """The jobs that a query finds, at most ``limit``, of at most ``most``."""
    cursor = "" if query.cursor is None else str(place_of(query))
    if limit <= 0:
        # It asks for the numbers alone; to look for a job would go through all queues.
        await pass_time(store)
        return Found(records=(), cursor=cursor or None, examined=0)
    where = await _where(store, query)
    if where is None:
        return Found(records=(), cursor=None, examined=0)
    seeker = Seeker(
        store, where, states=query.states, oldest_first=query.oldest_first, cursor=cursor
    )
    wanted = chosen(_rest(query))
    found: list[JobRecord] = []
    examined = 0
    # One more than is looked at says whether there are more.
    number = min(limit if wanted is None else _CHUNK, most) + 1
    while seen := await seeker.more(number, number if wanted is None else most + 1):
        for seq, one in seen:
            if len(found) >= limit or examined >= most:
                return Found(records=tuple(found), cursor=cursor or None, examined=examined)
            examined += 1
            cursor = str(seq)
            if one is not None and (wanted is None or wanted(one)):
                found.append(one)
    return Found(records=tuple(found), cursor=None, examined=examined)


async def _where(store: Store, query: Query) -> Where | None:
    """The smallest index that has all the jobs in question; ``None`` when there are none."""
    if query.unique is not None:
        return Where("u", (query.unique, *map(short, query.ids)))
    if query.ids:
        return Where("i", names=[short(one) for one in dict.fromkeys(query.ids)])
    if query.flow is not None:
        return Where("o", (query.flow,))
    if query.queue is None and query.states == _FAILED_ONLY and query.task is not None:
        if not is_glob(query.task):
            return Where("t", names=(query.task,))
        await pass_time(store)
        failures = failures_of((await _failed(store)).items(), query)
        return Where("t", names=list(failures)) if failures else None
    states = query.states or tuple(JobState)
    letters = "".join(LETTERS[state] for state in dict.fromkeys(states))
    return Where("q", (ALL if query.queue is None else query.queue, letters))


async def _counts(
    store: Store, query: Query
) -> tuple[dict[str, dict[JobState, int]], dict[str, int]]:
    counts: dict[str, dict[JobState, int]] = {}
    async for name, *numbers in _pages(store, "counts", query.queue or ALL, start=b"", end=b""):
        states: dict[JobState, int] = {}
        for state, number in zip(_COUNTED, numbers, strict=True):
            if number:
                states[state] = states.get(state, 0) + number
        if states:
            counts[name.decode(errors="replace")] = states
    return counts, failures_of((await _failed(store)).items(), query)


async def _failed(store: Store) -> dict[str, int]:
    """How many failed jobs of each task are kept."""
    rows = _pages(store, "failures", start=b"0", end=b"0")
    return {name.decode(errors="replace"): number async for name, number in rows}


async def _pages(
    store: Store, script: str, *words: Any, start: bytes, end: bytes
) -> AsyncIterator[Sequence[Any]]:
    """The rows of a script that looks at some at a time, so that others are served in between."""
    cursor = start
    while True:
        cursor, *rows = await store.run(script, *words, PAGE, cursor)
        for row in rows:
            yield row
        if cursor == end:
            return


_COUNTED = (
    JobState.WAITING,
    JobState.SCHEDULED,
    JobState.QUEUED,
    JobState.QUEUED,
    JobState.RUNNING,
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELLED,
)
"""States in the order of the numbers that ``lua/counts.lua`` gives."""


async def _gone(store: Store, query: Query, found: Found) -> dict[str, Gone]:
    there = {one.id for one in found.records}
    missing = [one for one in dict.fromkeys(query.ids) if one not in there]
    if not missing:
        return {}
    tombs: list[bytes] = []
    for at in range(0, len(missing), PAGE):
        tombs += await store.run("tombs", *map(short, missing[at : at + PAGE]))
    return {job_id: gone(job_id, tomb) for job_id, tomb in zip(missing, tombs, strict=True) if tomb}


def _rest(query: Query) -> Query:
    """What of a query its index has not seen to."""
    if query.unique is not None or query.ids:
        return msgspec.structs.replace(query, ids=())
    if query.flow is not None:
        return msgspec.structs.replace(query, flow=None)
    return msgspec.structs.replace(query, states=(), queue=None)
