"""Conditions on jobs, from what a user writes to a query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from treadle.durations import timestamp
from treadle.errors import InvalidOption, UnknownOption
from treadle.hints import did_you_mean
from treadle.ports import Query
from treadle.records import JobState

if TYPE_CHECKING:
    from treadle.task import Task

__all__ = ["Conditions", "query_of"]


class Conditions(TypedDict, total=False):
    """Conditions on jobs; all must hold. See :class:`~treadle.ports.Query`."""

    ids: Iterable[str]
    # With its subqueues.
    queue: str
    # One or several.
    state: JobState | str | Iterable[JobState | str]
    # A task, its function, its name, or a glob such as "mail.*".
    task: Task[..., Any] | str
    # Jobs that have all of them.
    tags: str | Iterable[str]
    unique: str
    key: str
    flow: str
    # Bounds on when the job was accepted.
    since: datetime
    until: datetime
    # Text in the type or message of the error.
    error: str
    oldest_first: bool
    limit: int
    # From the page before.
    cursor: str | None
    counts: bool


def query_of(conditions: Mapping[str, Any], base: Query | None = None) -> Query:
    """The query for some conditions.

    Raises:
        UnknownOption, InvalidOption
    """
    fields: dict[str, Any] = {}
    for name, value in conditions.items():
        if name not in Conditions.__annotations__:
            raise _unknown(name)
        if name == "state":
            fields["states"] = _states(value)
        elif name == "task":
            fields["task"] = value if isinstance(value, str) else value.name
        elif name in {"since", "until"}:
            fields[name] = timestamp(value, name)
        elif name in {"tags", "ids"}:
            fields[name] = (value,) if isinstance(value, str) else tuple(value)
        else:
            fields[name] = value
    limit = fields.get("limit", 1)
    if not isinstance(limit, int) or limit < 1:
        raise InvalidOption(f"limit={limit!r} is not a number from 1", option="limit", value=limit)
    return msgspec.structs.replace(base or Query(), **fields)


def _states(value: Any) -> tuple[JobState, ...]:
    several = (value,) if isinstance(value, str) else tuple(value)
    try:
        return tuple(JobState(one) for one in several)
    except ValueError:
        known = ", ".join(state.value for state in JobState)
        raise InvalidOption(
            f"state={value!r} is not a state of a job: {known}", option="state", value=value
        ) from None


def _unknown(name: str) -> UnknownOption:
    known = tuple(Conditions.__annotations__)
    hint = did_you_mean(name, known, {"status": "state", "name": "task", "states": "state"})
    return UnknownOption(
        f"jobs have no condition {name!r}{hint}. Known conditions: {', '.join(known)}",
        option=name,
        known=known,
    )
