"""Answers of a server that get lost: nothing is done twice, nothing is forgotten."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.network_support import Network, network, proxy, started
from tests.faults.shop_support import driving, shop
from treadle.errors import BackendUnavailable, OutcomeUnknown
from treadle.ports import Cancel, Granted, Query, Write
from treadle.records import Hold, JobState, PushStatus, Renewal, Settled
from treadle.testing.proxy import Proxy
from treadle.verdicts import Again, Done

__all__ = ["network", "proxy", "started"]

# Answers come from who has the jobs, and that is no broker.
pytestmark = pytest.mark.parametrize(
    "started", ["redis", "postgres"], indirect=True, scope="module"
)


@contextlib.contextmanager
def looked_up(network: Network) -> Iterator[None]:
    """What may not be done twice is not repeated by PostgreSQL: who asked is told, and looks."""
    if network.kind != "postgres":
        yield
        return
    with pytest.raises(BackendUnavailable):
        yield


async def test_of_a_push(network: Network, proxy: Proxy) -> None:
    """Each job is there once, whether the answer says created or that it exists."""
    async with driving(network.url(proxy.port)) as one:
        jobs = [one.job() for _ in range(20)]
        with proxy.losing_replies(network.step("push", jobs[0].id)):
            answers = await one.push(*jobs)
        assert proxy.lost == 1
        assert {answer.status for answer in answers} <= {PushStatus.CREATED, PushStatus.EXISTS}
        assert {record.spec.id for record in await one.records()} == {job.id for job in jobs}
        assert sorted(await one.claimed(100)) == sorted(job.id for job in jobs)


async def test_of_a_claim(network: Network, proxy: Proxy) -> None:
    """The same jobs are granted again under the same tokens; none waits for its lease."""
    async with driving(network.url(proxy.port)) as one:
        ids = await one.add_many(20)
        nonce = (await one.session()).nonce
        with proxy.losing_replies(network.claim_of(nonce)):
            leases = await one.claim(15)
        assert proxy.lost == 1
        assert [lease.spec.id for lease in leases] == ids[:15]
        assert {lease.token.fence for lease in leases} == {1}
        assert len(await one.claimed(100)) == 5
        for lease in leases:
            await one.done(lease)
        assert {(await one.record(lease.spec.id)).crashes for lease in leases} == {0}


@pytest.mark.parametrize("verdict", [Done(result=b"x"), Again(delay=5.0)], ids=["done", "again"])
async def test_of_a_settle(network: Network, proxy: Proxy, verdict: Done | Again) -> None:
    """It is answered as if it had been the first, and counted once."""
    async with driving(network.url(proxy.port)) as one:
        lease = await one.run()
        # What is to be tried again takes several steps, of which the commit is the last.
        ids = (lease.spec.id,) if isinstance(verdict, Done) else ()
        with proxy.losing_replies(network.step("settle", *ids)):
            answer = await one.settle(lease, verdict)
        assert proxy.lost == 1
        assert answer in {Settled.OK, Settled.ALREADY}
        record = await one.record(lease.spec.id)
        assert record.tries == (0 if isinstance(verdict, Done) else 1)
        assert await one.claim() == ()


async def test_of_a_renewal(network: Network, proxy: Proxy) -> None:
    async with driving(network.url(proxy.port)) as one:
        lease = await one.run()
        with proxy.losing_replies(network.step("extend", lease.spec.id)):
            assert await one.extend(lease, started=True, lease=60.0) == [Renewal.HELD]
        assert proxy.lost == 1
        one.clock.advance(45)
        await one.done(lease)


async def test_of_a_change(network: Network, proxy: Proxy) -> None:
    """A cancelled job is cancelled once; the repeat finds that it has been done."""
    async with driving(network.url(proxy.port)) as one:
        job_id = await one.add()
        with proxy.losing_replies(network.step("alter")), looked_up(network):
            await one.backend.alter(Query(ids=(job_id,)), Cancel())
        assert proxy.lost == 1
        assert await one.state(job_id) is JobState.CANCELLED


async def test_of_an_acquisition(network: Network, proxy: Proxy) -> None:
    """The one slot is taken once, by who asked; when he frees it, it is free."""
    async with driving(network.url(proxy.port)) as one:
        ask = Hold(key="slot", slots=1)
        with proxy.losing_replies(network.step("acquire")):
            granted = await one.backend.acquire([ask], "me")
        assert proxy.lost == 1
        assert isinstance(granted, Granted)
        await one.backend.release(granted.permit)
        assert isinstance(await one.backend.acquire([ask], "you"), Granted)


async def test_of_a_versioned_write(network: Network, proxy: Proxy) -> None:
    """It has succeeded, and does not say that somebody else was first: that was itself."""
    async with driving(network.url(proxy.port)) as one:
        with proxy.losing_replies(network.step("write")), looked_up(network):
            assert await one.backend.write([Write(key="cell", value=b"1", expect=0)])
        assert proxy.lost == 1
        assert (await one.backend.read(["cell"]))["cell"].version == 1


@pytest.mark.parametrize("count", [1, 40, 90, 300, 700, 1100, 1500, 1900])
async def test_a_push_that_breaks_anywhere(network: Network, proxy: Proxy, count: int) -> None:
    """Of a batch that was cut at any byte, all jobs are there once, or it was said that none is."""
    async with driving(network.url(proxy.port, "patience=1.5")) as one:
        await one.add()
        jobs = [one.job() for _ in range(15)]
        with proxy.cutting_after(count), contextlib.suppress(BackendUnavailable):
            await one.push(*jobs)
        assert len(await one.records()) in {1, 16}
        answers = await one.push(*jobs)
        assert {answer.status for answer in answers} <= {PushStatus.CREATED, PushStatus.EXISTS}
        assert len(await one.claimed(100)) == 16


async def test_an_enqueue_without_any_answer_names_its_job(
    network: Network, proxy: Proxy, tmp_path: Path
) -> None:
    """It may have been accepted, and here it was: the id that the error names finds it."""
    url = network.url(proxy.port, "patience=1.5")
    async with shop(url, tmp_path, patience=1.0) as one:
        await one.work.aenqueue()
        with (
            proxy.losing_replies(network.step("push", "work"), times=1000),
            pytest.raises(OutcomeUnknown, match="Look it up") as caught,
        ):
            await one.work.aenqueue()
        page = await one.app.ajobs(ids=(caught.value.job_id,))
        assert [record.state for record in page.records] == [JobState.QUEUED]
        async with one.foreman():
            await one.until_done(2)
        findings = await one.findings()
        assert not findings.violations, findings.report()
