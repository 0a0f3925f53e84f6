"""With keys, what a store holds of a job cannot be forged, nor moved to another job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.foreman.kit import record_of
from treadle import CONTEXT, Context, JobState, Retry, Treadle, backoff
from treadle.codec import Codec, KeyRing
from treadle.errors import SignatureInvalid
from treadle.ports import Query
from treadle.records import NewJob

AT_ONCE = backoff.fixed(0, jitter=False)


@pytest.fixture
async def signed() -> AsyncIterator[Treadle]:
    codec = Codec(keys=KeyRing({"k1": b"s" * 32}), require_signature=True)
    async with Treadle("memory://", codec=codec) as app:
        yield app


async def burst(app: Treadle) -> None:
    async with app.foreman(burst=True) as foreman:
        await foreman.join()


async def test_arguments_checkpoints_and_results_travel_signed(signed: Treadle) -> None:
    @signed.task(name="child")
    async def child(n: int) -> int:
        return n

    @signed.task(name="add", retry=Retry(1, backoff=AT_ONCE))
    async def add(a: int, b: int, ctx: Context = CONTEXT) -> int:
        if ctx.attempt == 1:
            ctx.checkpoint([a, b])
            raise ValueError
        ctx.enqueue(child, a)
        return sum(ctx.resumed)

    one = await add.aenqueue(1, 2)
    many = await add.aenqueue_many([(3, 4), (5, 6)])
    await burst(signed)
    assert [await job.aresult() for job in (one, *many)] == [3, 7, 11]
    page = await (await signed.core.ready()).find(Query())
    assert sorted(record.spec.task for record in page.records) == ["add"] * 3 + ["child"] * 3
    assert {record.state for record in page.records} == {JobState.SUCCEEDED}


async def test_middleware_headers_are_signed_too(signed: Treadle) -> None:
    @signed.middleware
    async def tenant(ctx: Any, call_next: Any) -> Any:
        if ctx.phase == "enqueue":
            ctx.headers["tenant"] = "acme"
        return await call_next(ctx)

    @signed.task(name="who")
    async def who(ctx: Context = CONTEXT) -> str:
        return ctx.headers["tenant"]

    job = await who.aenqueue()
    await burst(signed)
    assert await job.aresult() == "acme"


async def test_arguments_cannot_be_moved_to_another_job(signed: Treadle) -> None:
    paid: list[int] = []

    @signed.task(name="pay")
    async def pay(amount: int) -> None:
        paid.append(amount)

    @signed.task(name="refund")
    async def refund(amount: int) -> None:
        paid.append(-amount)

    job = await pay.aenqueue(100)
    payload = (await record_of(signed, job.id)).spec.payload
    backend = await signed.core.ready()
    for forged in (
        NewJob(id=signed.core.ids.new(), task="pay", payload=payload),
        NewJob(id=signed.core.ids.new(), task="refund", payload=payload),
        NewJob(id=signed.core.ids.new(), task="pay", payload=Codec().seal(b"\x81\xa6amount\x01")),
    ):
        await backend.push([forged])
        await burst(signed)
        record = await record_of(signed, forged.id)
        assert record.state is JobState.SCHEDULED
        assert "sign" in record.reason
    assert paid == [100]


async def test_a_result_cannot_be_moved_to_another_job(signed: Treadle) -> None:
    @signed.task(name="answer")
    async def answer(n: int) -> int:
        return n

    one, other = await answer.aenqueue_many([(1,), (2,)])
    await burst(signed)
    backend: Any = await signed.core.ready()
    find = backend.find

    async def swapped(query: Any) -> Any:
        page = await find(query)
        stolen = (await find(msgspec.structs.replace(query, ids=(other.id,)))).records[0].result
        records = tuple(msgspec.structs.replace(record, result=stolen) for record in page.records)
        return msgspec.structs.replace(page, records=records)

    assert await one.aresult() == 1
    backend.find = swapped
    with pytest.raises(SignatureInvalid):
        await signed.job(one.id).aresult()


async def test_when_where_and_from_whom_is_not_signed(signed: Treadle) -> None:
    """Stores and people without a key change these: it is another job with the same call."""
    ran: list[tuple[int, str, str | None]] = []

    def declare(app: Treadle) -> Any:
        @app.task(name="pay")
        async def pay(amount: int, ctx: Context = CONTEXT) -> None:
            ran.append((amount, ctx.queue, ctx.parent))

        return pay

    job = await declare(signed).options(delay="1h").aenqueue(100)
    spec = (await record_of(signed, job.id)).spec
    async with Treadle("memory://", codec=signed.core.codec) as other:
        declare(other)
        moved = msgspec.structs.replace(spec, due=None, queue="fast", parent="forged")
        await (await other.core.ready()).push([moved])
        await burst(other)
    assert ran == [(100, "fast", "forged")]


async def test_eager_jobs_are_signed_like_others() -> None:
    codec = Codec(keys=KeyRing({"k1": b"s" * 32}), require_signature=True)
    async with Treadle(eager=True, codec=codec) as app:

        @app.task(name="double")
        async def double(n: int) -> int:
            return 2 * n

        assert await (await double.aenqueue(4)).aresult() == 8


def test_without_keys_nothing_is_bound() -> None:
    assert Codec().binding("task", "id") == b""
    assert Codec().plain
    assert Codec(keys=KeyRing({"k1": b"s" * 32})).binding("task", "id") == b"task\0id"
