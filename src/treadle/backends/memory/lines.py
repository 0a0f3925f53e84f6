"""The line in front of a key or of a bounded number of slots."""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush

from treadle.backends.memory.job import QUEUED, RUNNING, SCHEDULED, Job

__all__ = ["KEY", "LIMIT", "Line"]

KEY = "key:"
LIMIT = "limit:"
"""What the names of lines begin with; a parked job shows the name as its reason."""

_SLACK = 64


class Line:
    """Who has the units of a key or limit, and which jobs wait for them."""

    __slots__ = (
        "_blocking",
        "_heap",
        "members",
        "name",
        "slots",
        "tickets",
        "used",
        "waiting",
        "woken",
    )

    def __init__(self, name: str, slots: int) -> None:
        self.name = name
        # The number given last.
        self.slots = slots
        self.used = 0
        # Jobs parked here.
        self.waiting = 0
        self._heap: list[tuple[int, int, Job]] = []
        # Units meant for queued jobs that were woken and not yet claimed, and the queues of
        # these, by seq.
        self.woken: dict[int, tuple[int, str]] = {}
        # Jobs of this key that are not final.
        self.members = 0
        # Those of them that later ordered jobs must not overtake.
        self._blocking: list[tuple[int, Job]] = []
        # Requests of the worker door, in order of arrival.
        self.tickets: OrderedDict[str, None] = OrderedDict()

    @property
    def idle(self) -> bool:
        """Whether it can be forgotten."""
        return not (self.used or self.waiting or self.woken or self.members or self.tickets)

    @property
    def free(self) -> int:
        """Units that nobody has and nobody was woken for."""
        return self.slots - self.used - sum(units for units, _ in self.woken.values())

    def park(self, job: Job, need: int) -> None:
        """Put a job in line."""
        job.parked = self.name
        job.need = need
        self.waiting += 1
        if len(self._heap) > 2 * self.waiting + _SLACK:
            alive = {entry[1]: entry for entry in self._heap if self._live(entry)}
            self._heap = list(alive.values())
            heapify(self._heap)
        heappush(self._heap, self._entry(job))

    def head(self) -> Job | None:
        """The first in line."""
        while self._heap:
            if self._live(self._heap[0]):
                return self._heap[0][2]
            heappop(self._heap)
        return None

    def leave(self, job: Job) -> None:
        """Take a job out of the line, wherever it stands."""
        job.parked = ""
        self.waiting -= 1

    def join(self, job: Job) -> None:
        """Make later ordered jobs of the key wait for this one."""
        if not job.lined:
            job.lined = True
            heappush(self._blocking, (job.seq, job))

    def first(self) -> Job | None:
        """The earliest job of the key that ordered ones must not overtake."""
        heap = self._blocking
        while heap:
            job = heap[0][1]
            if _blocks(job):
                return job
            job.lined = False
            heappop(heap)
        return None

    def _entry(self, job: Job) -> tuple[int, int, Job]:
        return (0 if job.spec.ordered else -job.priority, job.seq, job)

    def _live(self, entry: tuple[int, int, Job]) -> bool:
        job = entry[2]
        return job.parked == self.name and entry[0] == self._entry(job)[0]


def _blocks(job: Job) -> bool:
    if job.state is SCHEDULED:
        return job.tries > 0 or job.paid
    return job.state is QUEUED or job.state is RUNNING or bool(job.parked)
