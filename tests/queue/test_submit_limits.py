"""Limits of calls of tasks here and now, and with whom they are shared."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

import treadle
from tests.queue.conftest import run_all
from treadle import (
    LIMITS,
    CallCancelled,
    Future,
    InvalidOption,
    LimitSet,
    Rate,
    Slots,
    Treadle,
    WaitTimeout,
)

pytestmark = pytest.mark.usefixtures("no_background_loop_left")


async def held_up(*calls: Future[Any]) -> None:
    """Return when calls have waited for a while, and give them up."""
    for call in calls:
        with pytest.raises(WaitTimeout):
            await call.aresult(timeout=0.05)
        assert call.cancel()
        with pytest.raises(CallCancelled):
            await call


class Gate:
    """Where calls are until they are let go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def pass_through(self) -> str:
        self.reached.set()
        await self.open.wait()
        return "through"


async def test_tasks_whose_limits_name_a_key_share_it(memory: Treadle) -> None:
    gate = Gate()

    @memory.task(name="first", limits=[Slots(1, key="gpu"), Slots(5)])
    async def first() -> str:
        return await gate.pass_through()

    @memory.task(name="second", limits=Slots(1, key="gpu"))
    def second() -> str:
        return "second"

    @memory.task(name="other", limits=Slots(1, key="disk"))
    def other() -> str:
        return "other"

    inside = first.submit()
    await gate.reached.wait()
    await held_up(second.submit(), first.submit())
    assert await other.submit() == "other"
    waits = second.submit()
    gate.open.set()
    assert (await inside, await waits) == ("through", "second")


async def test_tasks_without_an_app_share_as_well() -> None:
    gate = Gate()

    @treadle.task(name="first", limits=[Slots(1, key="tape")])
    async def first() -> str:
        return await gate.pass_through()

    @treadle.task(name="second", limits=[Slots(1, key="tape")])
    async def second() -> str:
        return "second"

    inside = first.submit()
    await gate.reached.wait()
    await held_up(second.submit())
    gate.open.set()
    assert await inside == "through"


async def test_apps_do_not_share_by_key(memory: Treadle) -> None:
    gate = Gate()

    @memory.task(name="first", limits=[Slots(1, key="gpu")])
    async def first() -> str:
        return await gate.pass_through()

    inside = first.submit()
    await gate.reached.wait()
    async with Treadle("memory://") as elsewhere:
        task = elsewhere.task(name="second", limits=[Slots(1, key="gpu")])(threading.active_count)
        assert await task.submit() > 0
    gate.open.set()
    await inside


async def test_limits_without_a_key_belong_to_their_task(memory: Treadle) -> None:
    gate = Gate()

    @memory.task(name="first", limits=[Slots(1)])
    async def first() -> str:
        return await gate.pass_through()

    @memory.task(name="second", limits=[Slots(1)])
    async def second() -> str:
        return "second"

    inside = first.submit()
    await gate.reached.wait()
    assert await second.submit() == "second"
    gate.open.set()
    await inside


async def test_a_set_is_shared_with_code_that_acquires(memory: Treadle) -> None:
    machine = LimitSet(Slots(1))

    @memory.task(name="use", limits=machine)
    def use() -> float:
        return machine.stats["slots"].used

    async with machine.aacquire():
        await held_up(use.submit())
        waits = use.submit()
    assert await waits == 1
    assert machine.stats["slots"].used == 0


async def test_a_list_that_names_a_key_of_a_set_shares_the_set(memory: Treadle) -> None:
    service = LimitSet(Rate(100, per="1d", key="rate"), Slots(1, key="connections"))

    @memory.task(name="embed", limits=[*service, Slots(2)])
    def embed() -> str:
        return "embedded"

    # Nobody has called it yet.
    memory.task(name="summarise", limits=service)(nothing)
    async with service.aacquire():
        await held_up(embed.submit())
    assert await embed.submit() == "embedded"
    assert service.stats["rate"].used == pytest.approx(2, abs=0.1)


async def test_a_list_shares_the_set_through_a_list_between_them(memory: Treadle) -> None:
    service = LimitSet(Slots(1, key="a"))
    memory.task(name="whole", limits=service)(nothing)
    memory.task(name="between", limits=[Slots(1, key="a"), Slots(1, key="b")])(nothing)
    gate = Gate()

    @memory.task(name="far", limits=[Slots(1, key="b")])
    async def far() -> str:
        return await gate.pass_through()

    inside = far.submit()
    await gate.reached.wait()
    await held_up(memory.core.tasks["between"].submit())
    gate.open.set()
    await inside


async def test_keys_of_several_sets_cannot_be_granted_together(memory: Treadle) -> None:
    memory.task(name="one", limits=LimitSet(Slots(1, key="a")))(nothing)
    memory.task(name="two", limits=LimitSet(Slots(1, key="b")))(nothing)
    both: Any = memory.task(name="both", limits=[Slots(1, key="a"), Slots(1, key="b")])(nothing)
    with pytest.raises(InvalidOption, match=r"task 'both': .*several LimitSets count \(a, b\)"):
        both.submit()


@pytest.mark.parametrize("mode", ["thread", "process"])
async def test_code_names_the_limits_of_its_task(mode: Any) -> None:
    async with Treadle("memory://") as app:
        task: Any = app.task(name="more", mode=mode, limits=[Slots(2), Slots(3, key="gpu")])(more)
        assert await task.submit() == {"slots": 2, "gpu": 1}


def more(limits: LimitSet = LIMITS) -> dict[str, float]:
    with limits.acquire({"slots": 1}):
        return {name: one.used for name, one in limits.stats.items()}


def nothing() -> int:
    return 0


async def test_a_set_of_the_app_is_shared_by_jobs_and_calls(memory: Treadle) -> None:
    fleet = memory.limits(Slots(1, key="licence"))

    @memory.task(name="licensed", limits=fleet)
    async def licensed() -> str:
        return "done"

    async with fleet.aacquire():
        await held_up(licensed.submit())
        job = await licensed.aenqueue()
        await run_all(memory)
        assert await job.astate() == "waiting"
    await run_all(memory)
    assert await job.aresult(timeout=10) == "done"
    assert await licensed.submit() == "done"
