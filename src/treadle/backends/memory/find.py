"""Finding jobs: through an index, at most so many a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import merge

from treadle.backends.common.queries import chosen, failures_of, is_glob, place_of
from treadle.backends.memory.index import Index
from treadle.backends.memory.job import FAILED, Job, record
from treadle.backends.memory.store import Store
from treadle.ports import EXAMINE_MAX, Gone, Page, Query
from treadle.queuenames import ALL, covered
from treadle.records import JobState

__all__ = ["find", "one", "select"]

_Entries = Iterator[tuple[int, Job]]


def find(store: Store, query: Query) -> Page:
    """A page of jobs."""
    jobs, cursor, examined = select(store, query, query.limit)
    tombs = {one: _gone(store, one) for one in query.ids if one not in store.jobs}
    return Page(
        records=tuple(record(job) for job in jobs),
        gone={one: gone for one, gone in tombs.items() if gone is not None},
        cursor=cursor,
        examined=examined,
        counts=_counts(store, query) if query.counts else {},
        failures=_failures(store, query) if query.counts else {},
    )


def one(job: Job) -> Page:
    """A page of one job."""
    return Page(records=(record(job),), examined=1)


def select(store: Store, query: Query, limit: int) -> tuple[list[Job], str | None, int]:
    """The jobs that a query finds, where to go on, and how many were looked at."""
    found: list[Job] = []
    examined, last = 0, None
    wanted = chosen(query)
    for seq, job in _entries(store, query):
        if len(found) >= limit or examined >= EXAMINE_MAX:
            return found, str(last) if last is not None else query.cursor, examined
        examined += 1
        last = seq
        if wanted is None or wanted(job):
            found.append(job)
    return found, None, examined


def _gone(store: Store, job_id: str) -> Gone | None:
    tomb = store.tomb(job_id)
    if tomb is None:
        return None
    return Gone(pushed=tomb.pushed, state=tomb.state, token=tomb.token, at=tomb.at)


def _entries(store: Store, query: Query) -> _Entries:
    """The jobs to look at, in order, beginning where the page before ended."""
    after = place_of(query)
    pages = [index.page(after, query.oldest_first) for index in _indexes(store, query)]
    if len(pages) == 1:
        return pages[0]
    return merge(*pages, reverse=not query.oldest_first, key=lambda entry: entry[0])


def _indexes(store: Store, query: Query) -> list[Index]:
    """The smallest indexes that have all the jobs in question."""
    if query.unique is not None:
        holder = store.holder(query.unique)
        return _of((holder,) if not query.ids or holder in query.ids else (), store)
    if query.ids:
        return _of(query.ids, store)
    if query.flow is not None:
        return _one(store.of_flow, query.flow)
    if query.queue is None and query.states == (FAILED,) and query.task is not None:
        if not is_glob(query.task):
            return _one(store.failures, query.task)
        return [store.failures[task] for task in _failures(store, query)]
    states = dict.fromkeys(query.states or JobState)
    names = covered(store.names, query.queue if query.queue is not None else ALL)
    indexes = (store.queues[name].by[state] for name in names for state in states)
    return [index for index in indexes if index.jobs]


def _of(ids: Sequence[str | None], store: Store) -> list[Index]:
    index = Index()
    for job in [store.jobs[one] for one in ids if one in store.jobs]:
        index.add(job)
    return [index]


def _one(indexes: Mapping[str, Index], key: str) -> list[Index]:
    index = indexes.get(key)
    return [index] if index is not None else []


def _counts(store: Store, query: Query) -> dict[str, dict[JobState, int]]:
    names = covered(store.names, query.queue if query.queue is not None else ALL)
    counts = {
        name: {state: len(index) for state, index in store.queues[name].by.items() if index.jobs}
        for name in names
    }
    return {name: states for name, states in counts.items() if states}


def _failures(store: Store, query: Query) -> dict[str, int]:
    return failures_of(((name, len(index)) for name, index in store.failures.items()), query)
