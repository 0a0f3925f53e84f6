"""Looking at jobs: which index to page through, and what to keep of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec

from treadle.backends.common.damage import facts_of
from treadle.backends.common.ends import pushed_as
from treadle.backends.common.jobrow import FINAL_CODE, Code, Facts
from treadle.backends.common.queries import (
    chosen,
    codes_of,
    counts_of,
    failures_of,
    is_glob,
    place_of,
)
from treadle.backends.common.shown import gone, shown
from treadle.backends.postgres.members import bounds_of
from treadle.backends.postgres.reading import Reading
from treadle.backends.postgres.rows import Row
from treadle.ports import EXAMINE_MAX, Gone, Page, Query
from treadle.queuenames import ALL, covers
from treadle.records import JobRecord, JobState, Pushed, PushStatus

__all__ = ["find", "search"]

_CHUNK = 100
_STREAMS = 256
"""Ranges of the index that are merged; with more of them, all jobs are paged through."""


async def find(reading: Reading, query: Query) -> Page:
    """The page that answers a query."""
    found, cursor, examined = await search(reading, query)
    page = Page(
        records=tuple(found),
        gone=await _gone(reading, query, found) if query.ids else {},
        cursor=cursor,
        examined=examined,
    )
    if query.counts:
        page = msgspec.structs.replace(
            page,
            counts=counts_of(await reading.look("counts", reading.now), query),
            failures=failures_of(await reading.look("failures", reading.now), query),
        )
    return page


async def search(reading: Reading, query: Query) -> tuple[list[JobRecord], str | None, int]:
    """Matching jobs, where to go on, and how many were looked at."""
    limit = max(0, query.limit)
    wanted = chosen(query)
    chunks = _source(reading, query)
    found: list[JobRecord] = []
    examined = 0
    last: int | None = None
    more = False
    async for chunk in chunks:
        if more or examined >= EXAMINE_MAX or len(found) >= limit:
            more = True
            break
        seqs = chunk[: EXAMINE_MAX - examined + 1]
        loaded = await _load(reading, seqs)
        for seq in seqs:
            if examined >= EXAMINE_MAX or len(found) >= limit:
                more = True
                break
            examined += 1
            last = seq
            one = loaded.get(seq)
            if one is not None and (wanted is None or wanted(one)):
                found.append(one)
    cursor = str(last) if more and last is not None else None
    return found, cursor, examined


# ------------------------------------------------------------- which index


async def _source(reading: Reading, query: Query) -> AsyncIterator[list[int]]:
    """Numbers of jobs that may match, by arrival, from the cursor on, in pieces."""
    up = query.oldest_first
    start = place_of(query)
    if query.unique is not None:
        rows = await reading.look("seqs_of_unique", query.unique, reading.now)
        yield _sorted(rows, start, up)
        return
    if query.ids:
        yield _sorted(await reading.look("seqs_of_ids", query.ids), start, up)
        return
    name, values = await _index(reading, query)
    size = min(_CHUNK, max(10, 2 * query.limit))
    statement = f"{name}_{'up' if up else 'down'}"
    while True:
        page = [seq for (seq,) in await reading.look(statement, start, size, reading.now, *values)]
        if page:
            yield page
        if len(page) < size:
            return
        start, size = page[-1], _CHUNK


async def _index(reading: Reading, query: Query) -> tuple[str, tuple[Any, ...]]:
    """The statement to page with, and its values."""
    if query.flow is not None:
        return "flow", (query.flow,)
    exact = query.task is not None and not is_glob(query.task)
    if exact and query.states == (JobState.FAILED,) and query.queue is None:
        return "failed", (query.task,)
    if query.states or query.queue is not None:
        places = await _places(reading, query)
        if places is not None:
            return "places", places
    return "seqs", ()


def _sorted(rows: Any, start: int, up: bool) -> list[int]:
    seqs = sorted((seq for (seq,) in rows), reverse=not up)
    return [seq for seq in seqs if (seq > start if up else seq < start)]


async def _places(reading: Reading, query: Query) -> tuple[Any, ...] | None:
    """The ranges of the indexes by place to merge; ``None`` when they are too many."""
    codes = set(codes_of(query))
    live = sorted(codes - FINAL_CODE - {Code.RUNNING})
    low, high = bounds_of(query.queue or ALL)
    ranges = await reading.look("ranges", live, sorted(codes & FINAL_CODE), low, high, _STREAMS + 1)
    if len(ranges) > _STREAMS:
        return None
    ranges = [one for one in ranges if query.queue is None or covers(query.queue, one[1])]
    places = [one for one in ranges if one[2] is not None]
    ended = [one for one in ranges if one[2] is None]
    return (
        *([one[at] for one in places] for at in range(3)),
        *([one[at] for one in ended] for at in range(2)),
        *(Code.RUNNING in codes, low, high),
    )


# ------------------------------------------------------------- records


async def _load(reading: Reading, seqs: list[int]) -> dict[int, JobRecord]:
    loaded: dict[int, JobRecord] = {}
    for *values, result, body, waits in await reading.look("records", seqs):
        row = Row(*values)
        if row.keep_until is not None and row.keep_until <= reading.now:
            continue
        facts = Facts() if row.facts is None else facts_of(row.state, row.facts)
        awaited = partial(tuple, waits or ())
        record = shown(row, body, facts, result, now=reading.now, awaited=awaited)
        loaded[row.seq] = record
    return loaded


# ------------------------------------------------------------- what is left, and numbers


async def _gone(reading: Reading, query: Query, found: list[JobRecord]) -> dict[str, Gone]:
    there = {one.id for one in found}
    missing = [job_id for job_id in dict.fromkeys(query.ids) if job_id not in there]
    if not missing:
        return {}
    left: dict[str, Gone] = {}
    for grave in await reading.look("graves", missing):
        job_id = grave["id"]
        if grave["seq"] is None:
            if grave["until"] is not None and grave["until"] > reading.now:
                left[job_id] = _tombstone(job_id, grave)
        elif grave["keep_until"] is not None and grave["keep_until"] <= reading.now:
            # Past its time, and only not swept up yet.
            left[job_id] = _outdated(job_id, grave)
    return left


def _tombstone(job_id: str, grave: Any) -> Gone:
    pushed = Pushed(PushStatus(grave["pushed"]), grave["of"])
    return gone(job_id, pushed, grave["state"], (grave["fence"], grave["nonce"]), grave["at"])


def _outdated(job_id: str, grave: Any) -> Gone:
    state, facts = grave["ended"], grave["facts"]
    pushed = pushed_as(Facts() if facts is None else facts_of(state, facts))
    ended = grave["ended_fence"], grave["ended_nonce"]
    return gone(job_id, pushed, state, ended, grave["keep_until"])
