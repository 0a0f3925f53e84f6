"""Changing many jobs: count, ask, change, say what became of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import typer

from treadle.changes import Outcome, outcome
from treadle.cli.filters import Filter, agreed, found
from treadle.cli.output import Output, complain
from treadle.cli.statuses import FAILURE, NOT_FOUND
from treadle.cli.stores import Store
from treadle.errors import InvalidOption
from treadle.ports import ALTER_MAX, Change, Query
from treadle.records import JobState

__all__ = ["Verb", "change"]


class Verb(msgspec.Struct, frozen=True, kw_only=True):
    """A change of jobs, in words."""

    # "retry", "retried".
    name: str
    past: str
    change: Change
    # The states meant when a filter names none.
    states: tuple[JobState, ...]


class _Outcome(msgspec.Struct, kw_only=True):
    verb: str
    dry_run: bool
    # Jobs that were changed; with a dry run, that would be.
    done: int = 0
    # Running jobs that were asked to stop.
    asked: int = 0
    # State that forbids the change, and how many.
    refused: dict[str, int] = {}
    # Ids that no job has.
    missing: list[str] = []


async def change(
    store: Store, out: Output, verb: Verb, which: Filter, *, yes: bool, dry_run: bool
) -> None:
    """Carry out a verb on the jobs of a filter, and print the outcome.

    Raises:
        InvalidOption: no jobs were named, or nobody can be asked.
    """
    if which.empty:
        raise InvalidOption(
            f"{verb.name} which jobs? Give ids, filters such as --state failed --task 'mail.*', "
            "or --all",
            option="--all",
            value=False,
        )
    # Jobs that arrive, or come back to the line, meanwhile are not meant.
    query = which.query(store.clock.now(), default=verb.states)
    if query.until is None and not query.ids:
        query = msgspec.structs.replace(query, until=store.clock.now())
    query = msgspec.structs.replace(query, oldest_first=True)
    if dry_run:
        result = await _looked(store, verb, query)
    elif which.ids or yes or await _asked(store, out, verb, query):
        result = await _altered(store, verb, query)
    else:
        complain("nothing was changed")
        raise typer.Exit(FAILURE)
    _say(out, verb, result)
    if result.missing:
        raise typer.Exit(NOT_FOUND)
    if which.ids and result.refused:
        raise typer.Exit(FAILURE)


async def _asked(store: Store, out: Output, verb: Verb, query: Query) -> bool:
    states: Counter[JobState] = Counter()
    async for record in found(store, query):
        if outcome(verb.change, record.state) is not Outcome.REFUSED:
            states[record.state] += 1
    return agreed(out, verb.name, yes=False, states=states)


async def _looked(store: Store, verb: Verb, query: Query) -> _Outcome:
    result = _Outcome(verb=verb.name, dry_run=True)
    seen: set[str] = set()
    async for record in found(store, query):
        seen.add(record.id)
        match outcome(verb.change, record.state):
            case Outcome.DONE:
                result.done += 1
            case Outcome.ASKED:
                result.asked += 1
            case Outcome.REFUSED:
                _count(result.refused, record.state)
    result.missing = [one for one in query.ids if one not in seen]
    return result


async def _altered(store: Store, verb: Verb, query: Query) -> _Outcome:
    result = _Outcome(verb=verb.name, dry_run=False)
    for part in _parts(query):
        touched: set[str] = set()
        page: Query | None = part
        while page is not None:
            altered = await store.backend.alter(page, verb.change)
            result.done += len(altered.done)
            result.asked += len(altered.asked)
            for state in altered.refused.values():
                _count(result.refused, state)
            touched |= {*altered.done, *altered.asked, *altered.refused}
            page = msgspec.structs.replace(page, cursor=altered.cursor) if altered.cursor else None
        result.missing += [one for one in part.ids if one not in touched]
    return result


def _parts(query: Query) -> list[Query]:
    """The query in calls of a size that a store takes."""
    size = ALTER_MAX
    starts = range(0, max(len(query.ids), 1), size)
    return [
        msgspec.structs.replace(query, ids=query.ids[at : at + size], limit=size) for at in starts
    ]


def _count(counts: dict[str, int], state: str) -> None:
    counts[state] = counts.get(state, 0) + 1


def _say(out: Output, verb: Verb, result: _Outcome) -> None:
    if out.json:
        out.data(result)
        return
    would = "would be " if result.dry_run else ""
    parts: list[Any] = []
    if result.done or not result.asked:
        parts.append(f"{result.done:,} {would}{verb.past}")
    if result.asked:
        parts.append(f"{result.asked:,} running {would}asked to stop")
    for state, count in sorted(result.refused.items()):
        parts.append(f"{count:,} refused because they are {state}")
    if result.missing:
        parts.append(f"not found: {', '.join(result.missing)}")
    out.line("; ".join(parts))
