"""Leases by the instant at which they lapse, in batches as they were granted."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from treadle.backends.memory.job import Job

__all__ = ["Batch", "Leases"]

_SLACK = 64
_NEVER = -1.0


class Batch:
    """The jobs that one claim leased."""

    __slots__ = ("extended", "jobs", "live", "nonce", "number", "until")

    def __init__(self, number: int, nonce: int, until: float) -> None:
        self.number = number
        self.nonce = nonce
        # None of its leases lapses before.
        self.until = until
        self.jobs: list[Job] = []
        # Jobs that are still leased.
        self.live = 0
        # Some lapse later than ``until``.
        self.extended = False

    def held(self) -> list[Job]:
        """The jobs that are still leased."""
        if self.live < len(self.jobs):
            self.jobs = [job for job in self.jobs if job.batch == self.number]
        return self.jobs


class Leases:
    """All leases.

    One entry of the heap stands for a whole claim, so that a lease costs a claim next to
    nothing; an extension is only written down in the job and looked at when the batch is due.
    """

    __slots__ = ("_last", "batches", "heap")

    def __init__(self) -> None:
        self.batches: dict[int, Batch] = {}
        # Each instant may be too early. The same list for ever: the store looks at its head.
        self.heap: list[tuple[float, int]] = []
        self._last = 0

    def open(self, nonce: int, until: float) -> Batch:
        """A batch for a claim to fill; it counts once it is :meth:`keep`-t."""
        self._last += 1
        return Batch(self._last, nonce, until)

    def keep(self, batch: Batch) -> None:
        """Watch a batch."""
        batch.live = len(batch.jobs)
        if batch.live:
            self.batches[batch.number] = batch
            self._push(batch)

    def drop(self, job: Job) -> None:
        """A lease ended."""
        batch = self.batches[job.batch]
        job.batch = 0
        batch.live -= 1
        if not batch.live:
            # The list would keep its jobs in memory until the lease would have lapsed.
            batch.jobs = []
            del self.batches[batch.number]

    def extend(self, job: Job, until: float) -> None:
        """A lease lasts until another instant."""
        job.lease_until = until
        batch = self.batches[job.batch]
        if until < batch.until:
            batch.until = until
            self._push(batch)
        else:
            batch.extended = True

    def next(self) -> float | None:
        """The instant of the next lapse, unless it is extended."""
        batch = self._head()
        return batch.until if batch is not None else None

    def due(self, now: float, most: int) -> list[Job]:
        """At most so many jobs whose leases have lapsed."""
        found: list[Job] = []
        while len(found) < most:
            batch = self._head()
            if batch is None or batch.until > now:
                break
            late = [job for job in batch.held() if job.lease_until <= now]
            found += late[: most - len(found)]
            if len(found) >= most:
                break
            heappop(self.heap)
            left = [job.lease_until for job in batch.jobs if job.lease_until > now]
            # An instant that an older entry of the heap cannot have: these jobs are found.
            batch.until = min(left, default=_NEVER)
            if left:
                self._push(batch)
        return found

    def _head(self) -> Batch | None:
        heap = self.heap
        while heap:
            until, number = heap[0]
            batch = self.batches.get(number)
            if batch is None or batch.until != until:
                heappop(heap)
            elif batch.extended:
                heappop(heap)
                batch.extended = False
                batch.until = min(job.lease_until for job in batch.held())
                self._push(batch)
            else:
                return batch
        return None

    def _push(self, batch: Batch) -> None:
        if len(self.heap) > 2 * len(self.batches) + _SLACK:
            self.heap[:] = [(one.until, one.number) for one in self.batches.values()]
            heapify(self.heap)
        heappush(self.heap, (batch.until, batch.number))
