"""What the memory store counts and what is there agree."""

from __future__ import annotations

from collections import Counter

from treadle.backends.memory.client import MemoryBackend
from treadle.backends.memory.find import find
from treadle.backends.memory.store import Store
from treadle.ports import Backend, Query
from treadle.records import FINAL, JobState

OPEN = [state for state in JobState if state not in FINAL]


async def check(backend: Backend) -> None:
    """What the store counts and what is there agree."""
    assert isinstance(backend, MemoryBackend)
    check_store(backend._shared)


def check_store(store: Store) -> None:
    assert sum(len(index) for queue in store.queues.values() for index in queue.by.values()) == len(
        store.jobs
    )
    running, parked, held = Counter(), Counter(), Counter()
    members = Counter()
    for job in store.jobs.values():
        queue = store.queues[job.queue]
        assert queue.by[job.state].jobs[job.seq] is job
        if job.state is JobState.RUNNING:
            running[job.batch] += 1
            held.update(dict(job.holds))
        else:
            assert not job.batch
            assert not job.holds
        if job.parked:
            assert job.state is JobState.WAITING
            parked[job.parked] += 1
        if job.woken:
            assert job.state is JobState.QUEUED
        if job.spec.key is not None and job.state in OPEN:
            members[f"key:{job.spec.key}"] += 1
        if job.state is JobState.WAITING:
            assert job.parked or job.waits
        check_place(store, job)
    for grant in store.permits.grants.values():
        held.update(dict(grant.holds))
    for number, batch in store.leases.batches.items():
        assert batch.live == running[number] > 0
    assert len(running) == len(store.leases.batches)
    for line in store.lines.values():
        assert line.used == held[line.name]
        assert line.waiting == parked[line.name]
        assert line.members == members[line.name]
        assert not line.idle
        check_line(line)
    assert set(parked) | set(held) | set(members) <= set(store.lines)
    check_queues(store)
    check_finds(store)


def check_place(store: Store, job) -> None:
    queue = store.queues[job.queue]
    if job.state is JobState.QUEUED and job.suspect:
        assert any(entry[2] is job and entry[0] == -job.priority for entry in queue.suspects)
        assert job.queue in store.suspects
    elif job.state is JobState.QUEUED:
        lane = queue.lanes[job.priority]
        assert any(one is job for one in lane.fifo) or any(one is job for _, one in lane.back)
        assert queue.listed
    elif job.state is JobState.SCHEDULED:
        assert any(one is job and at == job.due for at, _, one in store.scheduled.heap)


def check_line(line) -> None:
    if line.waiting and line.free > 0:
        head = line.head()
        if head.spec.ordered and line.name.startswith("key:"):
            head = line.first()
        assert head.parked != line.name or min(head.need, line.slots) > line.free


def check_queues(store: Store) -> None:
    assert store.names == sorted(store.queues)
    assert store.ready == sorted(queue.name for queue in store.queues.values() if queue.listed)
    for queue in store.queues.values():
        below = [one for name, one in store.queues.items() if name.startswith(queue.name + ".")]
        assert queue.sub_running == sum(len(one.running) for one in below)
        assert queue.sub_open == sum(len(one.by[state]) for one in below for state in OPEN)
        suspects = [job for job in queue.queued.jobs.values() if job.suspect]
        assert queue.suspects_queued == len(suspects)
    assert len(store.failed) <= store.max_failed
    for key, holder in store.unique.items():
        job = store.jobs.get(holder.job_id)
        assert holder.until is not None or (job is not None and job.state in OPEN), key


def check_finds(store: Store) -> None:
    assert find(store, Query(limit=10_000)).records == tuple(
        reversed(find(store, Query(limit=10_000, oldest_first=True)).records)
    )
    failed = sum(job.state is JobState.FAILED for job in store.jobs.values())
    assert sum(find(store, Query(counts=True)).failures.values()) == failed == len(store.failed)
