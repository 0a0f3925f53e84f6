"""Where a claim begins to look, when to look from the head has become dear."""

from __future__ import annotations

import pytest

from tests.backends.postgres_support import execute, namespace, postgres_namespace, postgres_url
from treadle.backends.postgres import PostgresBackend, connect, seen
from treadle.backends.postgres.seen import Near, Nearby
from treadle.backends.postgres.statements import prefix_of
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.records import JobState
from treadle.testing import ManualClock
from treadle.testing.contract import Driver

__all__ = ["namespace", "postgres_namespace", "postgres_url"]


@pytest.mark.parametrize(("dear", "passed_over"), [(-1, True), (10**9, False)])
async def test_a_job_of_higher_priority_is_passed_over_for_two_seconds_at_most(
    postgres_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch, dear: int, passed_over: bool
) -> None:
    """And only when it took long to look from the head, which -1 µs are not."""
    monkeypatch.setattr(seen, "_CHEAP", dear)
    clock, ids = ManualClock(), SystemIds()
    backend = connect(postgres_url, clock=SystemClock(), ids=ids, namespace=namespace)
    assert isinstance(backend, PostgresBackend)
    backend._plain._nearby = Nearby(clock)
    await backend.open()
    try:
        store = Driver(backend, SystemClock(), ids)  # type: ignore[arg-type]
        low = await store.add_many(4)
        assert await store.claimed(1) == low[:1]
        high = await store.add(priority=9)
        if passed_over:
            assert await store.claimed(1) == low[1:2]
            clock.advance(2.1)
        assert await store.claimed(1) == [high]
        rest = await store.claimed(3)
        assert rest == (low[2:] if passed_over else low[1:])
    finally:
        await backend.aclose()
        backend.close()


async def test_nor_is_one_granted_that_has_expired(
    postgres_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has expired is looked for from a head, too."""
    monkeypatch.setattr(seen, "_CHEAP", -1)
    ids = SystemIds()
    backend = connect(postgres_url, clock=SystemClock(), ids=ids, namespace=namespace)
    assert isinstance(backend, PostgresBackend)
    backend._plain._nearby = Nearby(ManualClock())
    await backend.open()
    try:
        store = Driver(backend, SystemClock(), ids)  # type: ignore[arg-type]
        jobs = await store.add_many(4)
        assert await store.claimed(1) == jobs[:1]
        late = f"UPDATE {prefix_of(namespace)}_job SET expires = 1 WHERE id = '{jobs[1]}'"
        execute(postgres_url, late)
        assert await store.claimed(1) == jobs[2:3]
        assert (await store.record(jobs[1])).state is JobState.FAILED
    finally:
        await backend.aclose()
        backend.close()


@pytest.mark.parametrize(
    ("microseconds", "seconds"),
    [(1_000, 0.0), (1_001, 0.1), (5_000, 0.1), (50_000, 0.5), (200_000, 2.0), (10**7, 2.0)],
)
def test_the_longer_a_look_takes_the_longer_the_head_is_let_be(
    microseconds: int, seconds: float
) -> None:
    clock = ManualClock()
    nearby = Nearby(clock)
    names, ended = ("*",), Near("mail", 0, 7)
    nearby.went(names, ended, microseconds)
    clock.advance(seconds * 0.99)
    assert nearby.of(names) == (ended if seconds else Near())
    clock.advance(seconds * 0.02 + 1e-6)
    assert nearby.of(names) == Near()
