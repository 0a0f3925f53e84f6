"""The state of a memory backend: everything that the steps read and change, under one lock."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Self, TypeVar

from treadle.backends.common.waiting import Room, rouse
from treadle.backends.memory.cells import Cells
from treadle.backends.memory.index import Index, Lazy
from treadle.backends.memory.job import QUEUED, SCHEDULED, WAITING, Job
from treadle.backends.memory.kept import FailedJobs, Kept, Tomb, Tombs
from treadle.backends.memory.leases import Leases
from treadle.backends.memory.lines import Line
from treadle.backends.memory.permits import Permits
from treadle.backends.memory.queue import Queue
from treadle.backends.memory.sessions import Presence
from treadle.backends.memory.waiters import Waiter, Waiters
from treadle.clock import Clock
from treadle.fates import Fate, with_fates
from treadle.policies.spending import Rates
from treadle.queuenames import Matcher, ancestors, check_queue
from treadle.records import FINAL

__all__ = ["Holder", "Store"]

_MATCHERS_MAX = 256
T = TypeVar("T")


class Holder(NamedTuple):
    """Who holds a unique key, and until when; None while the job lasts."""

    job_id: str
    until: float | None


class Store:
    """Jobs and shared state of one namespace.

    A step is ``with store:``. It holds the lock, has the time in ``now``, and wakes those
    who wait for what it changed when the lock is free again.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.max_failed = 10_000
        # Seconds for which a request may be repeated, and is answered as before.
        self.request_ttl = 600.0
        self.reset()

    def reset(self) -> None:
        """Forget everything, also who had the lock: what a fork must do."""
        self._lock = threading.Lock()
        self.now = 0.0
        self._reset_jobs()
        self._reset_shared()
        # All that time moves, by the instant at which it does.
        self._heaps: tuple[Sequence[tuple[float, object] | tuple[float, object, object]], ...] = (
            self.leases.heap,
            self.kept.heads,
            self.scheduled.heap,
            self.expiring.heap,
            self.windows,
            self.permits.lapses,
            self.cells.lapses,
        )

    def _reset_jobs(self) -> None:
        self.seq = 0
        self.jobs: dict[str, Job] = {}
        self.tombs = Tombs()
        self.queues: dict[str, Queue] = {}
        self.names: list[str] = []  # of all queues, sorted
        self.ready: list[str] = []  # of the queues with jobs to claim, sorted
        self.turns: dict[str, str | None] = {}  # name in a claim -> queue served last
        self.suspects: dict[str, None] = {}  # queues that may have suspects
        self.fresh_suspects = False  # no claim has seen them all
        self.scheduled = Lazy(_is_due)
        self.expiring = Lazy(_expires)
        self.leases = Leases()
        self.kept = Kept()
        self.failed = FailedJobs()
        self.failures: dict[str, Index] = {}  # of a task
        self.unique: dict[str, Holder] = {}
        self.windows: list[tuple[float, str]] = []  # heap of the unique keys with a time
        self.of_flow: dict[str, Index] = {}
        self.dependants: dict[str, list[Job]] = {}
        self.cascade: deque[Job] = deque()  # waiting jobs that are to fail
        self.fates: list[Fate] = []  # that no answer has told yet

    def _reset_shared(self) -> None:
        self.lines: dict[str, Line] = {}
        self.slack: list[str] = []  # lines that may have free units
        self.rates = Rates()
        self.permits = Permits()
        self.cells = Cells()
        self.presence = Presence()
        self.waiters = Waiters()
        self._matchers: dict[tuple[tuple[str, ...], tuple[str, ...]], Matcher] = {}

    def __enter__(self) -> Self:
        self._lock.acquire()
        self.now = self.clock.now()
        return self

    def __exit__(self, *error: object) -> None:
        chosen = self.waiters.take() if self.waiters.chosen else None
        self._lock.release()
        if chosen:
            rouse(chosen)

    # ------------------------------------------------------------ who waits

    def wait(self, waiter: Waiter) -> None:
        """Let somebody wait for what the next steps bring."""
        self.waiters.add(waiter)

    def changed(self, job: Job) -> None:
        """A job changed."""
        job.version += 1
        if self.waiters.jobs:
            self.waiters.changed(job.id, ended=job.state in FINAL)

    def stirred(self, queue: str, jobs: int = 1) -> None:
        """A queue has more to claim."""
        if self.waiters.queues:
            self.waiters.stirred(queue, jobs)

    def unbound(self, queue: Queue) -> None:
        """A job of a queue runs no longer: another may have its place under a bound."""
        if self.waiters.queues and self.cells.rules and (bounds := queue.bounds):
            if bounds == [queue]:
                self.waiters.stirred(queue.name)
            else:
                self.waiters.all_queues()

    def freed(self, queue: str) -> None:
        """A queue has a job less that is not final."""
        if self.waiters.rooms.lines:
            self.waiters.freed(queue, self.has_room)

    def telling(self, answer: T) -> T:
        """The answer of a step, with the fates that nobody was told of."""
        fates, self.fates = self.fates, []
        return with_fates(answer, fates)

    # ------------------------------------------------------------ what there is

    @property
    def has_to_move(self) -> bool:
        """Whether time, or a step before, may have left something to move on."""
        now = self.now
        for heap in self._heaps:
            if heap and heap[0][0] <= now:
                return True
        return bool(self.cascade or self.slack) or self.tombs.older(now - self.request_ttl)

    def tomb(self, job_id: str) -> Tomb | None:
        """What is left of a job that is gone, for as long as a request may be repeated."""
        tomb = self.tombs.get(job_id)
        return tomb if tomb is not None and self.now < tomb.at + self.request_ttl else None

    def holder(self, unique: str) -> str | None:
        """The job that holds a unique key now; under a time it may no longer be there."""
        holder = self.unique.get(unique)
        if holder is None or (holder.until is not None and holder.until <= self.now):
            return None
        return holder.job_id

    def queue(self, name: str) -> Queue:
        """The queue of that name, made when it is new."""
        queue = self.queues.get(name)
        if queue is None:
            check_queue(name)
            up = tuple(self.queue(above) for above in ancestors(name))
            queue = self.queues[name] = Queue(name, up, self.cells.rules.get(name))
            insort(self.names, name)
        return queue

    def open_in(self, queue: str) -> int:
        """Jobs of a queue and its subqueues that are not final."""
        known = self.queues.get(queue)
        return known.open if known is not None else 0

    def has_room(self, room: Room) -> bool:
        """Whether a queue is below a bound."""
        return self.open_in(room.queue) < room.bound

    def forget_queue(self, queue: Queue) -> None:
        """Drop a queue of which nothing is left, so that a queue per tenant costs nothing."""
        if not queue.idle or any(self._subqueues(queue.name)):
            return
        self.unlist(queue)
        del self.queues[queue.name]
        del self.names[bisect_left(self.names, queue.name)]
        self.suspects.pop(queue.name, None)
        if queue.up:
            self.forget_queue(queue.up[0])

    def _subqueues(self, name: str) -> list[str]:
        at = bisect_left(self.names, name + ".")
        return [one for one in self.names[at : at + 1] if one.startswith(name + ".")]

    def enlist(self, queue: Queue) -> None:
        """Have the queue among those with something to claim."""
        if not queue.listed:
            queue.listed = True
            insort(self.ready, queue.name)

    def unlist(self, queue: Queue) -> None:
        """The queue has nothing to claim."""
        if queue.listed:
            queue.listed = False
            del self.ready[bisect_left(self.ready, queue.name)]

    def line(self, name: str, slots: int) -> Line:
        """The line of that name, made when it is new."""
        line = self.lines.get(name)
        if line is None:
            line = self.lines[name] = Line(name, slots)
            # Should nobody take a place in it, it is forgotten again.
            self.slack.append(name)
        return line

    def matcher(self, queues: tuple[str, ...], exclude: tuple[str, ...]) -> Matcher:
        """What a claim with these names is served."""
        matcher = self._matchers.get((queues, exclude))
        if matcher is None:
            if len(self._matchers) >= _MATCHERS_MAX:
                self._matchers.clear()
            matcher = self._matchers[queues, exclude] = Matcher(queues, exclude)
        return matcher


def _is_due(at: float, job: Job) -> bool:
    return job.state is SCHEDULED and job.due == at


def _expires(at: float, job: Job) -> bool:
    return job.expires == at and job.state in (WAITING, SCHEDULED, QUEUED)
