"""Answers of Redis that get lost: nothing is done twice, nothing is forgotten."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.redis_support import driving, shop, text_of, url_of
from tests.servers import own
from treadle.errors import BackendUnavailable, OutcomeUnknown
from treadle.ports import Cancel, Granted, Query, Write
from treadle.records import Hold, JobState, PushStatus, Renewal, Settled
from treadle.testing.proxy import Proxy
from treadle.testing.servers import RedisServer
from treadle.verdicts import Again, Done


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with own(RedisServer().start) as server:
        yield server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    server.ask("FLUSHALL")
    with Proxy(server.port) as proxy:
        yield proxy


async def test_of_a_push(proxy: Proxy) -> None:
    """Each job is there once, whether the answer says created or that it exists."""
    async with driving(url_of(proxy.port)) as one:
        jobs = [one.job() for _ in range(20)]
        with proxy.losing_replies(text_of("push")):
            answers = await one.push(*jobs)
        assert proxy.lost == 1
        assert {answer.status for answer in answers} <= {PushStatus.CREATED, PushStatus.EXISTS}
        assert {record.spec.id for record in await one.records()} == {job.id for job in jobs}
        assert sorted(await one.claimed(100)) == sorted(job.id for job in jobs)


async def test_of_a_claim(proxy: Proxy) -> None:
    """The same jobs are granted again under the same tokens; none waits for its lease."""
    async with driving(url_of(proxy.port)) as one:
        ids = await one.add_many(20)
        await one.session()
        with proxy.losing_replies(text_of("claim")):
            leases = await one.claim(15)
        assert proxy.lost == 1
        assert [lease.spec.id for lease in leases] == ids[:15]
        assert {lease.token.fence for lease in leases} == {1}
        assert len(await one.claimed(100)) == 5
        for lease in leases:
            await one.done(lease)
        assert {(await one.record(lease.spec.id)).crashes for lease in leases} == {0}


@pytest.mark.parametrize("verdict", [Done(result=b"x"), Again(delay=5.0)], ids=["done", "again"])
async def test_of_a_settle(proxy: Proxy, verdict: Done | Again) -> None:
    """It is answered as if it had been the first, and counted once."""
    async with driving(url_of(proxy.port)) as one:
        lease = await one.run()
        with proxy.losing_replies(text_of("settle")):
            answer = await one.settle(lease, verdict)
        assert proxy.lost == 1
        assert answer in {Settled.OK, Settled.ALREADY}
        record = await one.record(lease.spec.id)
        assert record.tries == (0 if isinstance(verdict, Done) else 1)
        assert await one.claim() == ()


async def test_of_a_renewal(proxy: Proxy) -> None:
    async with driving(url_of(proxy.port)) as one:
        lease = await one.run()
        with proxy.losing_replies(text_of("extend")):
            assert await one.extend(lease, started=True, lease=60.0) == [Renewal.HELD]
        assert proxy.lost == 1
        one.clock.advance(45)
        await one.done(lease)


async def test_of_a_change(proxy: Proxy) -> None:
    """A cancelled job is cancelled once; the repeat finds that it has been done."""
    async with driving(url_of(proxy.port)) as one:
        job_id = await one.add()
        with proxy.losing_replies(text_of("alter")):
            await one.backend.alter(Query(ids=(job_id,)), Cancel())
        assert proxy.lost == 1
        assert await one.state(job_id) is JobState.CANCELLED


async def test_of_an_acquisition(proxy: Proxy) -> None:
    """The one slot is taken once, by who asked; when he frees it, it is free."""
    async with driving(url_of(proxy.port)) as one:
        ask = Hold(key="slot", slots=1)
        with proxy.losing_replies(text_of("acquire")):
            granted = await one.backend.acquire([ask], "me")
        assert proxy.lost == 1
        assert isinstance(granted, Granted)
        await one.backend.release(granted.permit)
        assert isinstance(await one.backend.acquire([ask], "you"), Granted)


async def test_of_a_versioned_write(proxy: Proxy) -> None:
    """It has succeeded, and does not say that somebody else was first: that was itself."""
    async with driving(url_of(proxy.port)) as one:
        with proxy.losing_replies(text_of("write")):
            assert await one.backend.write([Write(key="cell", value=b"1", expect=0)])
        assert proxy.lost == 1
        assert (await one.backend.read(["cell"]))["cell"].version == 1


@pytest.mark.parametrize("count", [1, 40, 90, 300, 700, 1100, 1500, 1900])
async def test_a_push_that_breaks_anywhere(proxy: Proxy, count: int) -> None:
    """Of a batch that was cut at any byte, all jobs are there once, or it was said that none is."""
    async with driving(url_of(proxy.port, "patience=0.4")) as one:
        await one.add()
        jobs = [one.job() for _ in range(15)]
        with proxy.cutting_after(count), contextlib.suppress(BackendUnavailable):
            await one.push(*jobs)
        assert len(await one.records()) in {1, 16}
        answers = await one.push(*jobs)
        assert {answer.status for answer in answers} <= {PushStatus.CREATED, PushStatus.EXISTS}
        assert len(await one.claimed(100)) == 16


async def test_an_enqueue_without_any_answer_names_its_job(proxy: Proxy, tmp_path: Path) -> None:
    """It may have been accepted, and here it was: the id that the error names finds it."""
    url = url_of(proxy.port, "patience=0.5")
    async with shop(url, tmp_path, patience=1.0) as one:
        await one.work.aenqueue()
        with (
            proxy.losing_replies(text_of("push"), times=1000),
            pytest.raises(OutcomeUnknown, match="Look it up") as caught,
        ):
            await one.work.aenqueue()
        page = await one.app.ajobs(ids=(caught.value.job_id,))
        assert [record.state for record in page.records] == [JobState.QUEUED]
        async with one.foreman():
            await one.until_done(2)
        findings = await one.findings()
        assert not findings.violations, findings.report()
