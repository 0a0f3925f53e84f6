"""What is left of jobs that ended: finished jobs until their time, and then tombstones."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import NamedTuple

from treadle.backends.memory.job import Job
from treadle.ports import Gone
from treadle.records import JobState, Pushed, Token

__all__ = ["Kept", "Tombs"]

_SLACK = 64


class Kept:
    """Finished jobs by the instant of their removal.

    Jobs that are kept equally long are removed in the order in which they ended, so each
    length has a deque, and only the heads of these stand in a heap.
    """

    __slots__ = ("_dead", "_heads", "_shelves", "_tidy_at")

    def __init__(self) -> None:
        self._shelves: dict[float, deque[Job]] = {}
        self._heads: list[tuple[float, float]] = []
        self._dead = 0
        self._tidy_at = _SLACK

    def add(self, job: Job, seconds: float, finished: float) -> None:
        """Keep a job for so many seconds."""
        job.kept = True
        shelf = self._shelves.get(seconds)
        if shelf:
            shelf.append(job)
        else:
            self._shelves[seconds] = deque((job,))
            heappush(self._heads, (finished + seconds, seconds))

    def drop(self, job: Job) -> None:
        """The job was taken away before its time."""
        job.kept = False
        self._dead += 1
        if self._dead > self._tidy_at:
            self._tidy()

    def due(self, now: float) -> Job | None:
        """A job whose time is over; it is no longer here."""
        while self._heads and self._heads[0][0] <= now:
            seconds = heappop(self._heads)[1]
            shelf = self._shelves[seconds]
            job = shelf.popleft()
            self._head(seconds, shelf)
            if job.kept:
                job.kept = False
                return job
            self._dead -= 1
        return None

    def _head(self, seconds: float, shelf: deque[Job]) -> None:
        if shelf:
            finished = shelf[0].finished
            heappush(self._heads, ((finished or 0.0) + seconds, seconds))
        else:
            del self._shelves[seconds]

    def _tidy(self) -> None:
        """Drop what was taken away, when that is most of what is here."""
        entries = sum(map(len, self._shelves.values()))
        self._tidy_at = max(_SLACK, entries // 2)
        if self._dead <= self._tidy_at:
            return
        shelves, self._shelves, self._heads, self._dead = self._shelves, {}, [], 0
        for seconds, shelf in shelves.items():
            self._shelves[seconds] = deque(job for job in shelf if job.kept)
            self._head(seconds, self._shelves[seconds])


class _Tomb(NamedTuple):
    pushed: Pushed
    state: JobState | None
    token: Token | None
    at: float


class Tombs:
    """Ids that must not be taken again, with the answers to repeated requests."""

    __slots__ = ("_order", "_tombs")

    def __init__(self) -> None:
        self._tombs: dict[str, _Tomb] = {}
        self._order: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        return len(self._tombs)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._tombs

    def add(
        self,
        job_id: str,
        pushed: Pushed,
        now: float,
        state: JobState | None = None,
        token: Token | None = None,
    ) -> None:
        """Remember an id."""
        self._tombs[job_id] = _Tomb(pushed, state, token, now)
        self._order.append((now, job_id))

    def get(self, job_id: str) -> _Tomb | None:
        """What is remembered of an id."""
        return self._tombs.get(job_id)

    def gone(self, job_id: str) -> Gone | None:
        """The same for others to see."""
        tomb = self._tombs.get(job_id)
        if tomb is None:
            return None
        return Gone(pushed=tomb.pushed, state=tomb.state, token=tomb.token, at=tomb.at)

    def purge(self, before: float, most: int) -> bool:
        """Forget at most so many that are older; whether there may be more."""
        order = self._order
        while order and order[0][0] <= before and most > 0:
            at, job_id = order.popleft()
            tomb = self._tombs.get(job_id)
            if tomb is not None and tomb.at == at:
                del self._tombs[job_id]
            most -= 1
        return bool(order) and order[0][0] <= before
