"""Limits of workers that the store of an app counts, for every process that uses it."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path

import pytest

from tests.pools.limit_workers import Counting, value
from treadle import JobState, LimitPool, LimitSet, Pool, Rate, Slots, Treadle
from treadle.errors import InvalidOption, LimitTimeout, Unsupported
from treadle.testing.clock import ManualClock, settle

URLS = ("memory://", "sqlite:///{}/jobs.db")


@pytest.fixture(params=URLS, ids=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param).format(tmp_path)


def limits_of(app: Treadle) -> LimitSet:
    return app.limits(Slots(1, key="slots"), Rate(100, per=3600, key="tokens", cost=0))


async def test_a_store_counts_for_all_sets_with_the_same_keys(url: str) -> None:
    async with Treadle(url) as app:
        one, other = limits_of(app), limits_of(app)
        async with one.aacquire({"tokens": 40}) as got:
            assert got.amounts == {"slots": 1, "tokens": 40}
            assert one.stats["slots"].used == 1
            with pytest.raises(LimitTimeout):
                await _hold(other, timeout=0)
        async with other.aacquire({"tokens": 60}, timeout=5) as got:
            got.update({"tokens": 10})
        async with one.aacquire({"tokens": 50}, timeout=0):
            pass
        with pytest.raises(LimitTimeout):
            await _hold(one, timeout=0, tokens=10)


async def _hold(limits: LimitSet, *, timeout: float, tokens: int = 1) -> None:
    async with limits.aacquire({"tokens": tokens}, timeout=timeout):
        pass


def test_plain_code_takes_them_too(url: str) -> None:
    with Treadle(url) as app:
        limits = limits_of(app)
        with limits.acquire(timeout=5), pytest.raises(LimitTimeout):
            limits.acquire(timeout=0.05).__enter__()
        with limits.acquire(timeout=5):
            pass


async def test_calls_of_several_pools_take_them(url: str) -> None:
    async with Treadle(url) as app:
        limits = limits_of(app)
        async with (
            Counting.options(mode="asyncio", limits=limits).init() as worker,
            Pool("thread", max_workers=1, limits=limits_of(app)) as pool,
        ):
            assert await worker.held() == 1
            assert await pool.submit(value, 3) == 3
            assert await worker.amore({"tokens": 5}, {}) == {"tokens": 5}
            async with limits.aacquire():
                future = pool.submit(value, 4)
                await asyncio.sleep(0)  # noqa: TID251 - one turn
                assert not future.done()
            assert await future == 4


async def test_what_is_held_for_long_is_renewed() -> None:
    clock = ManualClock()
    async with Treadle("memory://", clock=clock) as app:
        limits = limits_of(app)
        async with limits.aacquire():
            await clock.aadvance(300)
            with pytest.raises(LimitTimeout):
                await _hold(limits, timeout=0)
        async with limits.aacquire(timeout=0):
            pass


async def test_who_is_gone_is_renewed_no_more() -> None:
    clock = ManualClock()
    async with Treadle("memory://", clock=clock) as app:
        gone = limits_of(app)
        request = gone.aacquire()
        await request.__aenter__()
        del gone, request
        await clock.aadvance(61)
        async with limits_of(app).aacquire(timeout=0):
            pass


async def test_jobs_and_calls_share_a_key() -> None:
    async with Treadle("memory://") as app:

        @app.task(name="job", limits=[Slots(1, key="slots")])
        async def job() -> str:
            return "done"

        async with app.foreman(concurrency=2):
            async with limits_of(app).aacquire():
                waiting = await job.aenqueue()
                while await waiting.astate() != JobState.WAITING:
                    await settle()
            assert await waiting.aresult(10) == "done"


async def test_one_of_several_stores(url: str) -> None:
    async with Treadle(url) as app:
        near = LimitSet(Slots(1, key="slots"), config={"where": "near"})
        pool = LimitPool(near, limits_of(app), balancing="least_used")
        async with pool.aacquire() as one, pool.aacquire() as other:
            assert one.config == {"where": "near"}
            assert other.config == {}
            with pytest.raises(LimitTimeout):
                async with pool.aacquire(timeout=0):
                    pass


def test_a_set_of_a_store_does_not_travel() -> None:
    with Treadle("memory://") as app:
        limits = pickle.loads(pickle.dumps(limits_of(app)))
        with pytest.raises(Unsupported, match="do not travel"), limits.acquire():
            pass


def test_a_limit_without_a_key_is_nobodys() -> None:
    with pytest.raises(InvalidOption, match=r"Slots\(slots=1\) has no key="):
        Treadle("memory://").limits(Slots(1))
