"""Looking at jobs: which index to page through, and what to keep of it."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import msgspec

from treadle.backends.common.damage import facts_of, raw
from treadle.backends.common.ends import pushed_as
from treadle.backends.common.jobrow import Facts, Flag, JobRow
from treadle.backends.common.queries import (
    chosen,
    codes_of,
    counts_of,
    failures_of,
    is_glob,
    place_of,
)
from treadle.backends.common.shown import gone, shown
from treadle.backends.sqlite.members import occupied
from treadle.backends.sqlite.tx import Reading
from treadle.ports import EXAMINE_MAX, Gone, Page, Query
from treadle.queuenames import ALL
from treadle.records import JobRecord, JobState, Pushed, PushStatus

__all__ = ["find", "search"]

_CHUNK = 100
_STREAMS = 256
"""Ranges of the index that are merged; with more of them, all jobs are paged through."""


def find(reading: Reading, query: Query) -> Page:
    """The page that answers a query."""
    found, cursor, examined = search(reading, query)
    page = Page(
        records=tuple(found),
        gone=_gone(reading, query, found) if query.ids else {},
        cursor=cursor,
        examined=examined,
    )
    if query.counts:
        page = msgspec.structs.replace(
            page,
            counts=counts_of(reading.run("counts"), query),
            failures=failures_of(reading.run("failures"), query),
        )
    return page


def search(reading: Reading, query: Query) -> tuple[list[JobRecord], str | None, int]:
    """Matching jobs, where to go on, and how many were looked at."""
    limit = max(0, query.limit)
    wanted = chosen(query)
    seqs = _source(reading, query)
    found: list[JobRecord] = []
    examined = 0
    last: int | None = None
    while examined < EXAMINE_MAX and len(found) < limit:
        chunk = list(islice(seqs, min(_CHUNK, EXAMINE_MAX - examined, max(10, 2 * limit))))
        if not chunk:
            return found, None, examined
        loaded = _load(reading, chunk)
        for seq in chunk:
            examined += 1
            last = seq
            one = loaded.get(seq)
            if one is not None and (wanted is None or wanted(one)):
                found.append(one)
                if len(found) == limit:
                    break
    more = last is not None and next(seqs, None) is not None
    return found, (str(last) if more or _left(found, limit, last) else None), examined


def _left(found: list[JobRecord], limit: int, last: int | None) -> bool:
    # The chunk may hold more behind the last one that was taken.
    return len(found) == limit and last is not None and limit > 0


# ------------------------------------------------------------- which index


def _source(reading: Reading, query: Query) -> Iterator[int]:
    """Numbers of jobs that may match, by arrival, from the cursor on."""
    up = query.oldest_first
    start = place_of(query)
    if query.unique is not None:
        rows = reading.run("seqs_of_unique", query.unique, reading.now).fetchall()
        return _sorted(rows, start, up)
    if query.ids:
        rows = reading.run("seqs_of_ids", json.dumps(query.ids)).fetchall()
        return _sorted(rows, start, up)
    if query.flow is not None:
        return _pages(reading, "flow", (query.flow,), start, up)
    exact = query.task is not None and not is_glob(query.task)
    if exact and query.states == (JobState.FAILED,) and query.queue is None:
        return _pages(reading, "failed", (query.task,), start, up)
    if query.states or query.queue is not None:
        streams = _streams(reading, query)
        if streams is not None:
            merged = [_pages(reading, "place", stream, start, up) for stream in streams]
            return heapq.merge(*merged, reverse=not up)
    return _pages(reading, "seqs", (), start, up)


def _sorted(rows: list[tuple[int]], start: int, up: bool) -> Iterator[int]:
    seqs = sorted((seq for (seq,) in rows), reverse=not up)
    return iter([seq for seq in seqs if (seq > start if up else seq < start)])


def _pages(
    reading: Reading, name: str, values: tuple[Any, ...], start: int, up: bool
) -> Iterator[int]:
    statement = f"{name}_{'up' if up else 'down'}"
    while True:
        page = reading.run(statement, *values, start, _CHUNK).fetchall()
        for (seq,) in page:
            yield seq
        if len(page) < _CHUNK:
            return
        start = page[-1][0]


def _streams(reading: Reading, query: Query) -> list[tuple[int, str, int]] | None:
    """The ranges of (state, queue, rank) to merge; ``None`` when they are too many."""
    found: list[tuple[int, str, int]] = []
    for code in codes_of(query):
        for queue in occupied(reading, query.queue or ALL, code, lambda queue: True):
            rank = reading.one("next_rank", code, queue, -1000)[0]
            while rank is not None:
                found.append((code, queue, rank))
                if len(found) > _STREAMS:
                    return None
                rank = reading.one("next_rank", code, queue, rank)[0]
    return found


# ------------------------------------------------------------- records


def _load(reading: Reading, seqs: list[int]) -> dict[int, JobRecord]:
    loaded: dict[int, JobRecord] = {}
    for values in reading.run("records", json.dumps(seqs)):
        row = JobRow(*values[:-3])
        if row.keep_until is not None and row.keep_until <= reading.now:
            continue
        facts = facts_of(row.state, values[-2]) if row.flags & Flag.FACTS else Facts()
        record = shown(
            row,
            values[-3],
            facts,
            _bytes(values[-1]),
            now=reading.now,
            awaited=partial(_awaited, reading, row.seq),
        )
        loaded[row.seq] = record
    return loaded


def _awaited(reading: Reading, seq: int) -> list[str]:
    return [job for (job,) in reading.run("waits_for", seq)]


def _bytes(result: Any) -> bytes | None:
    return result if result is None or type(result) is bytes else raw(result)


# ------------------------------------------------------------- what is left, and numbers


def _gone(reading: Reading, query: Query, found: list[JobRecord]) -> dict[str, Gone]:
    left: dict[str, Gone] = {}
    there = {one.id for one in found}
    for job_id in query.ids:
        if job_id in there:
            continue
        row = reading.row(job_id)
        if row is None:
            values = reading.one("gone", job_id, reading.now)
            if values is not None:
                pushed, of, state, *ended, at = values
                answer = Pushed(PushStatus(pushed), of)
                left[job_id] = gone(job_id, answer, state, tuple(ended), at)
        elif row.keep_until is not None and row.keep_until <= reading.now:
            # Past its time, and only not swept up yet.
            pushed, ended = pushed_as(reading.facts(row)), (row.ended_fence, row.ended_nonce)
            left[job_id] = gone(job_id, pushed, row.state, ended, row.keep_until)
    return left
