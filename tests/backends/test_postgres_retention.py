"""What was kept long enough: nobody sees it, nobody waits for its removal, and it is removed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from tests.backends.postgres_support import empty, execute, postgres_namespace, postgres_url
from treadle.backends.postgres import PostgresBackend, connect, probe
from treadle.backends.postgres.seen import Swept
from treadle.backends.postgres.statements import prefix_of
from treadle.cli.checks import Finding
from treadle.clock import Clock, SystemClock
from treadle.ids import Ids, SystemIds
from treadle.ports import Query, Settlement
from treadle.records import JobState, Keep, Settled
from treadle.testing import ManualClock
from treadle.testing.contract.driver import Driver
from treadle.verdicts import Done, Failed, Verdict

__all__ = ["postgres_namespace", "postgres_url"]

MANY = 2000
KEPT = 4
"""Seconds for which a job is kept after its end, and its tombstone after that."""


class Place(Driver):
    """A store, and what is in its tables."""

    backend: PostgresBackend
    url: str

    def rows(self, table: str, where: str = "true") -> int:
        """How many there are."""
        return int(self.execute(f"SELECT count(*) FROM {{}}_{table} WHERE {where}")[0][0][0])

    def execute(self, *statements: str) -> list[list[tuple[int, ...]]]:
        """What they give, over another connection."""
        prefix = prefix_of(self.backend._store.namespace)
        rows = execute(self.url, *(statement.format(prefix) for statement in statements))
        return [[tuple(row) for row in one] for one in rows]

    async def ended(self, number: int, **options: object) -> list[str]:
        """So many jobs that have succeeded."""
        ids = await self.add_many(number, keep=Keep(succeeded=float(KEPT)), **options)
        await self.end(number, Done())
        return ids

    async def end(self, number: int, verdict: Verdict) -> None:
        """End all that are there so."""
        leases = await self.claim(number, lease=3600.0)
        assert len(leases) == number
        ends = [Settlement(token=lease.token, verdict=verdict) for lease in leases]
        assert set(await self.backend.settle(ends)) == {Settled.OK}

    def forget(self, clock: Clock | None = None) -> None:
        """Let the store know nothing of what it has removed; what was made older is older."""
        self.backend._store._swept = Swept(clock or SystemClock())


def _placed(backend: PostgresBackend, clock: ManualClock, ids: Ids, url: str) -> Place:
    place = Place(backend, clock, ids)
    place.url = url
    return place


@pytest.fixture
async def place(postgres_url: str, postgres_namespace: str) -> AsyncIterator[Place]:
    """An empty one, with the clock of the test."""
    empty(postgres_url, postgres_namespace)
    clock = ManualClock()
    ids = SystemIds(clock)
    backend = connect(
        postgres_url, clock=clock, ids=ids, namespace=postgres_namespace, request_ttl=float(KEPT)
    )
    await backend.open()
    yield _placed(backend, clock, ids, postgres_url)
    await backend.aclose()
    backend.close()


@pytest.fixture
async def real(postgres_url: str, postgres_namespace: str) -> AsyncIterator[Place]:
    """An empty one, with the clock of the server."""
    empty(postgres_url, postgres_namespace)
    clock = SystemClock()
    ids = SystemIds(clock)
    backend = connect(postgres_url, clock=clock, ids=ids, namespace=postgres_namespace)
    await backend.open()
    yield _placed(backend, clock, ids, postgres_url)  # type: ignore[arg-type]
    await backend.aclose()
    backend.close()


@pytest.mark.parametrize("oldest_first", [True, False])
async def test_who_looks_sees_none_of_it_and_does_not_wait_until_it_is_gone(
    place: Place, oldest_first: bool
) -> None:
    gone = await place.ended(MANY, flow="f")
    [kept] = await place.ended(1, flow="f")
    place.execute(f"UPDATE {{}}_done SET keep_until = NULL WHERE id = '{kept}'")
    place.clock.advance(KEPT + 1)
    queries: list[dict[str, object]] = [
        {},
        {"flow": "f"},
        {"queue": "default"},
        {"states": (JobState.SUCCEEDED,)},
        {"task": "t*"},
    ]
    for query in queries:
        found = await place.records(oldest_first=oldest_first, limit=10, **query)
        assert [one.id for one in found] == [kept]
    page = await place.backend.find(Query(counts=True))
    assert page.counts == {"default": {JobState.SUCCEEDED: 1}}
    tomb = await place.gone(gone[-1])
    assert tomb is not None
    assert tomb.state is JobState.SUCCEEDED
    # They were there all the time.
    assert place.rows("done") > 1


async def test_failures_that_ran_out_are_not_counted(place: Place) -> None:
    await place.add_many(500, keep=Keep(failed=float(KEPT)))
    await place.end(500, Failed())
    place.clock.advance(KEPT + 1)
    page = await place.backend.find(Query(counts=True, states=(JobState.FAILED,)))
    assert (page.records, page.failures) == ((), {})
    assert sum(page.counts.get("default", {}).values()) == 0
    assert await place.records(states=(JobState.FAILED,), task="t") == ()
    assert place.rows("done") > 0


async def test_who_has_nothing_to_do_removes_it(real: Place) -> None:
    await real.ended(MANY)
    real.execute("UPDATE {}_done SET keep_until = keep_until - 1000")
    real.forget()
    for _ in range(100):
        await real.backend.wait(("*",), 0.05)
        if not real.rows("done"):
            break
    assert (real.rows("done"), real.rows("id", "seq IS NULL")) == (0, MANY)
    real.execute("UPDATE {}_id SET until = until - 1000")
    real.forget()
    for _ in range(100):
        await real.backend.wait(("*",), 0.05)
        if not real.rows("id"):
            break
    assert real.rows("id") == 0


@pytest.mark.parametrize("a_round", [5, 150])
async def test_claims_remove_as_much_as_they_will_have_added(place: Place, a_round: int) -> None:
    """Nobody looks or waits: there are only enqueues, claims and verdicts."""
    most = 0
    for _ in range(1, 5 * KEPT):
        await place.ended(a_round)
        place.clock.advance(1.0)
        most = max(most, place.rows("done"))
    assert most <= (KEPT + 2) * a_round
    assert place.rows("id", "seq IS NULL") <= (KEPT + 2) * a_round


async def test_what_somebody_had_locked_is_removed_a_minute_later(real: Place) -> None:
    clock = ManualClock()
    first, *_ = await real.ended(20)
    real.execute("UPDATE {}_done SET keep_until = 1")
    real.execute(f"UPDATE {{}}_done SET keep_until = 0.5 WHERE id = '{first}'")
    real.forget(clock)
    store = real.backend._store
    prefix = prefix_of(store.namespace)
    wire = await store.link.local.client.take()
    await wire.execute(f"BEGIN; SELECT FROM {prefix}_done WHERE id = '{first}' FOR UPDATE")
    await real.claim()
    assert real.rows("done") == 1
    await wire.execute("ROLLBACK")
    store.link.local.client.put(wire, broken=False)
    # Claims begin where the last one ended, and do not step over what was removed before that.
    await real.claim()
    assert real.rows("done") == 1
    clock.advance(61)
    await real.claim()
    assert real.rows("done") == 0


async def test_the_doctor_is_told_of_what_is_left_and_of_what_keeps_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.ended(20)
    place.clock.advance(KEPT + 1)
    facts = await place.backend.probe()
    assert facts["outlived"] == 20
    told = {"long transaction", "retention"}
    assert told.isdisjoint(one["check"] for one in facts["findings"])
    monkeypatch.setattr(probe, "_MANY", 20)
    monkeypatch.setattr(probe, "_LONG", 0.0)
    client = place.backend._store.link.local.client
    wire = await client.take()
    await wire.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM pg_class LIMIT 1")
    found = (await place.backend.probe())["findings"]
    await wire.execute("ROLLBACK")
    client.put(wire, broken=False)
    says = {one["check"]: one["says"] for one in found}
    assert told <= says.keys()
    assert "20 ended jobs" in says["retention"]
    assert msgspec.convert(found, list[Finding])


def test_who_only_looks_removes_some_once_a_second() -> None:
    clock = ManualClock()
    swept = Swept(clock)
    assert [swept.asks(), swept.asks()] == [True, False]
    clock.advance(1)
    assert swept.asks()


def test_what_ran_out_is_looked_at_from_the_last_instant_on() -> None:
    clock = ManualClock()
    swept = Swept(clock)
    never = float("-inf")
    assert swept.since() == (never, never)
    swept.saw(5.0, 7.0)
    clock.advance(59)
    assert swept.since() == (5.0, 7.0)
    # Who began before somebody else had ended says less.
    swept.saw(4.0, 8.0)
    assert swept.since() == (5.0, 8.0)
    clock.advance(2)
    assert swept.since() == (never, never)
