"""How jobs get to the store: together, again after a lost reply, never at a neighbour's cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from treadle.clock import SystemClock
from treadle.errors import BackendUnavailable, OutcomeUnknown, Unsupported
from treadle.ids import SystemIds
from treadle.records import NewJob, Pushed, PushStatus
from treadle.sending import Outbox, Repeats
from treadle.testing.clock import ManualClock, settle

Answer = Callable[[Sequence[NewJob]], Awaitable[Sequence[Pushed]]]


def job(name: str) -> NewJob:
    return NewJob(id=name, task="t", payload=b"")


class Shop:
    """A backend that only takes pushes, and does with them what a test says."""

    def __init__(self) -> None:
        self.pushed: list[list[str]] = []
        self.known: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.script: list[Answer] = []

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        self.pushed.append([one.id for one in jobs])
        await self.gate.wait()
        if self.script:
            return await self.script.pop(0)(jobs)
        return self.accept(jobs)

    def accept(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        answers = [
            Pushed(PushStatus.EXISTS if one.id in self.known else PushStatus.CREATED)
            for one in jobs
        ]
        self.known.update(one.id for one in jobs)
        return answers


def outbox(shop: Shop, clock: ManualClock | SystemClock | None = None) -> Outbox:
    clock = clock or SystemClock()
    backend: Any = shop
    chance = SystemIds(clock).chance
    return Outbox(Repeats(backend, clock=clock, chance=chance, patience=30.0, hear=lambda _: None))


async def lost(_jobs: Sequence[NewJob]) -> Sequence[Pushed]:
    raise BackendUnavailable("gone")


async def test_a_job_alone_goes_at_once() -> None:
    shop = Shop()
    box = outbox(shop)
    assert await box.push([job("a")]) == [Pushed(PushStatus.CREATED)]
    assert await box.push([job("b")]) == [Pushed(PushStatus.CREATED)]
    assert shop.pushed == [["a"], ["b"]]


async def test_what_comes_while_the_store_is_busy_goes_together() -> None:
    shop = Shop()
    shop.gate.clear()
    box = outbox(shop)
    tasks = [asyncio.create_task(box.push([job(name)])) for name in "abcd"]
    await settle()
    assert shop.pushed == [["a"]]
    shop.gate.set()
    assert await asyncio.gather(*tasks) == [[Pushed(PushStatus.CREATED)]] * 4
    assert shop.pushed == [["a"], ["b", "c", "d"]]


async def test_whoever_gives_up_while_waiting_is_not_sent() -> None:
    shop = Shop()
    shop.gate.clear()
    box = outbox(shop)
    tasks = [asyncio.create_task(box.push([job(name)])) for name in "abc"]
    await settle()
    tasks[1].cancel()
    await asyncio.wait({tasks[1]})
    shop.gate.set()
    await asyncio.gather(tasks[0], tasks[2])
    assert shop.pushed == [["a"], ["c"]]


async def test_whoever_gives_up_while_being_sent_does_not_hold_up_the_rest() -> None:
    shop = Shop()
    shop.gate.clear()
    box = outbox(shop)
    tasks = [asyncio.create_task(box.push([job(name)])) for name in "ab"]
    await settle()
    tasks[0].cancel()
    await asyncio.wait({tasks[0]})
    shop.gate.set()
    assert await tasks[1] == [Pushed(PushStatus.CREATED)]


async def test_a_refused_job_does_not_refuse_those_beside_it() -> None:
    shop = Shop()
    shop.gate.clear()
    box = outbox(shop)

    async def refuse_b(jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        if any(one.id == "b" for one in jobs):
            raise Unsupported("not here", backend="shop", feature="b")
        return shop.accept(jobs)

    tasks = [asyncio.create_task(box.push([job(name)])) for name in "abc"]
    await settle()
    shop.script = [refuse_b] * 4
    shop.gate.set()
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(second, Unsupported)
    assert first == third == [Pushed(PushStatus.CREATED)]


async def test_a_lost_reply_is_asked_for_again_with_the_same_id() -> None:
    shop, clock = Shop(), ManualClock()
    box = outbox(shop, clock)

    async def reply_lost(jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        shop.accept(jobs)
        raise BackendUnavailable("the reply was lost")

    shop.script = [reply_lost]
    task = asyncio.create_task(box.push([job("a")]))
    await advancing(clock, task)
    assert task.result() == [Pushed(PushStatus.EXISTS)]
    assert shop.pushed == [["a"], ["a"]]


async def test_a_store_that_stays_away_ends_as_outcome_unknown() -> None:
    shop, clock = Shop(), ManualClock()
    box = outbox(shop, clock)
    shop.script = [lost] * 1000
    began = clock.monotonic()
    tasks = [asyncio.create_task(box.push([job(name)])) for name in "ab"]
    for task in tasks:
        await advancing(clock, task)
    for name, task in zip("ab", tasks, strict=True):
        error = task.exception()
        assert isinstance(error, OutcomeUnknown)
        assert error.job_id == name
        assert isinstance(error.__cause__, BackendUnavailable)
        assert "options(id=" in str(error)
    assert 20 < clock.monotonic() - began < 70
    assert len(shop.pushed) < 60  # the pauses grow


async def test_what_was_put_is_answered_before_the_end() -> None:
    shop = Shop()
    shop.gate.clear()
    box = outbox(shop)
    tasks = [asyncio.create_task(box.push([job(name)])) for name in "abc"]
    await settle()
    tasks[0].cancel()
    await settle()
    idle = asyncio.create_task(box.idle())
    await settle()
    assert not idle.done()
    shop.gate.set()
    await idle
    assert all(task.done() for task in tasks)


async def test_a_batch_has_a_bound() -> None:
    shop = Shop()
    shop.gate.clear()
    box = outbox(shop)
    tasks = [
        asyncio.create_task(box.push([job(f"{number}-{index}") for index in range(600)]))
        for number in range(4)
    ]
    await settle()
    shop.gate.set()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in shop.pushed] == [600, 1200, 600]


async def advancing(clock: ManualClock, task: asyncio.Task[Any]) -> None:
    """Move time until a task has ended."""
    while not task.done():
        await clock.aadvance(1.0)
