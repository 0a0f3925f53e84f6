"""One queue: its lanes of queued jobs by priority, and its jobs by state."""

from __future__ import annotations

from bisect import insort
from collections import deque
from heapq import heappop, heappush

from treadle.backends.memory.index import Index
from treadle.backends.memory.job import OPEN, QUEUED, RUNNING, Job
from treadle.ports import QueueRule
from treadle.records import JobState

__all__ = ["Lane", "Queue"]

_SLACK = 64


class Lane:
    """The queued jobs of one priority, by ``seq``.

    Those that arrive stand in a deque, because they arrive in order; those that come back to
    an old place stand in a heap beside it.
    """

    __slots__ = ("back", "fifo")

    def __init__(self) -> None:
        self.fifo: deque[Job] = deque()
        self.back: list[tuple[int, Job]] = []

    def __bool__(self) -> bool:
        return bool(self.fifo or self.back)

    def add(self, job: Job) -> None:
        """Take a job in at its place."""
        fifo = self.fifo
        if not fifo or fifo[-1].seq < job.seq:
            fifo.append(job)
        else:
            heappush(self.back, (job.seq, job))

    def pop(self) -> Job:
        """The first entry; it may be of a job that is no longer queued here."""
        back, fifo = self.back, self.fifo
        if back and (not fifo or back[0][0] < fifo[0].seq):
            return heappop(back)[1]
        return fifo.popleft()

    def tidy(self, priority: int) -> None:
        """Drop the entries of jobs that are no longer here."""
        alive = sorted(
            {
                job.seq: job
                for job in (*self.fifo, *(entry[1] for entry in self.back))
                if job.state is QUEUED and job.priority == priority and not job.suspect
            }.items()
        )
        self.fifo = deque(job for _, job in alive)
        self.back = []


class Queue:
    """One queue."""

    __slots__ = (
        "_dead",
        "_open",
        "by",
        "lanes",
        "listed",
        "name",
        "priorities",
        "queued",
        "rule",
        "running",
        "sub_open",
        "sub_running",
        "suspects",
        "suspects_queued",
        "up",
    )

    def __init__(self, name: str, up: tuple[Queue, ...], rule: QueueRule | None) -> None:
        self.name = name
        # The queues that cover it.
        self.up = up
        self.rule = rule
        self.by: dict[JobState, Index] = {state: Index() for state in JobState}
        self.queued = self.by[QUEUED]
        self.running = self.by[RUNNING]
        # The jobs of each state that is not final.
        self._open = tuple([self.by[state].jobs for state in OPEN])
        # Of its subqueues.
        self.sub_open = 0
        self.sub_running = 0
        self.lanes: dict[int, Lane] = {}
        # Of the lanes, the best last.
        self.priorities: list[int] = []
        # It is among the queues with something to claim.
        self.listed = False
        self.suspects: list[tuple[int, int, Job]] = []
        self.suspects_queued = 0
        self._dead = 0

    @property
    def ready(self) -> int:
        """Queued jobs that anybody may claim."""
        return len(self.queued.jobs) - self.suspects_queued

    @property
    def open(self) -> int:
        """Jobs that are not final, with those of subqueues."""
        return self.sub_open + sum(map(len, self._open))

    @property
    def idle(self) -> bool:
        """Whether it can be forgotten."""
        return not self.sub_open and self.rule is None and not any(map(len, self.by.values()))

    def lane(self, priority: int) -> Lane:
        """The lane of a priority."""
        lane = self.lanes.get(priority)
        if lane is None:
            lane = self.lanes[priority] = Lane()
            insort(self.priorities, priority)
        return lane

    def close(self, priority: int) -> None:
        """Drop an empty lane."""
        del self.lanes[priority]
        self.priorities.remove(priority)

    def suspect(self) -> Job | None:
        """The first suspect."""
        heap = self.suspects
        while heap:
            place, _, job = heap[0]
            if job.state is QUEUED and job.suspect and place == -job.priority:
                return job
            heappop(heap)
        return None

    def bury(self) -> None:
        """A job left from the middle of a lane; tidy up when most entries are dead."""
        self._dead += 1
        if self._dead > _SLACK and self._dead > len(self.queued.jobs):
            self._dead = 0
            for priority in tuple(self.priorities):
                self.lanes[priority].tidy(priority)
                if not self.lanes[priority]:
                    self.close(priority)

    @property
    def bounds(self) -> list[Queue]:
        """Of it and those that cover it, those that bound how many jobs run."""
        return [
            queue
            for queue in (self, *self.up)
            if queue.rule is not None and queue.rule.max_running is not None
        ]

    def room(self, now: float) -> float:
        """Jobs that may be claimed of it, by its rules and those above it."""
        return min(_room(queue, now) for queue in (self, *self.up))


def _room(queue: Queue, now: float) -> float:
    rule = queue.rule
    if rule is None:
        return float("inf")
    if rule.paused and (rule.until is None or now < rule.until):
        return 0
    if rule.max_running is None:
        return float("inf")
    return max(0, rule.max_running - queue.sub_running - len(queue.running))
