"""Changing the jobs that a query finds."""

from __future__ import annotations

import msgspec

from treadle.backends.redis.encode import when
from treadle.backends.redis.finding import select
from treadle.backends.redis.layout import STATES
from treadle.backends.redis.names import short
from treadle.backends.redis.store import Store
from treadle.ids import Ids
from treadle.ports import (
    ALTER_MAX,
    Altered,
    Cancel,
    Change,
    Delete,
    Query,
    Reprioritise,
    Reschedule,
    Retry,
)
from treadle.records import JobRecord, JobState

__all__ = ["alter"]

_TOGETHER = 50
"""Jobs that are changed in one script."""


async def alter(store: Store, ids: Ids, query: Query, change: Change) -> Altered:
    """Change them; one that has changed since it was found is looked at again."""
    found = await select(store, query, min(query.limit, ALTER_MAX))
    outcome = _Outcome()
    records = found.records
    for at in range(0, len(records), _TOGETHER):
        some = records[at : at + _TOGETHER]
        while some:
            again = await _carry_out(store, ids, some, change, outcome)
            if not again:
                break
            narrowed = msgspec.structs.replace(query, ids=tuple(again), cursor=None)
            some = (await select(store, narrowed, len(again))).records
    order = {one.id: place for place, one in enumerate(records)}
    return Altered(
        done=tuple(sorted(outcome.done, key=order.__getitem__)),
        asked=tuple(sorted(outcome.asked, key=order.__getitem__)),
        refused=outcome.refused,
        cursor=found.cursor,
    )


class _Outcome:
    """What became of the jobs so far."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.asked: list[str] = []
        self.refused: dict[str, JobState] = {}


async def _carry_out(
    store: Store, ids: Ids, records: tuple[JobRecord, ...], change: Change, outcome: _Outcome
) -> list[str]:
    """Change these; the ids of those that have changed since they were seen."""
    kind, value = _words(change)
    pairs = [word for one in records for word in (short(one.id), one.version)]
    answers = await store.run("alter", ids.new(), kind, value, *pairs)
    again: list[str] = []
    for one, answer in zip(records, answers.decode(), strict=True):
        if answer == "d":
            outcome.done.append(one.id)
        elif answer == "a":
            outcome.asked.append(one.id)
        elif answer == "m":
            again.append(one.id)
        else:
            outcome.refused[one.id] = STATES[int(answer)]
    return again


def _words(change: Change) -> tuple[str, str]:
    match change:
        case Cancel():
            return "c", ""
        case Retry():
            return "r", when(change.due)
        case Reschedule():
            return "s", when(change.due)
        case Reprioritise():
            return "p", str(change.priority)
        case Delete():
            return "d", ""
