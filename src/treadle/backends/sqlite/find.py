"""Looking at jobs: which index to page through, and what to keep of it."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

import msgspec

from treadle.backends.common.names import ALL, covers
from treadle.backends.sqlite.ends import pushed_as
from treadle.backends.sqlite.members import occupied
from treadle.backends.sqlite.rows import (
    CODES,
    Code,
    Facts,
    Flag,
    Row,
    decode_facts,
    decode_spec,
    state_of,
)
from treadle.backends.sqlite.tx import Reading
from treadle.errors import InvalidOption
from treadle.ports import EXAMINE_MAX, Gone, Page, Query
from treadle.records import JobRecord, JobState, Pushed, PushStatus, Token

__all__ = ["Found", "find", "search"]

_CHUNK = 100
_STREAMS = 256
"""Ranges of the index that are merged; with more of them, all jobs are paged through."""
_END = 1 << 62


class Found(msgspec.Struct, gc=False):
    """A job that was found, as stored and as shown."""

    row: Row
    record: JobRecord


def find(reading: Reading, query: Query) -> Page:
    """The page that answers a query."""
    found, cursor, examined = search(reading, query)
    page = Page(
        records=tuple(one.record for one in found),
        gone=_gone(reading, query, found) if query.ids else {},
        cursor=cursor,
        examined=examined,
    )
    if query.counts:
        page = msgspec.structs.replace(
            page, counts=_counts(reading, query), failures=_failures(reading, query)
        )
    return page


def search(reading: Reading, query: Query) -> tuple[list[Found], str | None, int]:
    """Matching jobs, where to go on, and how many were looked at."""
    limit = max(0, query.limit)
    seqs = _source(reading, query)
    found: list[Found] = []
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
            if one is not None and _matches(one.record, query):
                found.append(one)
                if len(found) == limit:
                    break
    more = last is not None and next(seqs, None) is not None
    return found, (str(last) if more or _left(found, limit, last) else None), examined


def _left(found: list[Found], limit: int, last: int | None) -> bool:
    # The chunk may hold more behind the last one that was taken.
    return len(found) == limit and last is not None and limit > 0


# ------------------------------------------------------------- which index


def _source(reading: Reading, query: Query) -> Iterator[int]:
    """Numbers of jobs that may match, by arrival, from the cursor on."""
    up = query.oldest_first
    start = _start(query.cursor, up)
    if query.ids:
        rows = reading.run("seqs_of_ids", json.dumps(query.ids)).fetchall()
        return _sorted(rows, start, up)
    if query.unique is not None:
        rows = reading.run("seqs_of_unique", query.unique, reading.now).fetchall()
        return _sorted(rows, start, up)
    if query.flow is not None:
        return _pages(reading, "flow", (query.flow,), start, up)
    exact = query.task is not None and not any(sign in query.task for sign in "*?[")
    if exact and query.states == (JobState.FAILED,) and query.queue is None:
        return _pages(reading, "failed", (query.task,), start, up)
    if query.states or query.queue is not None:
        streams = _streams(reading, query)
        if streams is not None:
            merged = [_pages(reading, "place", stream, start, up) for stream in streams]
            return heapq.merge(*merged, reverse=not up)
    return _pages(reading, "seqs", (), start, up)


def _start(cursor: str | None, up: bool) -> int:
    if cursor is None:
        return -1 if up else _END
    if not cursor.isdigit():
        raise InvalidOption(
            f"cursor={cursor!r} is none: pass on what the page before gave",
            option="cursor",
            value=cursor,
        )
    return int(cursor)


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
    codes: list[int] = []
    for state in query.states or tuple(JobState):
        codes += CODES[state]
    if JobState.QUEUED in query.states and Code.SCHEDULED not in codes:
        # Jobs whose time has come count as queued before they are moved.
        codes.append(Code.SCHEDULED)
    found: list[tuple[int, str, int]] = []
    for code in codes:
        for queue in occupied(reading, query.queue or ALL, code, lambda queue: True):
            rank = reading.one("next_rank", code, queue, -1000)[0]
            while rank is not None:
                found.append((code, queue, rank))
                if len(found) > _STREAMS:
                    return None
                rank = reading.one("next_rank", code, queue, rank)[0]
    return found


# ------------------------------------------------------------- records


def _load(reading: Reading, seqs: list[int]) -> dict[int, Found]:
    loaded: dict[int, Found] = {}
    for values in reading.run("records", json.dumps(seqs)):
        row = Row(*values[:-3])
        if row.keep_until is not None and row.keep_until <= reading.now:
            continue
        facts = Facts() if values[-2] is None else decode_facts(values[-2])
        record = _record(reading, row, values[-3], facts, values[-1])
        loaded[row.seq] = Found(row, record)
    return loaded


def _record(
    reading: Reading, row: Row, body: bytes, facts: Facts, result: bytes | None
) -> JobRecord:
    spec = decode_spec(body)
    waits: tuple[str, ...] = ()
    if row.state == Code.WAITING and row.line is None and spec.after is not None:
        left = {job for (job,) in reading.run("waits_for", row.seq)}
        waits = tuple(job for job in dict.fromkeys(spec.after.ids) if job in left)
    running = row.state == Code.RUNNING
    state = state_of(row.state)
    if state is JobState.SCHEDULED and row.due is not None and row.due <= reading.now:
        state = JobState.QUEUED
    reason = row.line or (f"after:{waits[0]}" if waits else facts.reason)
    return JobRecord(
        spec=spec,
        seq=row.seq,
        state=state,
        version=row.version,
        reason=reason,
        priority=-row.rank,
        due=row.due,
        expires=row.expires,
        fence=row.fence,
        tries=row.tries,
        crashes=row.crashes,
        suspect=bool(row.flags & Flag.SUSPECT),
        cancel_asked=bool(row.flags & Flag.CANCEL),
        created=row.created,
        started=row.started,
        finished=row.finished,
        lease_until=row.until if running else None,
        holder=row.holder or "",
        waits_for=waits,
        note=facts.note,
        result=result,
        skipped=facts.skipped,
        cause=facts.cause,
        fault=facts.fault,
        attempts=facts.attempts,
    )


def _matches(record: JobRecord, query: Query) -> bool:
    spec = record.spec
    return (
        (not query.ids or spec.id in query.ids)
        and (not query.states or record.state in query.states)
        and (query.queue is None or covers(query.queue, spec.queue))
        and (query.task is None or fnmatchcase(spec.task, query.task))
        and (query.unique is None or _unique(record, query.unique))
        and (query.key is None or spec.key == query.key)
        and (query.flow is None or spec.flow == query.flow)
        and (query.since is None or record.created >= query.since)
        and (query.until is None or record.created <= query.until)
        and set(query.tags) <= set(spec.tags)
        and (query.error is None or _error(record, query.error))
    )


def _unique(record: JobRecord, key: str) -> bool:
    return record.spec.unique is not None and record.spec.unique.key == key


def _error(record: JobRecord, text: str) -> bool:
    fault = record.fault
    return fault is not None and (text in fault.type or text in fault.message)


# ------------------------------------------------------------- what is left, and numbers


def _gone(reading: Reading, query: Query, found: list[Found]) -> dict[str, Gone]:
    gone: dict[str, Gone] = {}
    there = {one.record.id for one in found}
    for job_id in query.ids:
        if job_id in there:
            continue
        row = reading.row(job_id)
        if row is None:
            values = reading.one("gone", job_id, reading.now)
            if values is not None:
                gone[job_id] = _tombstone(values)
        elif row.keep_until is not None and row.keep_until <= reading.now:
            # Past its time, and only not swept up yet.
            pushed = pushed_as(reading.facts(row))
            token = _token(job_id, row.ended_fence, row.ended_nonce)
            gone[job_id] = Gone(
                pushed=pushed, state=state_of(row.state), token=token, at=row.keep_until
            )
    return {
        job_id: msgspec.structs.replace(one, token=_named(job_id, one.token))
        for job_id, one in gone.items()
    }


def _tombstone(values: Any) -> Gone:
    pushed, of, state, fence, nonce, at = values
    return Gone(
        pushed=Pushed(PushStatus(pushed), of),
        state=None if state is None else state_of(state),
        token=_token("", fence, nonce),
        at=at,
    )


def _token(job_id: str, fence: int | None, nonce: int | None) -> Token | None:
    return None if fence is None or nonce is None else Token(job_id, fence, nonce)


def _named(job_id: str, token: Token | None) -> Token | None:
    return None if token is None else token._replace(job_id=job_id)


def _counts(reading: Reading, query: Query) -> dict[str, dict[JobState, int]]:
    counts: dict[str, dict[JobState, int]] = {}
    for code, queue, n in reading.run("counts"):
        if query.queue is None or covers(query.queue, queue):
            states = counts.setdefault(queue, {})
            states[state_of(code)] = states.get(state_of(code), 0) + n
    return counts


def _failures(reading: Reading, query: Query) -> dict[str, int]:
    found = reading.run("failures").fetchall()
    return {task: n for task, n in found if query.task is None or fnmatchcase(task, query.task)}
