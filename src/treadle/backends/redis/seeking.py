"""Looking for jobs by their arrival, in steps of the server that are bounded each.

What is in few indexes is found and read in one step. Where there are more, each step gives the
first places in some of them, and the jobs are read once the first places of all are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from treadle.backends.redis.decode import record
from treadle.backends.redis.store import Store
from treadle.records import JobRecord, JobState

__all__ = ["PAGE", "Seeker", "Where", "pass_time"]

PAGE = 200
"""Queues, tasks or ids that are looked at in one step."""

_TOGETHER = 200
"""Jobs that are read in one step when their places are known."""

Place: TypeAlias = tuple[int, bytes]
"""The number of a job's arrival, and its stored id."""

Seen: TypeAlias = tuple[int, JobRecord | None]
"""The number by which a job was found, and the job, or ``None`` when it has moved on since."""


class Where(NamedTuple):
    """The indexes that have the jobs in question, see ``lua/find.lua``."""

    kind: str
    # Said in each step.
    of: Sequence[Any] = ()
    # Said some at a time: each names jobs of its own.
    names: Sequence[Any] = ()


class _Step(NamedTuple):
    # The queue after which to go on, or b"" at the end.
    after: bytes
    # The number of the newest job of all.
    newest: int
    places: list[Place]
    # Those of the places, as scripts show jobs.
    jobs: list[Any]


class Seeker:
    """Gives jobs by arrival, some at a time.

    Args:
        store: where they are.
        where: their indexes.
        states: that they have in these indexes; none for any.
        oldest_first: the direction.
        cursor: the number behind which to begin, or "".
    """

    def __init__(
        self,
        store: Store,
        where: Where,
        *,
        states: Sequence[JobState] = (),
        oldest_first: bool,
        cursor: str,
    ) -> None:
        self._store = store
        self._where = where
        self._states = frozenset(states or JobState)
        self._oldest = oldest_first
        self._cursor = cursor
        self._over = False
        # Whose jobs were not read yet.
        self._known: list[Place] = []

    async def more(self, number: int, most: int) -> Sequence[Seen]:
        """The next so many jobs, or what is left of them; none at the end.

        Args:
            number: how many.
            most: that may be asked for in all, where to look once for all of them is cheaper.
        """
        if not self._known and not self._over:
            jobs = await self._look(number, most)
            if jobs:
                return jobs
        some, self._known = self._known[:_TOGETHER], self._known[_TOGETHER:]
        return await self._read(some) if some else ()

    async def _look(self, number: int, most: int) -> Sequence[Seen]:
        """The jobs, where one step finds them; else only their places are known then."""
        if len(self._where.names) <= PAGE:
            found = await self._step(number)
            if not found.after:
                self._found(found.places, number)
                return [
                    (seq, record(parts) if parts else None)
                    for (seq, _), parts in zip(found.places, found.jobs, strict=True)
                ]
        number = max(number, most)
        self._known = await self._walk(number)
        self._found(self._known, number)
        return ()

    def _found(self, places: Sequence[Place], number: int) -> None:
        self._over = len(places) < number
        if places:
            self._cursor = str(places[-1][0])

    async def _walk(self, number: int) -> list[Place]:
        """The first places of all that is looked at step by step."""
        first: list[Place] = []
        after, at, last = b"", 0, ""
        while True:
            step = await self._step(number, at, after, last, places="1")
            first = sorted((*first, *step.places), reverse=not self._oldest)[:number]
            after, at = step.after, at + PAGE
            if not after and at >= len(self._where.names):
                return first
            if len(first) == number:
                last = str(first[-1][0])
            elif self._oldest and not last:
                # What comes meanwhile would be a reason to go on behind jobs that were not seen.
                last = str(step.newest)

    async def _step(
        self, number: int, at: int = 0, after: bytes = b"", last: str = "", *, places: str = ""
    ) -> _Step:
        where = self._where
        words = (*where.of, *where.names[at : at + PAGE])
        if where.kind == "q":
            words = (*words, PAGE, after)
        oldest = "1" if self._oldest else ""
        following, newest, found, jobs = await self._run(
            "find", where.kind, self._cursor, oldest, number, last, places, *words
        )
        seen = [(int(seq), job_id) for job_id, seq in zip(found[::2], found[1::2], strict=True)]
        return _Step(following, int(newest), seen, jobs)

    async def _read(self, places: Sequence[Place]) -> Sequence[Seen]:
        shown = await self._run("show", *(job_id for _, job_id in places))
        jobs = [record(parts) if parts else None for parts in shown]
        return [
            (seq, one if one is not None and one.state in self._states else None)
            for (seq, _), one in zip(places, jobs, strict=True)
        ]

    async def _run(self, script: str, *words: Any) -> Any:
        while True:
            answer = await self._store.run(script, *words)
            if not isinstance(answer, int):
                return answer
            await pass_time(self._store)


async def pass_time(store: Store) -> None:
    """Move time forward until nothing is due, in steps that let others in between."""
    while await store.run("tick"):
        pass
