"""What RabbitMQ promises instead of records: see docs/explanation/rabbitmq.md."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiormq
import msgspec
import pytest

from tests.backends.rabbitmq_support import namespace
from treadle.backends.rabbitmq import RabbitBackend, connect
from treadle.backends.rabbitmq.envelope import DeadLetter, sealed
from treadle.backends.rabbitmq.envelope import encode as encoded
from treadle.backends.rabbitmq.layout import Line, Names
from treadle.clock import SystemClock
from treadle.errors import InvalidOption, Unsupported
from treadle.fates import Fate
from treadle.faults import Fault
from treadle.ids import SystemIds
from treadle.ports import Query, Settlement
from treadle.records import (
    After,
    Cause,
    Hold,
    In,
    JobState,
    Note,
    Renewal,
    Settled,
    Unique,
)
from treadle.testing.contract.driver import Driver
from treadle.verdicts import Again, Done, Failed, Released

pytestmark = pytest.mark.server


class Bench:
    """Backends over one namespace, and a plain client beside them."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name
        self.names = Names(name, 10_000)
        self.ids = SystemIds()
        self.opened: list[RabbitBackend] = []

    async def driver(self, **options: int) -> Driver:
        """Another process, as far as the server can see."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        backend = connect(f"{self.url}?{query}", namespace=self.name, ids=self.ids)
        assert isinstance(backend, RabbitBackend)
        self.opened.append(backend)
        await backend.open()
        return Driver(backend, SystemClock(), self.ids)  # type: ignore[arg-type]

    async def die(self, driver: Driver) -> None:
        """Its connections break; nothing is given back."""
        await driver.backend.aclose()

    async def dead(self) -> list[aiormq.abc.DeliveredMessage]:
        """The dead letters, which are taken out."""
        connection = await aiormq.connect(self.url)
        channel = await connection.channel()
        found: list[aiormq.abc.DeliveredMessage] = []
        while one := await _next(channel, self.names.dead):
            found.append(one)
        await connection.close()
        return found

    async def letters(self) -> list[DeadLetter]:
        """The dead letters, read."""
        return [msgspec.msgpack.decode(one.body, type=DeadLetter) for one in await self.dead()]

    async def publish(self, body: bytes, queue: str = "default") -> None:
        """A message, past the backend."""
        connection = await aiormq.connect(self.url)
        channel = await connection.channel()
        key = self.names.line(Line(queue, 0))
        properties = aiormq.spec.Basic.Properties(delivery_mode=2, message_id="raw")
        await channel.basic_publish(body, routing_key=key, mandatory=True, properties=properties)
        await connection.close()


async def _next(
    channel: aiormq.abc.AbstractChannel, queue: str
) -> aiormq.abc.DeliveredMessage | None:
    message = await channel.basic_get(queue, no_ack=True)
    return message if isinstance(message.delivery, aiormq.spec.Basic.GetOk) else None


@pytest.fixture
async def bench(rabbitmq_url: str) -> AsyncIterator[Bench]:
    async with namespace(rabbitmq_url) as name:
        bench = Bench(rabbitmq_url, name)
        yield bench
        for backend in bench.opened:
            await backend.aclose()
            backend.close()


async def comes(driver: Driver, **claim: Any) -> Any:
    """The next job, within some real seconds."""
    async with asyncio.timeout(20):
        while not (leases := await driver.claim(**claim)):
            await driver.backend.wait(["*"], 1.0)
    assert len(leases) == 1
    return leases[0]


# ----------------------------------------------------------------- ends of attempts


async def test_a_retry_is_another_message_that_knows_the_attempts_before(bench: Bench) -> None:
    store = await bench.driver()
    lease = await store.run()
    fault = Fault(type="builtins.ValueError", message="no")
    note = Note(checkpoint=b"half")
    assert await store.settle(lease, Again(fault=fault), note=note) is Settled.OK
    again = await store.take()
    assert (again.tries, again.attempt, again.token.fence) == (1, 2, 2)
    assert again.note == note
    assert again.spec == lease.spec


async def test_a_failed_job_is_a_dead_letter(bench: Bench) -> None:
    store = await bench.driver()
    lease = await store.run(queue="mail.acme")
    fault = Fault(type="builtins.ValueError", message="no such address")
    await store.fail(lease, fault=fault)
    [message] = await bench.dead()
    headers = message.header.properties.headers or {}
    assert headers["treadle-cause"] == "error"
    assert headers["treadle-error"] == "builtins.ValueError: no such address"
    letter = msgspec.msgpack.decode(message.body, type=DeadLetter)
    assert (letter.cause, letter.fault) == (Cause.ERROR, fault)
    assert letter.envelope.spec == lease.spec
    assert letter.envelope.attempts[0].fault == fault
    assert await store.claimed() == []


async def test_a_job_that_is_done_leaves_nothing_but_its_follow_ups(bench: Bench) -> None:
    store = await bench.driver()
    lease = await store.run()
    follow_up = store.job()
    assert await store.settle(lease, Done(result=b"r"), follow_up) is Settled.OK
    assert await store.claimed(5) == [follow_up.id]
    assert await bench.dead() == []


async def test_a_verdict_counts_once(bench: Bench) -> None:
    store = await bench.driver()
    lease = await store.run()
    end = Settlement(token=lease.token, verdict=Again())
    assert list(await store.backend.settle([end, end])) == [Settled.OK, Settled.ALREADY]
    assert await store.settle(lease, Done()) is Settled.ALREADY
    assert len(await store.claim(5)) == 1


@pytest.mark.parametrize("ended", [(0,), (3,), (1, 2), (0, 1, 3), (3, 0), (0, 1, 2, 3)])
async def test_jobs_that_end_take_no_other_along(bench: Bench, ended: tuple[int, ...]) -> None:
    """One acknowledgement stands for many, and never for a job that still runs."""
    store = await bench.driver()
    jobs = await store.add_many(4)
    leases = await store.claim(4)
    ends = [Settlement(token=leases[at].token, verdict=Done()) for at in ended[:-1]]
    last = Settlement(token=leases[ended[-1]].token, verdict=Done())
    assert set(await store.backend.settle(ends)) <= {Settled.OK}
    assert list(await store.backend.settle([last])) == [Settled.OK]
    await bench.die(store)
    other = await bench.driver()
    left = {job for at, job in enumerate(jobs) if at not in ended}
    for _ in range(len(left)):
        lease = await comes(other)
        left.remove(lease.spec.id)
        await other.done(lease)
    assert left == set()
    assert await other.claim(5) == ()


async def test_an_expired_job_is_a_dead_letter_and_does_not_run(bench: Bench) -> None:
    store = await bench.driver()
    late = await store.add(expires=In(0.0))
    good = await store.add(expires=In(60.0))
    claimed = await store.ask(5)
    assert [lease.spec.id for lease in claimed.leases] == [good]
    [letter] = await bench.letters()
    assert (letter.envelope.spec.id, letter.cause) == (late, Cause.EXPIRED)
    [fate] = claimed.fates
    assert (fate.id, fate.state, fate.cause, fate.attempt) == (
        late, JobState.FAILED, Cause.EXPIRED, None,
    )  # fmt: skip


async def test_what_cannot_be_read_is_a_dead_letter_as_it_is(bench: Bench) -> None:
    store = await bench.driver()
    good = await store.add()
    await bench.publish(b"\xc1 no message of ours")
    claimed = await store.ask(5)
    assert [lease.spec.id for lease in claimed.leases] == [good]
    assert [one.cause for one in claimed.fates] == [Cause.UNDECODABLE]
    [message] = await bench.dead()
    assert message.body == b"\xc1 no message of ours"
    assert (message.header.properties.headers or {})["treadle-cause"] == "undecodable"


async def test_a_message_of_a_newer_version_waits(bench: Bench) -> None:
    store = await bench.driver()
    good = await store.add()
    newer = msgspec.structs.replace(sealed(store.job(), 0.0), format=99)
    await bench.publish(encoded(newer))
    assert await store.claimed(5) == [good]
    assert await bench.dead() == []
    # Ten seconds: 8 and 2, so it stands before the pause of 8 s, which is 2^5 quarters.
    [backend] = bench.opened
    ready = backend._client._topology.ready(bench.names.wait(5))
    assert await backend._on_thread(ready) == 1


# ----------------------------------------------------------------- time


@pytest.mark.parametrize("delay", [0.3, 1.25])
async def test_a_delay_is_kept_by_the_server(bench: Bench, delay: float) -> None:
    store = await bench.driver()
    clock = SystemClock()
    # The first makes the pauses, which takes longer than some delays.
    await store.add(queue="warm", due=In(delay))
    before = clock.monotonic()
    job_id = await store.add(queue="mail", due=In(delay))
    assert await store.claimed(queues=["mail"]) == []
    lease = await comes(store, queues=["mail"])
    assert lease.spec.id == job_id
    assert clock.monotonic() - before >= delay


async def test_a_short_delay_does_not_wait_for_a_long_one(bench: Bench) -> None:
    store = await bench.driver()
    await store.add(due=In(40.0))
    short = await store.add(due=In(0.5))
    assert (await comes(store)).spec.id == short


async def test_a_retry_waits_as_long_as_it_says(bench: Bench) -> None:
    store = await bench.driver()
    lease = await store.run()
    await store.again(lease, delay=0.5)
    assert await store.claimed() == []
    again = await comes(store)
    assert (again.spec.id, again.tries) == (lease.spec.id, 1)


async def test_what_is_set_aside_comes_back_and_knows_how_often(bench: Bench) -> None:
    store = await bench.driver()
    lease = await store.run()
    await store.release(lease, delay=0.25, reason="unknown task")
    again = await comes(store)
    assert (again.releases, again.tries, again.crashes) == (1, 0, 0)
    assert again.aside_since is not None


# ----------------------------------------------------------------- leases, crashes


async def test_a_lease_is_held_as_long_as_its_connection(bench: Bench) -> None:
    one, two = await bench.driver(), await bench.driver()
    lease = await one.run()
    assert await one.extend(lease) == [Renewal.HELD]
    await bench.die(one)
    assert await one.extend(lease) == [Renewal.LOST]
    assert await one.settle(lease, Done()) is Settled.LOST
    again = await comes(two)
    assert (again.spec.id, again.suspect) == (lease.spec.id, True)
    assert again.token.fence > lease.token.fence


async def test_what_a_dead_process_held_runs_alone(bench: Bench) -> None:
    one, two = await bench.driver(), await bench.driver()
    held = await one.add_many(2)
    await one.claim(2)
    await bench.die(one)
    other = await two.add()
    async with asyncio.timeout(20):
        while not (answer := await two.ask(5, holding=1)).suspects_wait:
            assert {lease.spec.id for lease in answer.leases} <= {other}
    first = await two.ask(5)
    assert [lease.suspect for lease in first.leases] == [True]
    await two.done(first.leases[0])
    second = await two.ask(5)
    assert {lease.spec.id for lease in (*first.leases, *second.leases)} == set(held)


async def test_a_job_that_takes_processes_with_it_is_stopped(bench: Bench) -> None:
    job_id = await (await bench.driver()).add(max_crashes=2)
    deaths = 0
    fates: list[Fate] = []
    for _ in range(4):
        store = await bench.driver()
        claimed = await store.ask()
        fates += claimed.fates
        if not claimed.leases:
            break
        deaths += 1
        await bench.die(store)
    # One before it is a suspect, and then ``max_crashes``.
    assert deaths == 3
    [letter] = await bench.letters()
    assert (letter.envelope.spec.id, letter.cause) == (job_id, Cause.CRASHED)
    assert letter.envelope.crashes == 2
    assert [(one.state, one.cause, one.attempt, one.crashes) for one in fates] == [
        (JobState.QUEUED, Cause.CRASHED, 1, 1), (JobState.FAILED, Cause.CRASHED, 2, 2),
    ]  # fmt: skip


async def test_at_most_once_never_runs_again(bench: Bench) -> None:
    one, two = await bench.driver(), await bench.driver()
    lease = await one.run(at_most_once=True)
    await bench.die(one)
    async with asyncio.timeout(20):
        while not (letters := await bench.letters()):
            assert await two.claim() == ()
    assert (letters[0].envelope.spec.id, letters[0].cause) == (lease.spec.id, Cause.CRASHED)


async def test_closing_a_session_blames_only_what_had_started(bench: Bench) -> None:
    one, two = await bench.driver(), await bench.driver()
    started = await one.run()
    await one.start(started)
    fresh = await one.run()
    await one.backend.close_session(await one.session())
    [ordinary] = await two.claim(5, holding=1)
    assert (ordinary.spec.id, ordinary.crashes, ordinary.suspect) == (fresh.spec.id, 0, False)
    [blamed] = await two.claim(5)
    assert (blamed.spec.id, blamed.crashes, blamed.suspect) == (started.spec.id, 1, True)


async def test_a_reported_crash_counts(bench: Bench) -> None:
    store = await bench.driver()
    lease = await store.run()
    await store.extend(lease, started=True, lease=0.0)
    again = await store.take()
    assert (again.crashes, again.suspect) == (1, True)
    assert await store.settle(lease, Done()) is Settled.LOST


async def test_a_lease_that_nobody_renews_goes_back(bench: Bench) -> None:
    store = await bench.driver()
    job_id = await store.add()
    forgotten = await store.take(lease=0.01)
    kept = await store.run()
    await SystemClock().sleep(0.05)
    assert await store.extend(kept) == [Renewal.HELD]
    assert await store.extend(forgotten) == [Renewal.LOST]
    [again] = await store.claim(5)
    assert (again.spec.id, again.suspect, again.crashes) == (job_id, True, 0)


async def test_leases_that_lapse_are_given_back_once_whoever_sees_it_first(bench: Bench) -> None:
    """A foreman that was asleep renews and claims at the same moment."""
    store = await bench.driver()
    ids = await store.add_many(5)
    forgotten = await store.claim(5, lease=0.01)
    await SystemClock().sleep(0.05)
    client = store.backend._client
    desk = client.desks.find(forgotten[0].token.nonce)

    async def seen() -> None:
        await asyncio.gather(*(client.ends.lapse(desk) for _ in range(3)))

    await store.backend._on_thread(seen())
    # Suspects come one at a time.
    found: list[str] = []
    while leases := await store.claim(5):
        found += [lease.spec.id for lease in leases]
        for lease in leases:
            await store.done(lease)
    assert sorted(found) == sorted(ids)


# ----------------------------------------------------------------- duplicates


async def test_a_push_that_is_repeated_is_two_messages(bench: Bench) -> None:
    one, two = await bench.driver(), await bench.driver()
    job = one.job()
    await one.push(job)
    await one.push(job)
    assert await one.claimed() == [job.id]
    # The broker knows no ids: another process runs it too.
    assert await two.claimed() == [job.id]


async def test_two_messages_of_one_job_that_meet_are_one(bench: Bench) -> None:
    store = await bench.driver()
    job = store.job()
    await store.push(job)
    await store.push(job)
    [lease] = await store.claim(5)
    await store.done(lease)
    assert await store.claimed(5) == []


# ----------------------------------------------------------------- what is not served


@pytest.mark.parametrize(
    "options",
    [
        {"unique": Unique(key="u")},
        {"key": "k"},
        {"asks": (Hold(key="h", slots=1),)},
        {"after": After(ids=("x",))},
        {"bound": 10},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_what_is_not_served_is_refused(bench: Bench, options: dict[str, Any]) -> None:
    store = await bench.driver()
    with pytest.raises(Unsupported, match="RabbitMQ keeps jobs and no records"):
        await store.push(store.job(), store.job(**options))
    assert await store.claimed(5) == []


async def test_more_crashes_than_the_server_counts_are_refused(bench: Bench) -> None:
    store = await bench.driver()
    with pytest.raises(InvalidOption, match="at most 90"):
        await store.push(store.job(max_crashes=91))


async def test_jobs_can_be_counted_and_not_looked_at(bench: Bench) -> None:
    store = await bench.driver()
    await store.add_many(3, queue="mail")
    await store.add(queue="mail", priority=5)
    page = await store.backend.find(Query(counts=True, limit=1))
    assert page.counts == {"mail": {JobState.QUEUED: 4}}
    for query in (Query(), Query(ids=("x",)), Query(counts=True, queue="mail")):
        with pytest.raises(Unsupported):
            await store.backend.find(query)


# ----------------------------------------------------------------- the server's side


async def test_a_queue_that_somebody_deletes_is_made_again(bench: Bench) -> None:
    store = await bench.driver()
    await store.run()
    connection = await aiormq.connect(bench.url)
    await (await connection.channel()).queue_delete(bench.names.line(Line("default", 0)))
    await connection.close()
    job_id = await store.add()
    other = await bench.driver()
    assert await other.claimed() == [job_id]


async def test_jobs_of_one_push_come_in_their_order_however_many_and_large(bench: Bench) -> None:
    store = await bench.driver(window=100)
    jobs = [store.job(payload=bytes([at % 256]) * (1000 * (at % 7))) for at in range(600)]
    # More than a frame holds.
    jobs[300] = store.job(payload=b"x" * 400_000)
    await asyncio.gather(store.push(*jobs[:500]), store.push(*jobs[500:]))
    leases = [lease for _ in range(6) for lease in await store.claim(100)]
    assert [lease.spec for lease in leases] == jobs


async def test_jobs_that_come_back_are_sent_again_in_their_order(bench: Bench) -> None:
    store = await bench.driver()
    await store.done(await store.run())
    connection = await aiormq.connect(bench.url)
    await (await connection.channel()).queue_delete(bench.names.line(Line("default", 0)))
    await connection.close()
    jobs = await store.add_many(30)
    other = await bench.driver()
    assert await other.claimed(40) == jobs


async def test_a_process_that_comes_later_knows_every_queue(bench: Bench) -> None:
    one = await bench.driver()
    jobs = [await one.add(queue=name, priority=p) for name, p in (("a", 0), ("a.b", -7), ("c", 9))]
    two = await bench.driver()
    assert sorted(await two.claimed(5)) == sorted(jobs)


async def test_the_probe_says_what_may_be_lost(bench: Bench) -> None:
    store = await bench.driver()
    await store.fail(await store.run())
    await store.add_many(2)
    facts = await store.backend.probe()
    assert (facts["backend"], facts["durability"]) == ("rabbitmq", "full")
    assert (facts["jobs"], facts["dead_letters"], facts["queues"]) == (2, 1, 1)
    checks = {finding["check"] for finding in facts["findings"]}
    assert "dead letters" in checks
    assert ("long jobs" in checks) == ("consumer_timeout" in facts)


async def test_failed_is_told_of_a_job_that_was_released_before(bench: Bench) -> None:
    store = await bench.driver()
    lease = await store.run()
    await store.settle(lease, Released(reason="later"))
    await store.settle(await store.take(), Failed(cause=Cause.UNKNOWN_TASK))
    [letter] = await bench.letters()
    assert (letter.cause, letter.envelope.tries) == (Cause.UNKNOWN_TASK, 0)


async def test_a_retry_goes_to_the_end_of_its_line(bench: Bench) -> None:
    store = await bench.driver()
    first = await store.run()
    second = await store.add()
    await store.again(first)
    assert await store.claimed(5) == [second, first.spec.id]
