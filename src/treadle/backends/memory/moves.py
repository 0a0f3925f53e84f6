"""How a job moves between the states that are not final, one arrow each."""

from __future__ import annotations

from heapq import heappush

from treadle.backends.memory.job import (
    CANCELLED,
    FAILED,
    QUEUED,
    RUNNING,
    SCHEDULED,
    SUCCEEDED,
    WAITING,
    Job,
)
from treadle.backends.memory.lines import KEY, Line
from treadle.backends.memory.store import Store
from treadle.ports import PARK_MAX
from treadle.records import JobState

__all__ = [
    "arrive",
    "join_key",
    "key_line",
    "leave",
    "park",
    "release_units",
    "shift",
    "to_queue",
    "to_schedule",
    "wake_lines",
]

_ENDS = (SUCCEEDED, FAILED, CANCELLED)


def shift(store: Store, job: Job, state: JobState) -> None:
    """Write the state down, in the job and in what is counted by it."""
    queue = store.queues[job.queue]
    old = job.state
    del queue.by[old].jobs[job.seq]
    queue.by[state].add(job)
    job.state = state
    if queue.up:
        running = (state is RUNNING) - (old is RUNNING)
        ended = state in _ENDS
        for above in queue.up:
            above.sub_running += running
            above.sub_open -= ended
    if old is RUNNING:
        store.unbound(queue)
    if state in _ENDS:
        store.freed(job.queue)
    store.changed(job)


def leave(store: Store, job: Job) -> None:
    """Take a job that does not run out of the place where it stands; a shift follows."""
    if job.state is QUEUED:
        queue = store.queues[job.queue]
        if job.suspect:
            queue.suspects_queued -= 1
        else:
            queue.bury()
            if queue.ready == 1:
                # Without it nothing is left: the queue takes no turn among the others.
                store.unlist(queue)
        if job.woken:
            unwake(store, job)
            # The next may have what this one was woken for.
            store.slack.append(job.woken)
            job.woken = ""
    elif job.parked:
        store.lines[job.parked].leave(job)
    job.waits = None


def unwake(store: Store, job: Job) -> None:
    """Nothing is meant for the job any longer."""
    line = store.lines.get(job.woken)
    if line is not None:
        line.woken.pop(job.seq, None)


def to_queue(store: Store, job: Job) -> None:
    """Let it be claimed, in its own place."""
    shift(store, job, QUEUED)
    queue = store.queues[job.queue]
    if job.suspect:
        queue.suspects_queued += 1
        heappush(queue.suspects, (-job.priority, job.seq, job))
        store.suspects[queue.name] = None
        store.fresh_suspects = True
    else:
        queue.lane(job.priority).add(job)
        store.enlist(queue)
    join_key(store, job)
    store.stirred(queue.name)


def to_schedule(store: Store, job: Job, due: float) -> None:
    """Let it wait for an instant."""
    shift(store, job, SCHEDULED)
    job.due = due
    schedule(store, job, due)
    join_key(store, job)


def schedule(store: Store, job: Job, due: float) -> None:
    """Have it looked at then; who waits may have to wake sooner."""
    head = store.scheduled.head()
    store.scheduled.add(due, job)
    if (head is None or due < head[0]) and store.waiters.queues:
        store.waiters.all_queues()


def park(store: Store, job: Job, line: Line, need: int) -> None:
    """Let it wait for units of a key or limit."""
    shift(store, job, WAITING)
    line.park(job, need)
    join_key(store, job)
    # It may have come to stand before those that kept the line waiting.
    store.slack.append(line.name)


def arrive(store: Store, job: Job) -> None:
    """Put a job that waited for something else where it belongs now."""
    if job.due is not None and job.due > store.now:
        to_schedule(store, job, job.due)
        return
    if job.spec.key is not None:
        line = key_line(store, job)
        if line.used >= line.slots:
            park(store, job, line, 1)
            return
    to_queue(store, job)


def key_line(store: Store, job: Job) -> Line:
    """The line of the job's key."""
    return store.line(f"{KEY}{job.spec.key}", job.spec.key_slots)


def join_key(store: Store, job: Job) -> None:
    """Let later ordered jobs of its key wait for it."""
    if job.spec.key is not None and not job.lined:
        key_line(store, job).join(job)


def release_units(store: Store, holds: tuple[tuple[str, int], ...]) -> None:
    """Give units of lines back; :func:`wake_lines` gives them to who waits."""
    for name, units in holds:
        line = store.lines.get(name)
        if line is not None:
            line.used -= units
            store.slack.append(name)


def wake_lines(store: Store) -> None:
    """Let the first of each line that has free units compete for them."""
    slack = store.slack
    while slack:
        line = store.lines.get(slack.pop())
        if line is None:
            continue
        if line.waiting:
            _wake(store, line)
        if line.idle:
            store.lines.pop(line.name, None)


def _wake(store: Store, line: Line) -> None:
    free, woken = line.free, 0
    while free > 0 and woken < PARK_MAX:
        job = line.head()
        if job is not None and job.spec.ordered and line.name.startswith(KEY):
            # It has to wait for the earliest, which may stand behind it by its priority.
            job = line.first()
        if job is None or job.parked != line.name:
            return
        need = min(job.need, line.slots)
        if need > free:
            return
        line.leave(job)
        woken += 1
        if job.due is not None and job.due > store.now:
            to_schedule(store, job, job.due)
            continue
        # What waits in a paused queue must not keep the units from the others.
        if store.queues[job.queue].room(store.now) > 0:
            line.woken[job.seq] = (need, job.queue)
            job.woken = line.name
            free -= need
        to_queue(store, job)
