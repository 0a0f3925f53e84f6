"""What messages do where a companion has the jobs, and an app over both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.backends.postgres_support import drop
from tests.backends.rabbitmq_support import forget as forget_messages
from tests.backends.rabbitmq_support import namespace, unused
from tests.backends.redis_server import forget
from treadle import JobState, Rate, RetryLater, Treadle
from treadle.backends.rabbitmq import CompanionBackend, connect
from treadle.backends.rabbitmq.layout import Line
from treadle.backends.rabbitmq.messages import Named, Taken
from treadle.errors import BackendUnavailable, InvalidOption, Unsupported
from treadle.ids import SystemIds
from treadle.ports import Claim, Feature
from treadle.records import In
from treadle.testing import ManualClock
from treadle.testing.clock import eventually
from treadle.testing.contract.driver import Driver

pytestmark = pytest.mark.server


class Bench:
    """Backends over one namespace and one companion."""

    def __init__(self, url: str, name: str, beside: str) -> None:
        self.url = url
        self.name = name
        self.beside = beside
        self.clock = ManualClock()
        self.ids = SystemIds(self.clock)
        self.backend = self.made()
        self.store = Driver(self.backend, self.clock, self.ids)
        # What each claim has asked the companion for.
        self.asked: list[tuple[str, ...]] = []

    def made(self) -> CompanionBackend:
        """Another process, as far as the stores can see."""
        backend = connect(
            self.url, clock=self.clock, ids=self.ids, namespace=self.name, companion=self.beside
        )
        assert isinstance(backend, CompanionBackend)
        return backend

    def watch(self) -> None:
        """Note what claims ask for."""
        claim = self.backend.companion.claim

        async def noted(ask: Claim) -> Any:
            self.asked.append(ask.first)
            return await claim(ask)

        self.backend.companion.claim = noted  # type: ignore[method-assign]

    async def messages(self) -> int:
        """Messages that nobody has taken."""
        return int((await self.backend.probe())["messages"])

    async def lose(self, job_id: str) -> None:
        """Push a job whose message is never sent."""
        await self.backend.companion.push([self.store.job(id=job_id)])


@pytest.fixture
async def bench(rabbitmq_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with namespace(rabbitmq_url) as name:
        bench = Bench(rabbitmq_url, name, f"sqlite:///{tmp_path}/jobs.db")
        await bench.backend.open()
        bench.watch()
        yield bench
        await bench.backend.aclose()
        bench.backend.close()


async def test_a_claim_asks_for_the_jobs_that_messages_name(bench: Bench) -> None:
    ids = await bench.store.add_many(3)
    assert await bench.messages() == 3
    assert await bench.store.claimed(2) == ids[:2]
    assert await bench.store.claimed(2) == ids[2:]
    assert bench.asked == [tuple(ids[:2]), tuple(ids[2:])]
    assert await bench.messages() == 0


async def test_a_message_grants_nothing(bench: Bench) -> None:
    """Running, over, later, unknown: the message is dropped, and nothing else happens."""
    store = bench.store
    running, over = (await store.run()), (await store.run())
    await store.done(over)
    later = await store.add(due=In(3600.0))
    ids = [running.spec.id, over.spec.id, later, "unknown"]
    named = [Named(job_id=one, line=Line("default", 0)) for one in ids]
    await bench.backend._on_thread(bench.backend._client.send(named))
    assert await store.claimed(10, who="two") == []
    assert bench.asked[-1] == tuple(ids)
    assert await bench.messages() == 0
    assert await store.states([running.spec.id, over.spec.id, later]) == [
        JobState.RUNNING, JobState.SUCCEEDED, JobState.SCHEDULED]  # fmt: skip


async def test_a_job_without_a_message_takes_a_place_that_is_left(bench: Bench) -> None:
    await bench.lose("silent")
    named = await bench.store.add()
    assert await bench.store.claimed(1) == [named]
    assert await bench.store.claimed(1) == ["silent"]


async def test_a_job_without_a_message_does_not_wait_for_ever(bench: Bench) -> None:
    """Once a second a claim goes by arrival, however many messages there are."""
    await bench.lose("silent")
    ids = await bench.store.add_many(6)
    assert await bench.store.claimed(1) == [ids[0]]
    bench.clock.advance(0.9)
    assert await bench.store.claimed(1) == [ids[1]]
    bench.clock.advance(0.1)
    assert await bench.store.claimed(1) == ["silent"]
    assert bench.asked[-1] == ()
    # Whose turn it was keeps its message; and the next claim goes by messages, however late.
    bench.clock.advance(20)
    [job_id] = await bench.store.claimed(1)
    assert bench.asked[-1] == (job_id,)
    assert sorted(await bench.store.claimed(9)) == sorted(set(ids[2:]) - {job_id})
    assert len(bench.asked[-1]) == 3


async def test_a_retry_is_named_again(bench: Bench) -> None:
    lease = await bench.store.run()
    await bench.store.again(lease)
    assert await bench.messages() == 1
    again = await bench.store.take()
    assert (again.token.job_id, again.tries) == (lease.token.job_id, 1)
    assert bench.asked[-1] == (lease.token.job_id,)


async def test_another_process_takes_messages_too(bench: Bench) -> None:
    """Also of queues that nobody had used when it began."""
    other = bench.made()
    await other.open()
    try:
        assert await bench.store.claimed(1) == []
        store = Driver(other, bench.clock, bench.ids)
        for queue in ("a", "a.b", "z"):
            await store.add_many(2, queue=queue)
        assert len(await bench.store.claimed(6)) == 6
        await store.add_many(3, queue="z")
        assert len(await bench.store.claimed(3)) == 3
        assert len(bench.asked[-1]) == 3
    finally:
        await other.aclose()
        other.close()


async def test_a_claim_that_is_cancelled_keeps_no_message(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await bench.store.add_many(2)
    took, go_on = threading.Event(), threading.Event()
    take = bench.backend._client.take

    async def slow(ask: Claim) -> Taken:
        taken = await take(ask)
        took.set()
        await asyncio.to_thread(go_on.wait)
        return taken

    with monkeypatch.context() as patched:
        patched.setattr(bench.backend._client, "take", slow)
        claim = asyncio.ensure_future(bench.store.claim(2))
        await eventually(took.is_set)
        claim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claim
    assert await bench.messages() == 0
    go_on.set()
    async with asyncio.timeout(20):
        while await bench.messages() < 2:
            pass
    assert sorted(await bench.store.claimed(2, who="two")) == sorted(ids)
    assert await bench.messages() == 0


@pytest.fixture(params=["sqlite", "redis", "postgres", "memory"])
def beside(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A companion of each kind, and a namespace that is removed from it again."""
    name = unused()
    match request.param:
        case "redis":
            url = request.getfixturevalue("redis_url")
            yield url, name
            forget(url, name)
        case "postgres":
            url = request.getfixturevalue("postgres_url")
            yield url, name
            drop(url, name)
        case "sqlite":
            yield f"sqlite:///{tmp_path}/jobs.db", name
        case _:
            yield f"memory://{name}", name


async def test_an_app_has_all_that_the_companion_serves(
    rabbitmq_url: str, beside: tuple[str, str]
) -> None:
    companion, name = beside
    try:
        app = Treadle(rabbitmq_url, companion=companion, namespace=name)
        tried: list[int] = []

        @app.task(name="double", retry=2, limits=[Rate(1000, per=1)], unique=True)
        async def double(n: int) -> int:
            tried.append(n)
            if tried.count(n) == 1:
                raise RetryLater("not yet", delay=0.25)
            return 2 * n

        async with app, app.foreman(concurrency=4):
            jobs = [await double.aenqueue(n) for n in range(5)]
            assert [await job.aresult(timeout=60) for job in jobs] == [0, 2, 4, 6, 8]
            page = await app.ajobs(state="succeeded")
            assert {record.id for record in page.records} == {job.id for job in jobs}
        assert sorted(tried) == sorted([*range(5), *range(5)])
    finally:
        await forget_messages(rabbitmq_url, name)


async def test_what_needs_a_companion_says_so(rabbitmq_url: str) -> None:
    app = Treadle(rabbitmq_url)

    @app.task(name="work", limits=[Rate(1, per=60)])
    async def work() -> None: ...

    with pytest.raises(Unsupported, match="companion="):
        await app.aopen()
    await app.aclose()


def test_transactions_are_refused() -> None:
    backend = connect("amqp://localhost?companion=memory://")
    assert Feature.TRANSACTIONS not in backend.features
    assert {Feature.RECORDS, Feature.UNIQUE, Feature.KEYS, Feature.SHARED} <= backend.features


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("amqp://localhost", {"companion": "amqp://localhost"}, "has no records"),
        ("amqp://localhost?companion=nothing://x", {}, "names no backend"),
        ("amqp://localhost", {"companion": "redis"}, "companion"),
        ("redis://localhost", {"companion": "memory://"}, "is for RabbitMQ"),
    ],
)
def test_what_is_no_companion(url: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        Treadle(url, **options).core.backend()


@pytest.mark.parametrize("where", ["argument", "environment", "file", "url"])
def test_where_a_companion_is_named(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url, companion = "amqp://localhost", f"sqlite:///{tmp_path}/jobs.db"
    options: dict[str, Any] = {}
    match where:
        case "argument":
            options["companion"] = companion
        case "environment":
            monkeypatch.setenv("TREADLE_COMPANION", companion)
        case "file":
            # As the URL: beside the file.
            Path("treadle.toml").write_text('companion = "sqlite:///jobs.db"')
        case _:
            url += f"?companion={companion}"
    store = Treadle(url, **options).core.store
    store.backend()
    backend = store.made
    assert isinstance(backend, CompanionBackend)
    assert backend.companion.url == companion
    # Another URL has its own jobs.
    if where in {"environment", "file"}:
        assert Treadle("memory://").core.backend().url == "memory://"


def test_secrets_of_a_companion_are_not_shown() -> None:
    beside = "redis%3A%2F%2F%3Ahidden%40localhost"
    app = Treadle(f"amqp://guest:hidden@localhost?companion={beside}&window=5")
    for shown in (app.core.backend().url, repr(app.core.settings)):
        assert "hidden" not in shown
    assert app.core.backend().url == (
        "amqp://guest:***@localhost?window=5&companion=redis://:***@localhost"
    )


async def test_an_app_opens_without_the_server_and_not_without_the_companion(
    tmp_path: Path,
) -> None:
    """What began while the server was away is accepted, and carried out."""
    app = Treadle("amqp://localhost:1", companion=f"sqlite:///{tmp_path}/jobs.db")

    @app.task(name="work")
    async def work() -> str:
        return "done"

    async with app, app.foreman(concurrency=1):
        job = await work.aenqueue()
        assert await job.aresult(timeout=30) == "done"
        [finding] = (await app.core.backend().probe())["findings"]
        assert (finding["level"], finding["check"]) == ("warn", "broker")
        assert "amqp://localhost:1 cannot be reached" in finding["says"]
    without = Treadle("amqp://localhost:1", companion="redis://localhost:1")
    with pytest.raises(BackendUnavailable, match="redis"):
        await without.aopen()
    await without.aclose()


async def test_a_server_that_objects_is_refused_when_an_app_opens(
    rabbitmq_url: str, tmp_path: Path
) -> None:
    """It is there, so that something is wrong with the URL."""
    parts = urlsplit(rabbitmq_url)
    host = parts.netloc.rpartition("@")[2]
    companion = f"sqlite:///{tmp_path}/jobs.db"
    for url in (
        parts._replace(path="/nowhere").geturl(),
        parts._replace(netloc=f"guest:wrong@{host}").geturl(),
    ):
        app = Treadle(url, companion=companion)
        with pytest.raises(BackendUnavailable, match="does not let us in"):
            await app.aopen()
        await app.aclose()
