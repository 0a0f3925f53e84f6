"""Filters of the verbs that work on many jobs, and how those verbs ask before they act."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
import typer

from treadle.cli.output import Output
from treadle.cli.stores import Store
from treadle.durations import seconds
from treadle.errors import InvalidOption
from treadle.ports import ALTER_MAX, EXAMINE_MAX, Query
from treadle.records import JobRecord, JobState

__all__ = [
    "Error",
    "Filter",
    "Ids",
    "Key",
    "NewerThan",
    "OlderThan",
    "QueueName",
    "State",
    "Tag",
    "TaskName",
    "agreed",
    "found",
]

Ids = Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Ids of jobs.")]
State = Annotated[
    list[str] | None,
    typer.Option("--state", "-s", metavar="STATE", help="In this state; can be given again."),
]
TaskName = Annotated[
    str | None, typer.Option("--task", "-t", metavar="NAME", help='Of this task; "mail.*" works.')
]
QueueName = Annotated[
    str | None,
    typer.Option("--queue", "-q", metavar="NAME", help="In this queue or one below it."),
]
OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", metavar="TIME", help="Enqueued longer ago than 30m, 2h, 7d."),
]
NewerThan = Annotated[
    str | None, typer.Option("--newer-than", metavar="TIME", help="Enqueued within 30m, 2h, 7d.")
]
Tag = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="TAG", help="With this tag; can be given again."),
]
Key = Annotated[str | None, typer.Option("--key", metavar="KEY", help="With this key.")]
Error = Annotated[
    str | None,
    typer.Option("--error", metavar="TEXT", help="With this text in the type or message."),
]


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs a command is about, as it was written."""

    ids: list[str] | None = None
    state: list[str] | None = None
    task: str | None = None
    queue: str | None = None
    older_than: str | None = None
    newer_than: str | None = None
    tag: list[str] | None = None
    key: str | None = None
    error: str | None = None
    # Without anything else: every job.
    everything: bool = False

    @property
    def empty(self) -> bool:
        """Whether it names no jobs at all."""
        return not any(getattr(self, name) for name in self.__struct_fields__)

    def query(self, now: float, *, default: tuple[JobState, ...] = ()) -> Query:
        """The query that finds them.

        Args:
            now: what the ages count from.
            default: the states meant when neither ids nor states are given.

        Raises:
            InvalidOption: a state that does not exist, or an age that is none.
        """
        states = tuple(_state(one) for given in self.state or [] for one in given.split(","))
        until = now - seconds(self.older_than, "--older-than") if self.older_than else None
        return Query(
            ids=tuple(self.ids or ()),
            states=states or (() if self.ids else default),
            task=self.task,
            queue=self.queue,
            tags=tuple(self.tag or ()),
            key=self.key,
            error=self.error,
            since=now - seconds(self.newer_than, "--newer-than") if self.newer_than else None,
            until=until,
        )


def _state(text: str) -> JobState:
    try:
        return JobState(text.strip().lower())
    except ValueError:
        known = ", ".join(JobState)
        raise InvalidOption(
            f"--state: there is no state {text!r}; the states are {known}",
            option="--state",
            value=text,
        ) from None


async def found(store: Store, query: Query, limit: int | None = None) -> AsyncIterator[JobRecord]:
    """The jobs of a query, through as many pages as it takes."""
    if len(query.ids) > ALTER_MAX:
        for at in range(0, len(query.ids), ALTER_MAX):
            part = msgspec.structs.replace(query, ids=query.ids[at : at + ALTER_MAX])
            async for record in found(store, part):
                yield record
        return
    left = limit
    page_size = EXAMINE_MAX if limit is None else min(limit, EXAMINE_MAX)
    query = msgspec.structs.replace(query, limit=page_size)
    while left is None or left > 0:
        page = await store.backend.find(query)
        for record in page.records[:left]:
            yield record
        if left is not None:
            left -= len(page.records)
        if page.cursor is None:
            return
        query = msgspec.structs.replace(query, cursor=page.cursor)


def agreed(out: Output, what: str, *, yes: bool, states: Counter[JobState]) -> bool:
    """Whether a person agrees to a change of many jobs.

    Raises:
        InvalidOption: there is nobody to ask, and ``--yes`` was not given.
    """
    total = states.total()
    if yes or total == 0:
        return True
    listed = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
    if not sys.stdin.isatty():
        raise InvalidOption(
            f"this would {what} {total:,} jobs ({listed}); say --yes to do it, or --dry-run "
            "to look first",
            option="--yes",
            value=False,
        )
    return typer.confirm(f"{what.capitalize()} {total:,} jobs ({listed})?", err=out.json)
