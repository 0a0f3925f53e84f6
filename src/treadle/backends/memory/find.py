"""Finding jobs: through an index, at most so many a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from heapq import merge

from treadle.backends.common.names import ALL, covered
from treadle.backends.memory.index import Index
from treadle.backends.memory.job import FAILED, Job, record
from treadle.backends.memory.store import Store
from treadle.errors import InvalidOption
from treadle.ports import EXAMINE_MAX, Page, Query
from treadle.records import JobState

__all__ = ["find", "select"]

_Entries = Iterator[tuple[int, Job]]


def find(store: Store, query: Query) -> Page:
    """A page of jobs."""
    jobs, cursor, examined = select(store, query, query.limit)
    tombs = {one: store.tombs.gone(one) for one in query.ids if one not in store.jobs}
    return Page(
        records=tuple(record(job) for job in jobs),
        gone={one: gone for one, gone in tombs.items() if gone is not None},
        cursor=cursor,
        examined=examined,
        counts=_counts(store, query) if query.counts else {},
        failures=_failures(store, query) if query.counts else {},
    )


def select(store: Store, query: Query, limit: int) -> tuple[list[Job], str | None, int]:
    """The jobs that a query finds, where to go on, and how many were looked at."""
    found: list[Job] = []
    examined, last = 0, None
    wanted = _filter(query)
    for seq, job in _entries(store, query):
        if len(found) >= limit or examined >= EXAMINE_MAX:
            return found, str(last) if last is not None else query.cursor, examined
        examined += 1
        last = seq
        if wanted(job):
            found.append(job)
    return found, None, examined


def _entries(store: Store, query: Query) -> _Entries:
    """The jobs to look at, in order, beginning where the page before ended."""
    after = _place(query.cursor)
    pages = [index.page(after, query.oldest_first) for index in _indexes(store, query)]
    if len(pages) == 1:
        return pages[0]
    return merge(*pages, reverse=not query.oldest_first, key=lambda entry: entry[0])


def _indexes(store: Store, query: Query) -> list[Index]:
    """The smallest indexes that have all the jobs in question."""
    if query.ids:
        index = Index()
        for job in [store.jobs[one] for one in query.ids if one in store.jobs]:
            index.add(job)
        return [index]
    if query.unique is not None:
        return _one(store.of_unique, query.unique)
    if query.flow is not None:
        return _one(store.of_flow, query.flow)
    if query.queue is None and query.states == (FAILED,) and query.task is not None:
        if not _is_glob(query.task):
            return _one(store.failures, query.task)
        tasks = [task for task in store.failures if fnmatchcase(task, query.task)]
        return [store.failures[task] for task in tasks]
    states = query.states or tuple(JobState)
    names = covered(store.names, query.queue if query.queue is not None else ALL)
    indexes = (store.queues[name].by[state] for name in names for state in states)
    return [index for index in indexes if index.jobs]


def _one(indexes: Mapping[str, Index], key: str) -> list[Index]:
    index = indexes.get(key)
    return [index] if index is not None else []


def _place(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        return int(cursor)
    except ValueError:
        raise InvalidOption(
            f"cursor={cursor!r} is none: give the one of the page before, or None to begin",
            option="cursor",
            value=cursor,
        ) from None


def _is_glob(task: str) -> bool:
    return any(sign in task for sign in "*?[")


def _filter(query: Query) -> Callable[[Job], bool]:
    """Whether a job is one of those in question, asking only what the query says."""
    tests: list[Callable[[Job], bool]] = [*_where(query), *_what(query)]
    return lambda job: all(test(job) for test in tests)


def _where(query: Query) -> Iterator[Callable[[Job], bool]]:
    if query.states:
        states = frozenset(query.states)
        yield lambda job: job.state in states
    if query.queue is not None and query.queue != ALL:
        queue, below = query.queue, query.queue + "."
        yield lambda job: job.queue == queue or job.queue.startswith(below)
    if query.unique is not None:
        unique = query.unique
        yield lambda job: job.spec.unique is not None and job.spec.unique.key == unique
    if query.key is not None:
        yield lambda job: job.spec.key == query.key
    if query.flow is not None:
        yield lambda job: job.spec.flow == query.flow


def _what(query: Query) -> Iterator[Callable[[Job], bool]]:
    task, error, since, until = query.task, query.error, query.since, query.until
    if task is not None and _is_glob(task):
        yield lambda job: fnmatchcase(job.spec.task, task)
    elif task is not None:
        yield lambda job: job.spec.task == task
    if query.tags:
        tags = frozenset(query.tags)
        yield lambda job: tags.issubset(job.spec.tags)
    if since is not None:
        yield lambda job: job.created >= since
    if until is not None:
        yield lambda job: job.created <= until
    if error is not None:
        yield (
            lambda job: (
                job.fault is not None and (error in job.fault.type or error in job.fault.message)
            )
        )


def _counts(store: Store, query: Query) -> dict[str, dict[JobState, int]]:
    names = covered(store.names, query.queue if query.queue is not None else ALL)
    counts = {
        name: {state: len(index) for state, index in store.queues[name].by.items() if index.jobs}
        for name in names
    }
    return {name: states for name, states in counts.items() if states}


def _failures(store: Store, query: Query) -> dict[str, int]:
    task = query.task
    return {
        name: len(index)
        for name, index in store.failures.items()
        if task is None or fnmatchcase(name, task)
    }
