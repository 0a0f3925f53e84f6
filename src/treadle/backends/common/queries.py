"""What a query asks for: where a page begins, which jobs are meant, and how they are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Protocol

from treadle.backends.common.jobrow import CODES, Code, state_of
from treadle.errors import InvalidOption
from treadle.faults import Fault
from treadle.ports import Query
from treadle.queuenames import ALL, covers
from treadle.records import JobState, NewJob

__all__ = ["Seen", "chosen", "codes_of", "counts_of", "failures_of", "is_glob", "place_of"]

_LAST = 1 << 62
"""No job has a number as large."""
_DIGITS = len(str(_LAST)) + 1


class Seen(Protocol):
    """A job, as far as queries ask for it."""

    @property
    def spec(self) -> NewJob: ...
    @property
    def state(self) -> JobState: ...
    @property
    def created(self) -> float: ...
    @property
    def fault(self) -> Fault | None: ...


_Test = Callable[[Seen], bool]


def place_of(query: Query) -> int:
    """The number of the job behind which the page begins.

    Raises:
        InvalidOption: the cursor is none.
    """
    cursor = query.cursor
    if cursor is None:
        return -1 if query.oldest_first else _LAST
    digits = cursor.isascii() and cursor.isdigit() and len(cursor) < _DIGITS
    if not (digits and int(cursor) <= _LAST):
        raise InvalidOption(
            f"cursor={cursor!r} is none: give the one of the page before, or None to begin",
            option="cursor",
            value=cursor,
        )
    return int(cursor)


def is_glob(task: str) -> bool:
    """Whether a name of tasks may mean several."""
    return any(sign in task for sign in "*?[")


def codes_of(query: Query) -> list[int]:
    """The codes that jobs in question may have in the store."""
    codes = {code for state in query.states or JobState for code in CODES[state]}
    if JobState.QUEUED in query.states:
        # Jobs whose time has come count as queued before they are moved.
        codes.add(Code.SCHEDULED)
    return sorted(codes)


# ------------------------------------------------------------- which are meant


def chosen(query: Query) -> Callable[[Seen], bool] | None:
    """Whether a job is one of those in question, asking only what the query says.

    ``None`` where it says nothing: all are.
    """
    tests = (*_where(query), *_what(query))
    return (lambda job: all(test(job) for test in tests)) if tests else None


def _where(query: Query) -> Iterator[_Test]:
    if query.ids:
        ids = frozenset(query.ids)
        yield lambda job: job.spec.id in ids
    if query.states:
        states = frozenset(query.states)
        yield lambda job: job.state in states
    if query.queue is not None and query.queue != ALL:
        queue, below = query.queue, query.queue + "."
        yield lambda job: job.spec.queue == queue or job.spec.queue.startswith(below)
    if query.key is not None:
        yield lambda job: job.spec.key == query.key
    if query.flow is not None:
        yield lambda job: job.spec.flow == query.flow


def _what(query: Query) -> Iterator[_Test]:
    task, error, since, until = query.task, query.error, query.since, query.until
    if task is not None and is_glob(task):
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


# ------------------------------------------------------------- numbers


def counts_of(rows: Iterable[tuple[int, str, int]], query: Query) -> dict[str, dict[JobState, int]]:
    """Jobs by queue and state, from rows of code, queue and number."""
    counts: dict[str, dict[JobState, int]] = {}
    for code, queue, n in rows:
        if query.queue is None or covers(query.queue, queue):
            states, state = counts.setdefault(queue, {}), state_of(code)
            states[state] = states.get(state, 0) + n
    return counts


def failures_of(rows: Iterable[tuple[str, int]], query: Query) -> dict[str, int]:
    """Failed jobs by task, from rows of task and number."""
    task = query.task
    return {name: n for name, n in rows if task is None or fnmatchcase(name, task)}
