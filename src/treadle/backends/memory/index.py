"""Sets of jobs that can be paged by arrival, and heaps from whose middle jobs may vanish."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

from treadle.backends.memory.job import Job

__all__ = ["Index", "Lazy"]

_SMALL = 1000
_FRESH_MAX = 200_000
_SLACK = 64


class Index:
    """Jobs by ``seq``.

    To add and remove costs one step of a dict, because every job passes through three of
    these. Their order is only made when somebody asks for a page of many, and from then on
    kept up from what was added since.
    """

    __slots__ = ("_order", "fresh", "jobs")

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self._order: list[int] = []
        # Added since the order was made; None when there is no order to keep up.
        self.fresh: list[int] | None = None

    def __len__(self) -> int:
        return len(self.jobs)

    def add(self, job: Job) -> None:
        """Take a job in."""
        self.jobs[job.seq] = job
        if self.fresh is not None:
            self.note(job.seq)

    def note(self, seq: int) -> None:
        """Keep the order up; or give it up when nobody has asked for a long time."""
        if self.fresh is not None:
            self.fresh.append(seq)
            if len(self.fresh) > _FRESH_MAX:
                self.fresh, self._order = None, []

    def page(self, after: int, oldest_first: bool) -> Iterator[tuple[int, Job]]:
        """The jobs beyond one ``seq``, in order of arrival or against it."""
        order = self._ordered()
        if oldest_first:
            places = range(bisect_right(order, after), len(order))
        else:
            places = range(bisect_left(order, after) - 1, -1, -1)
        last = -1
        for place in places:
            seq = order[place]
            job = self.jobs.get(seq)
            # A job that left and came back is there twice, side by side.
            if job is not None and seq != last:
                last = seq
                yield seq, job

    def _ordered(self) -> list[int]:
        if len(self.jobs) <= _SMALL:
            self.fresh, self._order = None, []
            return sorted(self.jobs)
        if self.fresh is None or len(self._order) + len(self.fresh) > 2 * len(self.jobs) + _SLACK:
            self._order = sorted(self.jobs)
        elif self.fresh:
            self._order += sorted(self.fresh)
            self._order.sort()  # two runs: found and merged at once
        self.fresh = []
        return self._order


class Lazy:
    """A heap of ``(at, seq, job)`` whose entries may go stale; these are dropped when met.

    Args:
        live: whether an entry still says something.
    """

    __slots__ = ("_live", "_tidy_at", "heap")

    def __init__(self, live: Callable[[float, Job], bool]) -> None:
        self._live = live
        self._tidy_at = _SLACK
        # The same list for ever: the store looks at its head.
        self.heap: list[tuple[float, int, Job]] = []

    def add(self, at: float, job: Job) -> None:
        """Put a job at an instant."""
        if len(self.heap) >= self._tidy_at:
            self._tidy()
        heappush(self.heap, (at, job.seq, job))

    def head(self) -> tuple[float, Job] | None:
        """The earliest live entry."""
        heap = self.heap
        while heap:
            at, _, job = heap[0]
            if self._live(at, job):
                return at, job
            heappop(heap)
        return None

    def due(self, now: float) -> Job | None:
        """The earliest live job, if its instant has come."""
        head = self.head()
        return head[1] if head is not None and head[0] <= now else None

    def _tidy(self) -> None:
        alive = {entry[1]: entry for entry in self.heap if self._live(entry[0], entry[2])}
        self.heap[:] = alive.values()
        heapify(self.heap)
        # Half may die before it is worth looking again.
        self._tidy_at = 2 * len(self.heap) + _SLACK
