"""Order and rotation, for any history: the stores against a model of a few lines."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle import backends
from treadle.ids import SystemIds
from treadle.records import Lease
from treadle.testing import ManualClock
from treadle.testing.contract import Driver

EACH_STORE = pytest.mark.parametrize("scheme", ["memory", "sqlite"])
EXAMPLES = {"memory": 60, "sqlite": 10}


def on_a_new_store(scheme: str, story: Callable[[Driver], Awaitable[None]]) -> None:
    async def main(folder: str) -> None:
        url = "memory://" if scheme == "memory" else f"sqlite:///{Path(folder) / 'jobs.db'}"
        clock = ManualClock()
        ids = SystemIds(clock)
        backend = backends.open(url, clock=clock, ids=ids)
        await backend.open()
        try:
            await story(Driver(backend, clock, ids))
        finally:
            await backend.aclose()
            backend.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(folder))


# One step: push some with these priorities, claim so many, or end the n-th lease so.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.lists(st.integers(-2, 2), min_size=1, max_size=5)),
        st.tuples(st.just("claim"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["release", "again", "done", "later"]), st.integers(0, 9)),
        st.tuples(st.just("advance"), st.integers(1, 20)),
    ),
    max_size=25,
)


class Order:
    """What must come out: a set of places, of which the least come first."""

    def __init__(self, store: Driver) -> None:
        self.store = store
        self.places: dict[str, tuple[int, int]] = {}
        self.queued: set[str] = set()
        self.delayed: dict[str, float] = {}
        self.leases: list[Lease] = []

    async def push(self, priorities: list[int]) -> None:
        jobs = [self.store.job(priority=priority) for priority in priorities]
        await self.store.push(*jobs)
        for job in jobs:
            self.places[job.id] = (-job.priority, len(self.places))
            self.queued.add(job.id)

    async def claim(self, limit: int) -> None:
        now = self.store.clock.now()
        self.queued |= {job_id for job_id, due in self.delayed.items() if due <= now}
        self.delayed = {job_id: due for job_id, due in self.delayed.items() if due > now}
        leases = await self.store.claim(limit, lease=1e6)
        expected = sorted(self.queued, key=self.places.__getitem__)[:limit]
        assert [lease.spec.id for lease in leases] == expected
        self.queued -= set(expected)
        self.leases += leases

    async def end(self, how: str, index: int) -> None:
        if not self.leases:
            return
        lease = self.leases.pop(index % len(self.leases))
        match how:
            case "done":
                await self.store.done(lease)
                return
            case "release":
                await self.store.release(lease)
            case "again":
                await self.store.again(lease)
            case _:
                await self.store.again(lease, delay=10.0)
                self.delayed[lease.spec.id] = self.store.clock.now() + 10.0
                return
        self.queued.add(lease.spec.id)


@EACH_STORE
def test_always_by_priority_then_arrival(scheme: str) -> None:
    @settings(max_examples=EXAMPLES[scheme], deadline=None)
    @given(STEPS)
    def check(steps: list[tuple[str, object]]) -> None:
        async def story(store: Driver) -> None:
            order = Order(store)
            for name, value in [*steps, ("claim", 1000)]:
                match name, value:
                    case "push", list():
                        await order.push(value)
                    case "claim", int():
                        await order.claim(value)
                    case "advance", int():
                        store.clock.advance(value)
                    case _, int():
                        await order.end(name, value)

        on_a_new_store(scheme, story)

    check()


class Rotation:
    """Whose turn it is: rounds that share the places left among the members left."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.left = dict(sizes)
        self.last = ""

    def claim(self, places: int) -> dict[str, int]:
        served: dict[str, int] = {}
        while places and any(self.left.values()):
            members = sorted(name for name, size in self.left.items() if size)
            after = [name for name in members if name > self.last]
            share = ceil(places / len(members))
            for name in [*after, *(name for name in members if name <= self.last)]:
                taken = min(share, self.left[name], places)
                if taken:
                    self.left[name] -= taken
                    places -= taken
                    served[name] = served.get(name, 0) + taken
                    self.last = name
        return served


MEMBERS = st.dictionaries(st.sampled_from(["m", "m.a", "m.b", "m.b.c", "m.d"]), st.integers(1, 12))


@EACH_STORE
def test_always_in_turns(scheme: str) -> None:
    @settings(max_examples=EXAMPLES[scheme], deadline=None)
    @given(MEMBERS, st.lists(st.integers(1, 9), min_size=1, max_size=8))
    def check(sizes: dict[str, int], claims: list[int]) -> None:
        async def story(store: Driver) -> None:
            for queue, size in sizes.items():
                await store.add_many(size, queue=queue)
            await store.add_many(3, queue="other")
            rotation = Rotation(sizes)
            for places in claims:
                leases = await store.claim(places, queues=["m"])
                served: dict[str, int] = {}
                for lease in leases:
                    served[lease.spec.queue] = served.get(lease.spec.queue, 0) + 1
                assert served == rotation.claim(places)

        on_a_new_store(scheme, story)

    check()
