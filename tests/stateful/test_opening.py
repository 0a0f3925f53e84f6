"""An entry that fails or is cancelled at any step leaves nothing of a foreman of workers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cancelling import cancelled_at
from tests.stateful.kit import Browser, Log, Session
from treadle import InvalidOption
from treadle.foreman import foreman as module
from treadle.foreman.heartbeat import Heartbeat
from treadle.pools.places.make import Maker
from treadle.pools.staff import Staff
from treadle.pools.upkeep import Upkeep
from treadle.stateful import Foreman
from treadle.stateful import foreman as stateful

STEPS = [
    (module, "Presence"),
    (Heartbeat, "start"),
    (stateful, "Staff"),
    (Staff, "start"),
    (Upkeep, "start_each"),
    (module, "warn_of_unknown"),
]
WORKERS = [Browser, Session]


def is_gone(log: Log) -> None:
    assert log.count("start") == log.count("stop")
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("treadle")]


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize(("where", "name"), STEPS, ids=[name for _, name in STEPS])
async def test_an_entry_that_fails_leaves_nothing(
    worker: Any, where: Any, name: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **options: object) -> object:
        raise RuntimeError("no more of them")

    monkeypatch.setattr(where, name, broken)
    with pytest.raises(RuntimeError, match="no more of them"):
        async with Foreman(worker.options().bind(log), max_workers=2, probe_every=60):
            raise AssertionError("not reached")
    is_gone(log)


@pytest.mark.parametrize("worker", WORKERS)
async def test_a_worker_for_which_there_is_no_place_leaves_nothing(
    worker: Any, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Maker.__init__

    def made_once(self: Maker, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        make = self.make

        def make_one(plan: Any, index: int) -> Any:
            if index == 1:
                raise RuntimeError("can't start new thread")
            return make(plan, index)

        self.make = make_one

    monkeypatch.setattr(Maker, "__init__", made_once)
    with pytest.raises(RuntimeError, match="new thread"):
        async with Foreman(worker.options().bind(log), max_workers=3):
            raise AssertionError("not reached")
    assert log.count("start") == 1
    is_gone(log)


@pytest.mark.parametrize("worker", WORKERS)
async def test_an_entry_that_is_cancelled_leaves_nothing(worker: Any, log: Log) -> None:
    for step in range(100):
        foreman = Foreman(worker.options().bind(log), max_workers=2)
        if not await cancelled_at(step, foreman.__aenter__):
            break
        is_gone(log)
    assert step > 1
    await foreman.stop()


class Slotted:
    __slots__ = ("index",)


def test_a_class_whose_objects_can_be_given_nothing_is_no_worker() -> None:
    for cls in (int, dict, str):
        with pytest.raises(InvalidOption, match=f"worker={cls.__name__} is no class of workers"):
            Foreman(cls)


async def test_a_class_with_room_for_its_index_is_a_worker() -> None:
    async with Foreman(Slotted, max_workers=1) as foreman:
        assert len(foreman.workers) == 1
