"""A foreman of several backends: one that is away holds up nothing of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.foreman.flaky import FlakyBackend
from tests.foreman.kit import advance_until
from tests.queue.conftest import run_all
from tests.servers import own
from treadle import CONTEXT, Context, JobState, Treadle, backends
from treadle.errors import BackendUnavailable, OutcomeUnknown
from treadle.failpoints import active
from treadle.ports import Query
from treadle.testing import ManualClock
from treadle.testing.proxy import Proxy
from treadle.testing.servers import RedisServer


class Two(NamedTuple):
    """An app, the backend that fails when it is told to, the clock of both."""

    app: Treadle
    flaky: FlakyBackend
    clock: ManualClock

    def finished(self) -> int:
        return len(ran)


ran: list[str] = []


def declare(app: Treadle) -> None:
    ran.clear()

    @app.task(name="near")
    async def near(number: int = 0) -> str:
        ran.append("near")
        return "near"

    @app.task(name="far", queue="far")
    async def far(number: int = 0) -> str:
        ran.append("far")
        return "far"

    @app.task(name="both")
    async def both(ctx: Context = CONTEXT) -> None:
        ran.append("both")
        ctx.enqueue(far, 1)


@pytest.fixture
async def two(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Two]:
    monkeypatch.setitem(backends.SCHEMES, "flaky", "tests.foreman.flaky")
    clock = ManualClock()
    async with Treadle(
        "memory://", backends={"away": "flaky://"}, routes={"far": "away"}, clock=clock
    ) as app:
        declare(app)
        several = app.core.store.several
        assert several is not None
        flaky: Any = several.parts["away"]
        yield Two(app, flaky, clock)


async def state_of(app: Treadle, job_id: str) -> JobState:
    page = await app.core.store.backend().find(Query(ids=(job_id,)))
    return page.records[0].state


async def test_claims_take_turns(two: Two) -> None:
    for _ in range(4):
        await two.app.tasks["far"].aenqueue()
        await two.app.tasks["near"].aenqueue()
    async with two.app.foreman(burst=True, concurrency=1) as foreman:
        await foreman.join()
    assert sorted(ran[:4]) == ["far", "far", "near", "near"]
    assert len(ran) == 8


async def test_the_first_queue_comes_first_wherever_it_lives(two: Two) -> None:
    for _ in range(3):
        await two.app.tasks["near"].aenqueue()
        await two.app.tasks["far"].aenqueue()
    async with two.app.foreman(burst=True, concurrency=1, queues=["far", "*"]) as foreman:
        await foreman.join()
    assert ran == ["far"] * 3 + ["near"] * 3


async def test_a_foreman_is_present_only_where_its_queues_are(two: Two) -> None:
    async with two.app.foreman(queues=["default"]):
        assert not await two.flaky.read(["session:*"])
    async with two.app.foreman(queues=["far.sub"]):
        [key] = await two.flaky.read(["session:*"])
        assert list(await two.app.core.store.backend().read(["session:*"])) == [key]
    async with two.app.foreman():
        everywhere = await two.app.core.store.backend().read(["session:*"])
        assert len(everywhere) == 1


@pytest.mark.parametrize("how", ["refused", "silent"])
@pytest.mark.parametrize("from_start", [True, False])
async def test_others_are_claimed_from_while_one_is_away(
    two: Two, how: str, *, from_start: bool
) -> None:
    verbs = ("open_session", "claim", "wait", "extend", "settle", "close_session")
    if from_start:
        for verb in verbs:
            two.flaky.fail(verb, how)
        opening = asyncio.ensure_future(two.app.foreman().__aenter__())
        await advance_until(two.clock, opening.done)
        foreman = opening.result()
    else:
        foreman = await two.app.foreman().__aenter__()
        for verb in verbs:
            two.flaky.fail(verb, how)
    try:
        far = await two.app.tasks["far"].aenqueue()
        for count in (1, 2, 3):
            await two.app.tasks["near"].aenqueue()
            await advance_until(two.clock, lambda count=count: ran.count("near") == count)
        assert await state_of(two.app, far.id) is JobState.QUEUED
        for verb in verbs:
            two.flaky.mend(verb)
        if how == "refused":
            await advance_until(two.clock, lambda: "far" in ran)
    finally:
        leaving = asyncio.ensure_future(foreman.__aexit__(None, None, None))
        await advance_until(two.clock, leaving.done)
        leaving.result()


async def test_a_verdict_that_is_not_answered_holds_up_no_other(two: Two) -> None:
    async with two.app.foreman():
        two.flaky.fail("settle", "refused")
        far = await two.app.tasks["far"].aenqueue()
        await advance_until(two.clock, lambda: two.flaky.calls["settle"] > 1)
        near = await two.app.tasks["near"].aenqueue()
        result = asyncio.ensure_future(near.aresult())
        await advance_until(two.clock, result.done)
        assert await state_of(two.app, far.id) is JobState.RUNNING
        two.flaky.mend("settle")
        result = asyncio.ensure_future(far.aresult())
        await advance_until(two.clock, result.done)
        assert ran.count("far") == 1


async def test_leases_of_others_are_renewed_while_one_is_away(two: Two) -> None:
    ended: list[str] = []
    go_on = asyncio.Event()

    @two.app.task(name="long")
    async def long() -> None:
        await go_on.wait()
        ended.append("long")

    async with two.app.foreman(lease=30):
        job = await long.aenqueue()
        await advance_until(two.clock, lambda: two.clock.monotonic() > 1)
        two.flaky.fail("extend", "refused")
        until = two.clock.monotonic() + 100
        await advance_until(two.clock, lambda: two.clock.monotonic() > until)
        go_on.set()
        await advance_until(two.clock, lambda: bool(ended))
        assert (await job.arecord()).crashes == 0


async def test_a_claim_whose_answer_was_lost_leaves_no_job_behind(two: Two) -> None:
    far = await two.app.tasks["far"].aenqueue()
    two.flaky.fail("claim", "unheard", times=1)
    async with two.app.foreman():
        await advance_until(two.clock, lambda: "far" in ran, step=0.1)
        assert two.clock.monotonic() < 20
        result = asyncio.ensure_future(far.aresult())
        await advance_until(two.clock, result.done, step=0.1)
    record = await far.arecord()
    assert (record.crashes, record.suspect, ran) == (0, False, ["far"])


async def test_a_session_that_one_has_forgotten_costs_the_others_nothing(two: Two) -> None:
    from treadle.errors import LeaseLost

    async with two.app.foreman():
        await advance_until(two.clock, lambda: two.flaky.calls["claim"] > 0)
        two.flaky.fail("claim", LeaseLost("who?"), times=1)
        await two.app.tasks["far"].aenqueue()
        await advance_until(two.clock, lambda: "far" in ran)
        assert two.flaky.calls["open_session"] == 2


async def test_who_dies_between_a_follow_up_and_the_end_makes_no_second_one(two: Two) -> None:
    await two.app.tasks["both"].aenqueue()
    with active({"routed.pushed_before_settle": "raise#1"}):
        async with two.app.foreman(queues=["default"]):
            await advance_until(two.clock, lambda: ran.count("both") == 1)
    assert len((await two.flaky.find(Query())).records) == 1
    async with two.app.foreman():
        await advance_until(two.clock, lambda: "far" in ran)
    await two.clock.aadvance(60)
    async with two.app.foreman():
        await advance_until(two.clock, lambda: ran.count("both") == 2)
    assert ran.count("far") == 1


async def test_an_enqueue_says_which_backend_is_away(two: Two) -> None:
    two.flaky.fail("push", "refused")
    sending = asyncio.ensure_future(two.app.tasks["far"].aenqueue())
    # Nobody else waits for it.
    await two.app.tasks["near"].aenqueue()
    await advance_until(two.clock, sending.done)
    with pytest.raises(OutcomeUnknown, match=r"backend 'away' \(memory://\) did not answer for"):
        sending.result()


# ------------------------------------------------------------ over real stores


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with own(RedisServer().start) as server:
        yield server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    server.wipe()
    with Proxy(server.port) as proxy:
        yield proxy


def app_over(tmp_path: Path, proxy: Proxy) -> Treadle:
    app = Treadle(
        f"sqlite:///{tmp_path}/jobs.db",
        backends={"redis": f"redis://127.0.0.1:{proxy.port}?patience=1"},
        routes={"far": "redis"},
        patience=1,
    )
    declare(app)
    return app


async def test_one_of_two_servers_away_and_back(tmp_path: Path, proxy: Proxy) -> None:
    async with app_over(tmp_path, proxy) as app, app.foreman():
        jobs = [await app.tasks[name].aenqueue() for name in ("near", "far")]
        assert [await job.aresult(timeout=10) for job in jobs] == ["near", "far"]
        with proxy.refusing():
            for _ in range(3):
                job = await app.tasks["near"].aenqueue()
                assert await job.aresult(timeout=10) == "near"
            with pytest.raises(OutcomeUnknown, match="backend 'redis'"):
                await app.tasks["far"].aenqueue()
            with pytest.raises(BackendUnavailable, match="backend 'redis'"):
                await app.ajobs()
            assert len((await app.ajobs(queue="default")).records) == 4
        job = await app.tasks["far"].aenqueue()
        assert await job.aresult(timeout=20) == "far"
        await app.queue("far").apause()
        held = await app.tasks["far"].aenqueue()
        await run_all(app)
        assert await held.astate() is JobState.QUEUED
        await app.queue("far").aresume()
        assert await held.aresult(timeout=20) == "far"
        page = await app.ajobs(counts=True)
        assert len(page.records) == 7
        assert set(page.counts) == {"default", "far"}


async def test_an_app_begins_while_one_is_away(tmp_path: Path, proxy: Proxy) -> None:
    with proxy.refusing():
        app = app_over(tmp_path, proxy)
        await app.aopen()
        foreman = await app.foreman().__aenter__()
        job = await app.tasks["near"].aenqueue()
        assert await job.aresult(timeout=10) == "near"
    job = await app.tasks["far"].aenqueue()
    assert await job.aresult(timeout=20) == "far"
    await foreman.__aexit__(None, None, None)
    await app.aclose()


async def test_none_of_them_there(tmp_path: Path, proxy: Proxy) -> None:
    app = Treadle(
        f"redis://127.0.0.1:{proxy.port}?patience=1",
        backends={"other": f"redis://127.0.0.1:{proxy.port}/1?patience=1"},
        routes={"far": "other"},
    )
    with proxy.refusing(), pytest.raises(BackendUnavailable, match="backend 'default'"):
        await app.aopen()
    await app.aclose()
