"""Rows that are written again and again, beside a snapshot that keeps each of their versions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import product
from typing import Self

import asyncpg
import pytest

from tests.backends.postgres_support import namespace, postgres_namespace, postgres_url
from treadle.backends.postgres import PostgresBackend, client, connect
from treadle.backends.postgres.address import Address
from treadle.backends.postgres.statements import prefix_of
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.ports import Claim, Settlement
from treadle.records import NewJob, SessionInfo
from treadle.verdicts import Done

__all__ = ["namespace", "postgres_namespace", "postgres_url"]

FEW, MANY = 20, 600
# What a page of an index that has grown may take more.
MORE = 8


@asynccontextmanager
async def snapshot(url: str) -> AsyncIterator[None]:
    """Another's transaction that sees all that was."""
    wire = await asyncpg.connect(url)
    try:
        async with wire.transaction(isolation="repeatable_read"):
            await wire.fetchval("SELECT count(*) FROM pg_class")
            yield
    finally:
        await wire.close()


class Worn:
    """A store whose rows get older with each job; it has one connection."""

    def __init__(self, url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prefix = prefix_of(namespace)
        self.wires: list[client.Wire] = []
        connected = client.connect

        async def listening(address: Address) -> client.Wire:
            self.wires.append(await connected(address))
            return self.wires[-1]

        monkeypatch.setattr(client, "connect", listening)
        one = f"{url}{'&' if '?' in url else '?'}connections=1&notify=off"
        self.ids = SystemIds()
        backend = connect(one, clock=SystemClock(), ids=self.ids, namespace=namespace)
        assert isinstance(backend, PostgresBackend)
        self.backend = backend
        self.number = 0

    async def __aenter__(self) -> Self:
        await self.backend.open()
        self.session = await self.backend.open_session(SessionInfo(name="one"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.backend.aclose()
        self.backend.close()

    async def work(self, times: int) -> None:
        """Carry out so many jobs, one after the other."""
        for _ in range(times):
            await self.backend.push([NewJob(id=self.ids.new(), task="t", payload=b"p")])
            self.number += 1
            ask = Claim(session=self.session, request=self.number, limit=1)
            leases = (await self.backend.claim(ask)).leases
            ends = [Settlement(token=one.token, verdict=Done()) for one in leases]
            await self.backend.settle(ends)

    async def buffers(self, call: str) -> int:
        """How many buffers a statement looks into."""
        text = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT {self.prefix}_{call}"
        plan = json.loads(await self.wires[0].fetchval(text))[0]["Plan"]
        return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def counts(worn: Worn) -> int:
    return await worn.buffers("add('{2,3}', '{default,default}', '{1,1}')")


async def presence(worn: Worn) -> int:
    return await worn.buffers(
        f"extend(NULL, {worn.session.nonce}, 30, '{{}}', '{{}}', '{{}}', '{{}}')"
    )


async def claims(worn: Worn) -> int:
    """One that has nothing to look for, not even from the head of the queue."""
    worn.number += 1
    return await worn.buffers(
        f"claim(NULL, 'infinity', {worn.session.nonce}, {worn.number}, 1, '{{}}', '{{}}', false,"
        " 30, 'one', 600, NULL, NULL, NULL, 'infinity', 'infinity')"
    )


@pytest.mark.parametrize("measure", [counts, presence, claims])
async def test_no_statement_steps_over_the_versions_of_a_row(
    postgres_url: str,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    measure: Callable[[Worn], Awaitable[int]],
) -> None:
    async with snapshot(postgres_url), Worn(postgres_url, namespace, monkeypatch) as worn:
        await worn.work(FEW)
        # What is seen for the first time is read with its definition.
        await measure(worn)
        before = await measure(worn)
        await worn.work(MANY)
        assert await measure(worn) <= before + MORE


async def test_serializable_transactions_that_enqueue_do_not_meet(
    postgres_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither reads where the other writes, though both count for the first time."""
    async with Worn(postgres_url, namespace, monkeypatch) as worn:
        wires = [await asyncpg.connect(postgres_url) for _ in range(2)]
        try:
            begun = [wire.transaction(isolation="serializable") for wire in wires]
            for transaction in begun:
                await transaction.start()
            for wire in wires:
                await wire.fetchval("SELECT count(*) FROM pg_class")
            # First one queue by each, then another by each.
            for queue, wire in product("ab", wires):
                job = NewJob(id=worn.ids.new(), task="t", payload=b"p", queue=queue)
                await worn.backend.push_within(wire, [job])
            for transaction in begun:
                await transaction.commit()
        finally:
            for wire in wires:
                await wire.close()
