"""The lease of a lock: renewed, extended, lost, given back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from tests.queue.lock_kit import LEASE, Asked, clock, still, timed
from treadle import Event, LeaseLost, Lock, LockTimeout, Treadle
from treadle.errors import (
    BackendUnavailable,
)
from treadle.testing.clock import ManualClock, eventually, settle

__all__ = ["clock", "still", "timed"]


# ---------------------------------------------------------------- its lease


async def test_without_a_block_it_ends_with_its_lease(timed: Treadle, clock: ManualClock) -> None:
    one, other = timed.lock("one", lease=LEASE), timed.lock("one")
    first = await one.aacquire()
    clock.advance(LEASE - 1.5)
    assert one.held
    one.check()
    clock.advance(1.0)  # the margin: nobody else has it yet, but it is not certain any more
    assert not one.held
    with pytest.raises(LeaseLost, match="lock 'one' was lost"):
        one.check()
    with pytest.raises(LockTimeout):
        await other.aacquire(timeout=0)
    clock.advance(0.6)
    assert await other.aacquire(timeout=0) > first
    with pytest.raises(LeaseLost):
        await one.aextend()
    with pytest.raises(LeaseLost):
        await one.arelease()
    assert other.held
    with pytest.raises(LockTimeout):
        await timed.lock("one").aacquire(timeout=0)


async def test_the_fence_outlives_the_lock(timed: Treadle, clock: ManualClock) -> None:
    fences = [await timed.lock("one", lease=1).aacquire()]
    for _ in range(3):
        clock.advance(86400)
        fences.append(await timed.lock("one", lease=1).aacquire(timeout=0))
    assert fences == sorted(set(fences))


async def test_extended_it_lasts_longer(timed: Treadle, clock: ManualClock) -> None:
    lock = timed.lock("one", lease=LEASE)
    await lock.aacquire()
    for lease in (None, 100, None):
        clock.advance(8)
        await lock.aextend(lease)
    clock.advance(80)
    assert lock.held
    with pytest.raises(LockTimeout):
        await timed.lock("one").aacquire(timeout=0)
    await lock.arelease()
    await timed.lock("one").aacquire(timeout=0)


async def test_released_within_the_margin_it_was_held(timed: Treadle, clock: ManualClock) -> None:
    lock = timed.lock("one", lease=LEASE)
    await lock.aacquire()
    clock.advance(LEASE - 0.5)
    await lock.arelease()  # the store knows that nobody else had it
    await timed.lock("one").aacquire(timeout=0)


async def test_in_a_block_it_is_renewed(still: Treadle, clock: ManualClock) -> None:
    lock = still.lock("one", lease=LEASE)
    async with lock:
        await clock.aadvance(300)
        assert lock.held
        with pytest.raises(LockTimeout):
            await still.lock("one").aacquire(timeout=0)
    assert not lock.held
    await still.lock("one").aacquire(timeout=0)


def test_a_block_of_plain_code_is_renewed_and_told(clock: ManualClock) -> None:
    with Treadle("memory://", clock=clock) as app:
        lock = app.lock("one", lease=LEASE)
        with lock:
            for _ in range(30):
                asyncio.run(_until_renewed(clock))
            assert lock.held
        unrenewed = app.lock("one", lease=LEASE, renew=False)
        with pytest.raises(LeaseLost):
            _stay_too_long(unrenewed, clock)


def _stay_too_long(lock: Lock, clock: ManualClock) -> None:
    with lock:
        clock.advance(LEASE)
        with pytest.raises(LeaseLost):
            lock.check()


async def _until_renewed(clock: ManualClock) -> None:
    """The time of the background loop passes, once it waits for the moment to renew."""
    pause = LEASE / 3
    # What else may be due comes later than that.
    await eventually(lambda: (due := clock.next_due) is not None and 0 < due < pause + 0.1)
    clock.advance(pause)


async def _ended(block: asyncio.Task[None]) -> None:
    """The end of a block that has no reason to go on."""
    _, going_on = await asyncio.wait({block}, timeout=10)
    for one in going_on:
        one.cancel()
    assert not going_on
    await block


async def test_a_block_ends_when_its_lease_does(still: Treadle, clock: ManualClock) -> None:
    reached: list[str] = []

    async def use() -> None:
        async with still.lock("one", lease=LEASE, renew=False):
            reached.append("inside")
            await asyncio.Event().wait()
            reached.append("beyond")

    block = asyncio.create_task(use())
    await clock.aadvance(LEASE)
    with pytest.raises(LeaseLost):
        await _ended(block)
    assert reached == ["inside"]
    assert block.cancelling() == 0


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "silent"])
async def test_a_block_ends_when_the_store_is_away(
    still: Treadle, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    async def renew(permit: Any, lease: float) -> bool:
        if silent:
            await asyncio.Event().wait()
        raise BackendUnavailable("the store is away")

    lock = still.lock("one", lease=LEASE)

    async def use() -> None:
        async with lock:
            await asyncio.Event().wait()

    block = asyncio.create_task(use())
    await settle()
    monkeypatch.setattr(still.core.backend(), "renew", renew)
    await clock.aadvance(LEASE - 1.5)
    assert lock.held
    await clock.aadvance(1.0)
    with pytest.raises(LeaseLost):
        await _ended(block)


async def test_a_store_that_comes_back_in_time_is_nothing(
    still: Treadle, clock: ManualClock
) -> None:
    lock = still.lock("one", lease=LEASE)
    with pytest.MonkeyPatch.context() as patch:
        async with lock:
            await settle()
            patch.setattr(still.core.backend(), "renew", _away)
            await clock.aadvance(LEASE - 2)
            patch.undo()
            await clock.aadvance(100)
            assert lock.held


async def _away(*_: object) -> bool:
    raise BackendUnavailable("the store is away")


async def test_who_cannot_release_leaves_it_to_the_lease(
    still: Treadle, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = still.lock("one", lease=LEASE)
    async with lock:
        monkeypatch.setattr(still.core.backend(), "release", _away)
    with pytest.raises(LockTimeout):
        await still.lock("one").aacquire(timeout=0)
    clock.advance(LEASE)
    await still.lock("one").aacquire(timeout=0)


async def test_a_block_that_swallows_its_end_is_told(still: Treadle, clock: ManualClock) -> None:
    async def use() -> None:
        async with still.lock("one", lease=LEASE, renew=False):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    block = asyncio.create_task(use())
    await clock.aadvance(LEASE)
    with pytest.raises(LeaseLost):
        await _ended(block)


async def test_another_cancellation_stays_one(still: Treadle, clock: ManualClock) -> None:
    async def use() -> None:
        async with still.lock("one", lease=LEASE):
            await asyncio.Event().wait()

    block = asyncio.create_task(use())
    await clock.aadvance(100)
    block.cancel()
    with pytest.raises(asyncio.CancelledError):
        await block
    await still.lock("one").aacquire(timeout=0)


async def test_what_the_block_raises_comes_out(still: Treadle, clock: ManualClock) -> None:
    async def use(lock: Lock, passes: float) -> None:
        async with lock:
            clock.advance(passes)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await use(still.lock("one"), 0)
    with pytest.raises(ZeroDivisionError):
        await use(still.lock("one", lease=LEASE, renew=False, timeout=0), LEASE)
    await still.lock("one").aacquire(timeout=0)


async def test_it_can_be_released_from_another_loop(still: Treadle, clock: ManualClock) -> None:
    """A block of plain code is kept by the loop in the background."""
    lock = still.lock("one", lease=LEASE)

    def enter() -> None:
        lock.__enter__()

    await asyncio.to_thread(enter)
    await lock.arelease()
    await eventually(lambda: clock.next_due is None)  # nobody renews it any more
    await still.lock("one").aacquire(timeout=0)


async def test_without_events_the_line_asks_by_itself(
    still: Treadle, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def subscribe(pattern: str) -> None:
        raise BackendUnavailable("nobody may listen")

    monkeypatch.setattr(still.core.backend(), "subscribe", subscribe)
    async with still.lock("one"):
        waiting = asyncio.create_task(still.lock("one").aacquire())
        await clock.aadvance(3)
        assert not waiting.done()
    await clock.aadvance(0.1)
    assert waiting.done()


async def test_what_cannot_be_given_back_lapses(
    still: Treadle, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = Asked(still, monkeypatch), asyncio.Event()
    monkeypatch.setattr(still.core.backend(), "release", _away)
    asked.before = answer.wait
    waiting = asyncio.create_task(still.lock("one", lease=LEASE).aacquire())
    await settle()
    waiting.cancel()
    await asyncio.wait({waiting})
    asked.before = None
    answer.set()
    await settle()
    clock.advance(LEASE)
    await still.lock("one").aacquire(timeout=0)


async def test_a_release_is_told(still: Treadle) -> None:
    told: list[Mapping[str, Any]] = []

    @still.on("lock.released")
    def note(event: Event) -> None:
        told.append(event.data)

    async with still.lock("one") as fence:
        assert told == []
    assert told == [{"lock": "one", "fence": fence}]
