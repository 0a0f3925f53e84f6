"""Pages of jobs of several stores: each store goes on behind its own last job.

The cursor behind a job is the number of its arrival, but in a store that is made of stores itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from heapq import merge
from itertools import islice

import msgspec

from treadle.errors import InvalidOption
from treadle.ports import Altered, Gone, Page, Query
from treadle.records import JobRecord, JobState
from treadle.together import all_of, split

__all__ = ["altered_of", "page_of"]

_OVER, _BEGIN = "-", ""
"""A part of a cursor, where it is not that of the store: its end, and its beginning."""

Ask = Callable[[int, Query, int], Awaitable[Page]]
"""Asks one of the stores: its number, the query, how many others are asked beside it."""
Behind = Callable[[int, Query, JobRecord], Awaitable[str | None]]
"""The cursor of one of the stores behind a job: the last for a query of just so many."""


async def _numbered(_: int, __: Query, last: JobRecord) -> str | None:
    return str(last.seq)


async def page_of(
    stores: int, query: Query, ask: Ask, *, behind: Behind = _numbered, between: str = "."
) -> Page:
    """The jobs of all stores by the time of their arrival; those of one store in their order.

    Args:
        stores: how many.
        query: with the cursor of the page before.
        ask: asks one of them.
        behind: where one of them goes on.
        between: parts the cursors; what is none of theirs.
    """
    places = _places(query, stores, between)
    asked = {at: place for at, place in enumerate(places) if place != _OVER}
    pages = await all_of(
        ask(at, msgspec.structs.replace(query, cursor=place or None), len(asked))
        for at, place in asked.items()
    )
    by_store = dict(zip(asked, pages, strict=True))
    taken = _merged(by_store, query)
    after = await _after(places, by_store, taken, query, behind)
    counts: dict[str, dict[JobState, int]] = {}
    failures: dict[str, int] = {}
    gone: dict[str, Gone] = {}
    for page in pages:
        _add(counts, page.counts)
        for task, number in page.failures.items():
            failures[task] = failures.get(task, 0) + number
        gone.update(page.gone)
    return Page(
        records=tuple(record for _, record in taken),
        gone=gone,
        cursor=None if all(one == _OVER for one in after) else between.join(after),
        examined=sum(page.examined for page in pages),
        counts=counts,
        failures=failures,
    )


def _places(query: Query, stores: int, between: str) -> list[str]:
    if query.cursor is None:
        return [_BEGIN] * stores
    places = query.cursor.split(between)
    if len(places) != stores or all(one == _OVER for one in places):
        raise InvalidOption(
            f"cursor={query.cursor!r} is none: give the one of the page before, or None to begin",
            option="cursor",
            value=query.cursor,
        )
    return places


def _merged(pages: Mapping[int, Page], query: Query) -> list[tuple[int, JobRecord]]:
    """The first jobs of all pages together, each with its store."""
    sign = 1 if query.oldest_first else -1
    # Only from their heads: a job that was tried again is newer than it says.
    lines = [[(at, record) for record in page.records] for at, page in pages.items()]
    return list(islice(merge(*lines, key=lambda one: sign * one[1].created), query.limit))


async def _after(
    places: Sequence[str],
    pages: Mapping[int, Page],
    taken: Sequence[tuple[int, JobRecord]],
    query: Query,
    behind: Behind,
) -> list[str]:
    """Where each store goes on: behind the last of its jobs that was taken."""
    last: dict[int, JobRecord] = dict(taken)
    number: dict[int, int] = {}
    for at, _ in taken:
        number[at] = number.get(at, 0) + 1
    after = list(places)
    for at, page in pages.items():
        if number.get(at, 0) == len(page.records):
            after[at] = page.cursor or _OVER
        elif at in last:
            part = msgspec.structs.replace(query, cursor=places[at] or None, limit=number[at])
            after[at] = await behind(at, part, last[at]) or _OVER
    return after


def _add(
    counts: dict[str, dict[JobState, int]], more: Mapping[str, Mapping[JobState, int]]
) -> None:
    for queue, states in more.items():
        row = counts.setdefault(queue, {})
        for state, number in states.items():
            row[state] = row.get(state, 0) + number


async def altered_of(
    page: Page,
    place: Callable[[JobRecord], int],
    alter: Callable[[int, list[str]], Awaitable[Altered]],
) -> Altered:
    """What became of the jobs of a page, in the order in which they were found.

    Args:
        page: from all stores.
        place: says in which of them a job is.
        alter: has one of them change its own, by their ids.
    """

    async def some(store: int, part: list[JobRecord]) -> list[Altered]:
        answer = await alter(store, [record.id for record in part])
        return [answer] * len(part)

    answers = await split(page.records, place, some) if page.records else []
    outcomes = {
        id(one): (frozenset(one.done), frozenset(one.asked), one.refused) for one in answers
    }
    done: list[str] = []
    asked: list[str] = []
    refused: dict[str, JobState] = {}
    for record, answer in zip(page.records, answers, strict=True):
        were_done, were_asked, were_refused = outcomes[id(answer)]
        if record.id in were_done:
            done.append(record.id)
        elif record.id in were_asked:
            asked.append(record.id)
        elif record.id in were_refused:
            refused[record.id] = were_refused[record.id]
    return Altered(done=tuple(done), asked=tuple(asked), refused=refused, cursor=page.cursor)
