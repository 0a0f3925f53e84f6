"""Conditions on jobs, from what a user writes to a query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypedDict

import msgspec

from treadle.durations import Duration, seconds, timestamp
from treadle.errors import InvalidOption, UnknownOption
from treadle.guards import is_iterable
from treadle.hints import did_you_mean, shown
from treadle.ports import Query
from treadle.queuenames import check_queue
from treadle.records import JobState
from treadle.task import Task, is_task

__all__ = ["Conditions", "check_chosen", "query_of"]

TaskOf = Callable[[Any], Task[..., Any]]
Reader = Callable[[str, Any], Any]

_NO_JOB = ""
"""An id that no job has."""

_FAR = 1e9
"""Seconds, some 30 years: a longer way back is a point in time that was meant."""


class Conditions(TypedDict, total=False):
    """Conditions on jobs; all must hold. See :class:`~treadle.ports.Query`."""

    # No ids, no jobs.
    ids: Iterable[str]
    # With its subqueues.
    queue: str | None
    # One or several.
    state: JobState | str | Iterable[JobState | str]
    # A task, its function, its name, or a glob such as "mail.*".
    task: Task[..., Any] | Callable[..., Any] | str | None
    # Jobs that have all of them.
    tags: str | Iterable[str]
    unique: str | None
    key: str | None
    flow: str | None
    # Bounds on when the job was accepted: a point in time, or how long ago, such as "5m".
    since: datetime | Duration | None
    until: datetime | Duration | None
    # Text in the type or message of the error.
    error: str | None
    oldest_first: bool
    limit: int
    # From the page before.
    cursor: str | None
    counts: bool


def query_of(conditions: Mapping[str, Any], base: Any, *, task_of: TaskOf, now: float) -> Query:
    """The query for some conditions.

    Args:
        conditions: as a user wrote them.
        base: a query to start from.
        task_of: finds the task of a function.
        now: what durations count from.

    Raises:
        UnknownOption, InvalidOption: a condition does not exist, or has a value that cannot work.
        UnknownTask: a function is no task.
    """
    if base is not None and not isinstance(base, Query):
        raise InvalidOption(
            f"query={shown(base)} is not a Query of treadle.ports; write conditions by name: "
            "queue='mail', state='failed'",
            option="query",
            value=base,
        )
    fields: dict[str, Any] = {}
    for name, value in conditions.items():
        if name == "task":
            fields[name] = _task(value, task_of)
        elif name in {"since", "until"}:
            fields[name] = _bound(name, value, now)
        elif name in _READERS:
            fields[_FIELDS.get(name, name)] = _READERS[name](name, value)
        else:
            raise _unknown(name)
    if () in (fields.get("ids"), fields.get("states")):
        # To a query that would be no condition at all.
        fields |= {"ids": (_NO_JOB,), "states": ()}
    return msgspec.structs.replace(base or Query(), **fields)


def check_chosen(query: Query) -> None:
    """Return if a query says which jobs it is about.

    Raises:
        InvalidOption: it is about all there are.
    """
    if not any(getattr(query, name) for name in _CHOOSING):
        raise InvalidOption(
            "no condition says which jobs to change; give one, such as queue='mail' or "
            "state='failed', or task='*' for all jobs that there are",
            option="conditions",
            value=None,
        )


_CHOOSING = (
    "ids", "queue", "states", "task", "tags", "unique", "key", "flow", "since", "until", "error",
)  # fmt: skip
_FIELDS = {"state": "states"}


def _refused(name: str, value: Any, what: str) -> InvalidOption:
    return InvalidOption(f"{name}={shown(value)} is not {what}", option=name, value=value)


def _task(value: Any, task_of: TaskOf) -> str | None:
    if value is None or isinstance(value, str):
        return _text("task", value)
    if is_task(value):
        # Of another app, too: jobs know the name only.
        return value.name
    if not callable(value):
        raise _refused("task", value, "a task, its function, its name, or a glob such as 'mail.*'")
    return task_of(value).name


def _bound(name: str, value: Any, now: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return timestamp(value, name)
    ago = seconds(value, name)
    if ago > _FAR:
        raise _refused(
            name, value, "a time ago within 30 years; give a point in time as a datetime"
        )
    return now - ago


def _text(name: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value and value.isprintable()):
        return value
    raise _refused(name, value, "a text that can be seen, or None for any")


def _queue(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _refused(name, value, "the name of a queue")
    return None if value is None else check_queue(value)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    several = (value,) if isinstance(value, str) else value
    if not is_iterable(several):
        raise _refused(name, value, "a text, or a list of texts")
    found = tuple(several)
    for one in found:
        if not isinstance(one, str) or not one or not one.isprintable():
            raise _refused(name, one, "a text that can be seen")
    return found


def _states(name: str, value: Any) -> tuple[JobState, ...]:
    several = (value,) if isinstance(value, str) else value
    try:
        return tuple(JobState(one) for one in several)
    except (ValueError, TypeError):
        known = ", ".join(state.value for state in JobState)
        raise _refused(name, value, f"a state of a job: {known}") from None


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refused(name, value, "True or False")
    return value


def _limit(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _refused(name, value, "a number from 1")
    return value


_READERS: Mapping[str, Reader] = {
    "ids": _texts,
    "queue": _queue,
    "state": _states,
    "tags": _texts,
    "unique": _text,
    "key": _text,
    "flow": _text,
    "error": _text,
    "oldest_first": _flag,
    "limit": _limit,
    "cursor": _text,
    "counts": _flag,
}


def _unknown(name: str) -> UnknownOption:
    known = tuple(Conditions.__annotations__)
    hint = did_you_mean(name, known, _SYNONYMS)
    return UnknownOption(
        f"jobs have no condition {name!r}{hint}. Known conditions: {', '.join(known)}",
        option=name,
        known=known,
    )


_SYNONYMS = {
    "status": "state", "states": "state", "name": "task", "tasks": "task", "tag": "tags",
    "id": "ids", "newer_than": "since", "older_than": "until", "before": "until",
    "after": "since", "order": "oldest_first", "queues": "queue", "job_id": "ids",
}  # fmt: skip
