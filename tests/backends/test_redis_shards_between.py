"""A namespace in several shards: where jobs are, and what goes from one to another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from tests.backends.redis_server import namespace
from treadle.backends.redis import connect
from treadle.backends.redis.sharded import ShardedBackend
from treadle.backends.redis.sharded.placing import Placing
from treadle.errors import BackendUnavailable, InvalidOption, SchemaMismatch, Unsupported
from treadle.ids import SystemIds
from treadle.ports import QUEUE_CELL, Delete, QueueRule, Write
from treadle.records import After, Hold, JobState, NewJob, Settled, Spend, Unique
from treadle.testing import ManualClock
from treadle.testing.contract import Driver
from treadle.verdicts import Done

SHARDS = 3
LATER = 11.0
"""Seconds after which anybody brings away a letter."""


@pytest.fixture
def shop(redis_url: str) -> Iterator[str]:
    with namespace(redis_url) as shop:
        yield shop


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def stores(redis_url: str, shop: str, clock: ManualClock) -> AsyncIterator[list[Driver]]:
    """The store as two processes have it."""
    drivers: list[Driver] = []
    for _ in range(2):
        ids = SystemIds(clock)
        backend = connect(f"{redis_url}?shards={SHARDS}", clock=clock, ids=ids, namespace=shop)
        await backend.open()
        drivers.append(Driver(backend, clock, ids))
    yield drivers
    for driver in drivers:
        await driver.backend.aclose()
        driver.backend.close()


def named(shard: int, kind: str = "job") -> str:
    """A name in a shard."""
    placing = Placing(SHARDS)
    return next(f"{kind}{n}" for n in range(100) if placing.of(f"{kind}{n}") == shard)


def dies(driver: Driver, monkeypatch: pytest.MonkeyPatch, before: str = "send") -> None:
    """Have a process end before it has delivered what it posted, or before it says that it has."""

    async def never(*args: Any, **kwargs: Any) -> None:
        """As if it was not there any more."""

    assert isinstance(driver.backend, ShardedBackend)
    monkeypatch.setattr(driver.backend._letters, before, never)


async def outbox(redis_url: str, shop: str) -> int:
    """Letters that are in the outboxes of all shards."""
    from tests.backends.redis_server import client

    server = client(redis_url)
    number = sum(server.hlen(f"{{{shop}.{shard}}}:outbox") for shard in range(SHARDS))
    server.close()
    return int(number)


# ------------ where jobs are


def test_jobs_without_names_are_spread_evenly() -> None:
    placing, ids = Placing(4), SystemIds()
    places = [placing.of(ids.new()) for _ in range(4000)]
    assert all(850 < places.count(shard) < 1150 for shard in range(4))


@pytest.mark.parametrize("shards", [1, 2, 3, 16, 64])
def test_an_id_tells_where_its_job_is(shards: int) -> None:
    placing, ids = Placing(shards), SystemIds()
    for number in range(200):
        job = NewJob(id=ids.new(), task="t", payload=b"", key=f"user:{number}")
        found = placing.placed(job)
        assert placing.of(found) == placing.of(f"user:{number}")
        assert (len(found), found[:-4]) == (len(job.id), job.id[:-4])
        assert placing.placed(msgspec.structs.replace(job, id=found)) == found


def test_the_same_word_before_a_mark_is_the_same_place() -> None:
    placing = Placing(64)
    names = ["acme#a", "acme#b", "acme#", "acme", "acme#a#b"]
    assert len({placing.of(name) for name in names}) == 1
    assert len({placing.of(name) for name in ("#a", "#b", "#c", "#d")}) > 1


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"flow": named(0, "f"), "key": named(1, "k")}, "flow='f.*' and key='k"),
        (
            {"key": named(1, "k"), "unique": Unique(key=named(2, "u"))},
            "key='k.*' and unique='u",
        ),
        (
            {"asks": (Hold(key=named(0), slots=1), Spend(key=named(1), count=1.0, per=1.0))},
            "limits='job.*' and limits='job",
        ),
    ],
    ids=["flow", "key", "limits"],
)
async def test_what_is_in_different_shards_is_refused(
    stores: list[Driver], fields: dict[str, Any], refusal: str
) -> None:
    with pytest.raises(InvalidOption, match=refusal) as caught:
        stores[0].job(**fields)
    assert "begin both with the same word and a #" in str(caught.value)
    good = stores[0].job()
    with pytest.raises(InvalidOption, match=refusal):
        await stores[0].push(good, stores[0].job(id="x", **fields))
    assert await stores[0].records() == ()


async def test_an_id_of_ones_own_has_to_lie_with_what_it_names(stores: list[Driver]) -> None:
    job = stores[0].job(id=named(0), key=named(1, "k"))
    with pytest.raises(InvalidOption, match=r"id='job.*' and key='k"):
        await stores[0].push(job)
    assert await stores[0].add(id="acme#1", key="acme#k", flow="acme#f") == "acme#1"


# ------------ what is not kept over shards is refused by its name


async def test_a_bound(stores: list[Driver]) -> None:
    with pytest.raises(Unsupported, match=r"bound=3 .*without shards"):
        await stores[0].push(stores[0].job(), stores[0].job(bound=3))
    assert await stores[0].records() == ()


async def test_a_bound_on_what_runs(stores: list[Driver]) -> None:
    rule = msgspec.msgpack.encode(QueueRule(max_running=1))
    with pytest.raises(Unsupported, match=r"max_running=1 .*Slots\(n\)"):
        await stores[0].backend.write([Write(key=f"{QUEUE_CELL}a", value=rule)])
    assert await stores[0].backend.read([f"{QUEUE_CELL}*"]) == {}


async def test_a_permit_for_limits_in_different_shards(stores: list[Driver]) -> None:
    asks = [Hold(key=named(shard), slots=1) for shard in (0, 1)]
    with pytest.raises(InvalidOption, match=r"limits 'job.*'mail#a' and 'mail#b'"):
        await stores[0].backend.acquire(asks, "me")


@pytest.mark.parametrize(("first", "second"), [(3, 2), (3, 1), (1, 3)])
async def test_another_number_of_shards(redis_url: str, shop: str, first: int, second: int) -> None:
    made = connect(f"{redis_url}?shards={first}", namespace=shop)
    await made.open()
    await made.aclose()
    other = connect(f"{redis_url}?shards={second}", namespace=shop)
    with pytest.raises(SchemaMismatch, match=rf"\?shards={first} instead of {second}"):
        await other.open()
    await other.aclose()
    made.close()
    other.close()


@pytest.mark.parametrize("shards", ["0", "65", "many"])
def test_a_number_that_is_none(shards: str) -> None:
    with pytest.raises(InvalidOption, match="shards="):
        connect(f"redis://localhost?shards={shards}")


# ------------ what is posted arrives, once, whoever dies


async def pair(store: Driver) -> tuple[str, str]:
    """A job, and one in another shard that waits for it."""
    first = await store.add(id=named(0), queue="a")
    return first, await store.add(id=named(1), after=After(ids=(first,)), queue="b")


@pytest.mark.parametrize("before", ["send", "_drop"])
async def test_a_follow_up_of_a_process_that_died(
    stores: list[Driver],
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    redis_url: str,
    shop: str,
    before: str,
) -> None:
    one, two = stores
    lease = await one.run(id=named(0))
    dies(one, monkeypatch, before)
    jobs = [one.job(id=named(shard, "next"), queue="next") for shard in range(SHARDS)]
    assert await one.settle(lease, Done(), *jobs) is Settled.OK
    assert await two.claimed(5, queues=["elsewhere"]) == []
    assert await outbox(redis_url, shop) == SHARDS - 1
    clock.advance(LATER)
    await two.claim(5, queues=["elsewhere"])
    assert await outbox(redis_url, shop) == 0
    assert sorted(await two.claimed(5)) == sorted(job.id for job in jobs)
    clock.advance(LATER)
    assert await two.claimed(5, holding=3) == []


async def test_a_lost_lease_posts_nothing(stores: list[Driver], redis_url: str, shop: str) -> None:
    one, _ = stores
    lease = await one.run(id=named(0))
    await one.lapse()
    assert await one.settle(lease, Done(), one.job(id=named(1))) is Settled.LOST
    assert await outbox(redis_url, shop) == 0


@pytest.mark.parametrize("before", ["send", "_drop"])
async def test_an_end_that_nobody_could_tell(
    stores: list[Driver], clock: ManualClock, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    one, two = stores
    _, waiting = await pair(one)
    lease = await one.take(queues=["a"])
    dies(one, monkeypatch, before)
    await one.done(lease)
    if before == "send":
        assert await two.state(waiting) is JobState.WAITING
    clock.advance(LATER)
    answer = await two.ask(5)
    # Who would end when nothing is left has to look again.
    assert answer.more or answer.leases
    granted = [lease.spec.id for lease in answer.leases] + await two.claimed(5)
    assert granted == [waiting]


@pytest.mark.parametrize("before", ["send", "_drop"])
async def test_a_job_of_a_process_that_died_waits_all_the_same(
    stores: list[Driver], clock: ManualClock, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    one, two = stores
    dies(one, monkeypatch, before)
    _, waiting = await pair(one)
    lease = await two.take(queues=["a"])
    await two.done(lease)
    clock.advance(LATER)
    assert await two.claimed(5, queues=["b"]) in ([], [waiting])
    assert await two.state(waiting) in {JobState.QUEUED, JobState.RUNNING}


async def test_what_is_awaited_may_still_be_on_its_way(
    stores: list[Driver], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = stores
    dies(one, monkeypatch)
    first, second = named(0), named(0, "never")
    waits = [
        await one.add(id=named(1, kind), after=After(ids=(other,)))
        for kind, other in (("good", first), ("bad", second))
    ]
    clock.advance(LATER)
    await two.claim(queues=["elsewhere"])
    assert await two.states(waits) == ["waiting", "waiting"]
    await two.add(id=first)
    clock.advance(70)
    await two.claim(queues=["elsewhere"])
    assert await two.states(waits) == ["waiting", "failed"]
    await two.done(await two.take())
    assert await two.states(waits) == ["queued", "failed"]


async def test_a_chain_over_all_shards_fails_in_one_go(stores: list[Driver]) -> None:
    one, _ = stores
    chain = [one.job(id=f"c{0}")]
    for number in range(1, 30):
        chain.append(one.job(id=f"c{number}", after=After(ids=(chain[-1].id,)), queue="b"))
    await one.push(*reversed(chain))
    await one.fail(await one.take(queues=["default"]))
    assert set(await one.states([job.id for job in chain])) == {JobState.FAILED}


async def test_a_pause_of_a_process_that_died(
    stores: list[Driver], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = stores
    for shard in range(SHARDS):
        await one.add(id=named(shard), queue="a")
    with monkeypatch.context() as patch:
        dies(one, patch)
        await rule(one, QueueRule(paused=True))
    clock.advance(LATER)
    await two.claim(queues=["elsewhere"])
    assert await two.claimed(5) == []


async def test_an_older_pause_does_not_come_back(
    stores: list[Driver], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = stores
    ids = [await one.add(id=named(shard), queue="a") for shard in range(SHARDS)]
    backend = one.backend
    assert isinstance(backend, ShardedBackend)
    stale = await backend._stores[0].run("rule_of", f"{QUEUE_CELL}a")
    await rule(one, QueueRule(paused=True))
    seen = await backend._stores[0].run("rule_of", f"{QUEUE_CELL}a")
    assert int(seen[0]) > int(stale[0])
    await rule(two, None)

    async def late(name: str, *args: Any) -> Any:
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(backend._stores[0], "run", late)
        for letter in backend._writer.rules([f"{QUEUE_CELL}a"]):
            await backend._letters._copy(letter)
    assert sorted(await two.claimed(5)) == sorted(ids)


async def rule(store: Driver, rule: QueueRule | None) -> None:
    """Set the rule of a queue."""
    value = None if rule is None else msgspec.msgpack.encode(rule)
    await store.backend.write([Write(key=f"{QUEUE_CELL}a", value=value)])


# ------------ all shards are served


async def test_one_request_takes_from_all(stores: list[Driver]) -> None:
    ids = await stores[0].add_many(60)
    answer = await stores[0].ask(100)
    assert sorted(lease.spec.id for lease in answer.leases) == sorted(ids)
    assert not answer.more


async def test_who_takes_one_at_a_time_serves_all_in_turns(stores: list[Driver]) -> None:
    ids = await stores[0].add_many(30)
    placing, places = Placing(SHARDS), set[int]()
    for _ in range(SHARDS):
        lease = await stores[0].take()
        places.add(placing.of(lease.spec.id))
    assert places == set(range(SHARDS))
    assert len(await stores[0].claim(100)) == len(ids) - SHARDS


async def test_one_that_is_away_keeps_nobody_from_the_others(
    stores: list[Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = stores
    ids = [await one.add(id=named(shard)) for shard in range(SHARDS)]
    backend = one.backend
    assert isinstance(backend, ShardedBackend)

    async def away(ask: Any) -> Any:
        raise BackendUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(backend._shards[1], "claim", away)
        assert sorted(await one.claimed(5)) == sorted(ids[::2])
        more = await one.add_many(20)
        # It is not waited for again while there is something elsewhere,
        assert set(await one.claimed(1)) < set(more)
        await one.claim(100)
        # and is not taken for empty.
        with pytest.raises(BackendUnavailable):
            await one.claim(5)
    assert await one.extend() == []
    assert ids[1] in await one.claimed(5)


async def test_suspects_of_each_shard_get_their_turn(stores: list[Driver]) -> None:
    one, _ = stores
    ids = [await one.add(id=named(shard)) for shard in range(SHARDS)]
    assert len(await one.claim(5)) == SHARDS
    await one.lapse()
    seen: list[str] = []
    while len(seen) < SHARDS:
        lease = await one.take(limit=5)
        assert lease.suspect
        assert (await one.ask(5, holding=1)).suspects_wait is (len(seen) < SHARDS - 1)
        seen.append(lease.spec.id)
        await one.done(lease)
    assert sorted(seen) == sorted(ids)


async def test_shards_that_are_empty_are_not_asked_beside_one_that_is_not(
    stores: list[Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = stores
    ids = [await one.add(id=named(1, kind)) for kind in ("a", "b")]
    backend = one.backend
    assert isinstance(backend, ShardedBackend)
    asked: list[int] = []
    for number, shard in enumerate(backend._shards):
        _counted(shard, number, asked, monkeypatch)
        empty = number != 1
        monkeypatch.setattr(shard, "knows_empty", lambda *_, empty=empty: empty)
    assert sorted(await one.claimed(5)) == sorted(ids)
    assert asked == [1]
    # But nothing is only answered by all.
    assert await one.claimed(5) == []
    assert sorted(asked) == [0, 1, 1, 2]


async def test_a_wait_tells_whom_to_ask_first(
    stores: list[Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = stores
    backend = one.backend
    assert isinstance(backend, ShardedBackend)
    for shard in (2, 0, 1, 1):
        await two.add(id=named(shard, "told"), queue="a")
        await backend.wait(["a"], 60.0)
        asked: list[int] = []
        with monkeypatch.context() as patch:
            for number, part in enumerate(backend._shards):
                _counted(part, number, asked, patch)
            await one.done(await one.take(queues=["a"]))
        assert asked == [shard]
        await two.alter(named(shard, "told"), Delete())
        clock = one.clock
        clock.advance(700)


def _counted(shard: Any, number: int, asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the claims of a shard noted."""
    claim = shard.claim

    async def noted(ask: Any) -> Any:
        asked.append(number)
        return await claim(ask)

    monkeypatch.setattr(shard, "claim", noted)
