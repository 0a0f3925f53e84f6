"""In which shard a job is: told by its id, and by what it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zlib import crc32

from treadle.errors import InvalidOption
from treadle.ports import Query
from treadle.records import Ask, NewJob

__all__ = ["Placing"]

_MARK = "#"
"""What stands before the first one decides for the whole name."""
_TAIL = 4
"""Hexadecimal digits at the end of an id that are as good as others."""


class Placing:
    """The places of jobs among so many shards."""

    def __init__(self, shards: int) -> None:
        self.shards = shards

    def of(self, name: str) -> int:
        """The shard of an id, a flow, a key, a unique key, a limit."""
        return crc32((name.partition(_MARK)[0] or name).encode()) % self.shards

    def of_job(self, job: NewJob) -> int:
        """The shard of all that a job names.

        Raises:
            InvalidOption: these are several.
        """
        place = self._named(job)
        if place is not None and place != self.of(job.id):
            raise self._apart(job, ("id", job.id), next(_names(job)))
        return self.of(job.id) if place is None else place

    def placed(self, job: NewJob) -> str:
        """The id of a job, changed in its last digits until its shard is that of what it names.

        Raises:
            InvalidOption: these are several.
        """
        place = self._named(job)
        if place is None or self.of(job.id) == place:
            return job.id
        head, tail = job.id[:-_TAIL], job.id[-_TAIL:]
        try:
            start = int(tail, 16)
        except ValueError:
            head, start = job.id, 0
        # The same for the same job, in every process.
        for step in range(1, 1 << 16):
            found = f"{head}{(start + step) & 0xFFFF:04x}"
            if self.of(found) == place:
                return found
        raise self._apart(job, ("id", job.id), next(_names(job)))

    def of_asks(self, asks: Sequence[Ask]) -> int:
        """The shard of all limits that are asked for together.

        Raises:
            InvalidOption: these are several.
        """
        keys = [ask.key for ask in asks]
        places = {self.of(key) for key in keys}
        if len(places) > 1:
            raise InvalidOption(
                f"limits {', '.join(map(repr, keys))} are in different shards, and nothing is "
                f"granted in two of them at once; give them keys that begin with the same word and "
                f"a {_MARK}, such as 'mail#a' and 'mail#b', or ask for one after the other",
                option="limits",
                value=keys,
            )
        return places.pop() if places else 0

    def of_query(self, query: Query) -> int | None:
        """The one shard that has all jobs in question; ``None`` where they may be anywhere."""
        for name in (query.unique, query.flow, query.key):
            if name is not None:
                return self.of(name)
        places = {self.of(one) for one in query.ids}
        return places.pop() if len(places) == 1 else None

    def _named(self, job: NewJob) -> int | None:
        """The shard of flow, key, unique key and limits; ``None`` where there are none."""
        if job.flow is None and job.key is None and job.unique is None and not job.asks:
            return None
        first, *others = _names(job)
        place = self.of(first[1])
        for other in others:
            if self.of(other[1]) != place:
                raise self._apart(job, first, other)
        return place

    def _apart(self, job: NewJob, one: tuple[str, str], other: tuple[str, str]) -> InvalidOption:
        (what, name), (what_else, other_name) = one, other
        return InvalidOption(
            f"{what}={name!r} and {what_else}={other_name!r} of a job of task {job.task!r} are in "
            f"different shards, of which this store has {self.shards}, and a job is in one; begin "
            f"both with the same word and a {_MARK}, such as 'mail{_MARK}a' and 'mail{_MARK}b', or "
            f"leave {what} away",
            option=what,
            value=name,
        )


def _names(job: NewJob) -> Iterator[tuple[str, str]]:
    if job.flow is not None:
        yield "flow", job.flow
    if job.key is not None:
        yield "key", job.key
    if job.unique is not None:
        yield "unique", job.unique.key
    for ask in job.asks:
        yield "limits", ask.key
