"""What is left of jobs that ended: finished jobs until their time, and then tombstones."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import NamedTuple

from treadle.backends.memory.job import Job
from treadle.records import JobState, Pushed, Token

__all__ = ["FailedJobs", "Kept", "Tomb", "Tombs"]

_SLACK = 64


class FailedJobs:
    """All failed jobs, by the instant of their end, and by arrival those of one instant."""

    __slots__ = ("_heap", "_jobs")

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        # Also of jobs that were taken away, until it is tidied.
        self._heap: list[tuple[float, int, str]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """A job has failed."""
        self._jobs[job.id] = job
        heappush(self._heap, _place(job))

    def drop(self, job: Job) -> None:
        """It is no longer failed, or no longer there."""
        self._jobs.pop(job.id, None)
        if len(self._heap) > 2 * len(self._jobs) + _SLACK:
            self._heap = sorted(map(_place, self._jobs.values()))

    def oldest(self) -> Job:
        """The one that failed first."""
        while True:
            place = self._heap[0]
            job = self._jobs.get(place[2])
            if job is not None and _place(job) == place:
                return job
            heappop(self._heap)


def _place(job: Job) -> tuple[float, int, str]:
    assert job.finished is not None
    return job.finished, job.seq, job.id


class Kept:
    """Finished jobs by the instant of their removal.

    Jobs that are kept equally long are removed in the order in which they ended, so each
    length has a deque, and only the heads of these stand in a heap.
    """

    __slots__ = ("_dead", "_shelves", "_tidy_at", "heads")

    def __init__(self) -> None:
        self._shelves: dict[float, deque[Job]] = {}
        # The same list for ever: the store looks at its head.
        self.heads: list[tuple[float, float]] = []
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
            heappush(self.heads, (finished + seconds, seconds))

    def drop(self, job: Job) -> None:
        """The job was taken away before its time."""
        job.kept = False
        self._dead += 1
        if self._dead > self._tidy_at:
            self._tidy()

    def due(self, now: float) -> Job | None:
        """A job whose time is over; it is no longer here."""
        while self.heads and self.heads[0][0] <= now:
            seconds = heappop(self.heads)[1]
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
            heappush(self.heads, ((finished or 0.0) + seconds, seconds))
        else:
            del self._shelves[seconds]

    def _tidy(self) -> None:
        """Drop what was taken away, when that is most of what is here."""
        entries = sum(map(len, self._shelves.values()))
        self._tidy_at = max(_SLACK, entries // 2)
        if self._dead <= self._tidy_at:
            return
        shelves, self._shelves, self._dead = self._shelves, {}, 0
        self.heads.clear()
        for seconds, shelf in shelves.items():
            self._shelves[seconds] = deque(job for job in shelf if job.kept)
            self._head(seconds, self._shelves[seconds])


class Tomb(NamedTuple):
    """What is left of one job."""

    pushed: Pushed
    state: JobState | None
    token: Token | None
    at: float


class Tombs:
    """Ids that must not be taken again, with the answers to repeated requests."""

    __slots__ = ("_order", "of")

    def __init__(self) -> None:
        # By id; some may be older than they have to be.
        self.of: dict[str, Tomb] = {}
        self._order: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        return len(self.of)

    def add(
        self,
        job_id: str,
        pushed: Pushed,
        now: float,
        state: JobState | None = None,
        token: Token | None = None,
    ) -> None:
        """Remember an id."""
        self.of[job_id] = Tomb(pushed, state, token, now)
        self._order.append((now, job_id))

    def get(self, job_id: str) -> Tomb | None:
        """What is remembered of an id."""
        return self.of.get(job_id)

    def older(self, before: float) -> bool:
        """Whether there is one to forget."""
        return bool(self._order) and self._order[0][0] <= before

    def purge(self, before: float, most: int) -> bool:
        """Forget at most so many that are older; whether there may be more."""
        order = self._order
        while order and order[0][0] <= before and most > 0:
            at, job_id = order.popleft()
            tomb = self.of.get(job_id)
            if tomb is not None and tomb.at == at:
                del self.of[job_id]
            most -= 1
        return self.older(before)
