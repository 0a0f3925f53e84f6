"""The app: options, overrides, features, life; and queues."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.queue.conftest import run_all
from treadle import Depends, Event, InvalidOption, JobState, Treadle, UnknownOption
from treadle.backends.memory.client import MemoryBackend
from treadle.clock import SystemClock
from treadle.errors import BackendError, NotOpen, OutcomeUnknown, Unsupported
from treadle.ports import Delete, Feature, QueueRule
from treadle.records import Pushed, PushStatus
from treadle.testing import ManualClock


async def double(number: int) -> int:
    return number * 2


class TestOptions:
    def test_the_url_comes_from_the_configuration(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("TREADLE_URL", raising=False)
        assert Treadle().core.url == "sqlite:///treadle.db"
        monkeypatch.setenv("TREADLE_URL", "memory://elsewhere")
        assert Treadle().core.url == "memory://elsewhere"
        assert Treadle("memory://here").core.url == "memory://here"

    def test_nothing_is_opened_before_it_is_needed(self, tmp_path: Path) -> None:
        app = Treadle(f"sqlite:///{tmp_path}/none.db")
        app.task(name="t")(double)
        assert list(tmp_path.iterdir()) == []
        app.close()

    @pytest.mark.parametrize(
        ("url", "options", "error", "words"),
        [
            ("jobs.db", {}, InvalidOption, "like 'sqlite:///jobs.db'"),
            ("memory://", {"middlware": []}, UnknownOption, "did you mean 'middleware'"),
            ("memory://", {"broker": "x"}, UnknownOption, "did you mean 'url'"),
            ("memory://", {"errors": [3]}, InvalidOption, "3 is not an exception class"),
            ("memory://", {"max_payload": 0}, InvalidOption, "max_payload"),
            ("memory://", {"patience": "long"}, InvalidOption, "patience"),
        ],
    )
    def test_what_cannot_work_is_refused(
        self, url: str, options: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            Treadle(url, **options)

    async def test_a_scheme_nobody_serves_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(InvalidOption, match="sqlite://"):
            await Treadle("mongodb://localhost").aopen()

    async def test_namespaces_keep_apart(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/jobs.db"
        async with Treadle(url, namespace="one") as one, Treadle(url, namespace="two") as two:
            await one.task(name="t")(double).aenqueue(1)
            assert len((await one.ajobs()).records) == 1
            assert len((await two.ajobs()).records) == 0

    def test_it_shows_itself_without_secrets(self) -> None:
        app = Treadle("memory://user:secret@host/x", namespace="shop")
        app.task(name="t")(double)
        assert repr(app) == "<Treadle 'shop' with 1 tasks>"


class TestOverride:
    async def test_another_backend_for_a_while(self, memory: Treadle, tmp_path: Path) -> None:
        task = memory.task(name="t")(double)
        await task.aenqueue(1)
        with memory.override(url=f"sqlite:///{tmp_path}/jobs.db") as app:
            assert app is memory
            assert (await memory.ajobs()).records == ()
            job = await task.aenqueue(2)
            await run_all(memory)
            assert await job.aresult() == 4
        assert len((await memory.ajobs()).records) == 1

    async def test_they_nest_and_end_with_an_error(self, memory: Treadle) -> None:
        task = memory.task(name="t")(double)

        async def failing() -> None:
            with memory.override(url="memory://"):
                await task.aenqueue(1)
                with memory.override(depends={double: dict}):
                    assert len((await memory.ajobs()).records) == 1
                raise ValueError("out")

        with pytest.raises(ValueError, match="out"):
            await failing()
        assert memory.core.overrides == {}
        assert (await memory.ajobs()).records == ()


class TestFeatures:
    async def test_what_the_backend_does_not_serve_is_refused_at_the_open(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = Treadle("memory://")
        task = app.task(name="t", unique=True)(double)
        less = frozenset(Feature) - {Feature.UNIQUE, Feature.DELAY}
        monkeypatch.setattr(MemoryBackend, "features", less)
        with pytest.raises(Unsupported, match=r"memory://.* not serve 'unique'.*'t'") as caught:
            await app.aopen()
        assert (caught.value.feature, caught.value.backend) == ("unique", "memory://")
        with pytest.raises(Unsupported, match="'delay'"):
            await task.options(unique=None, delay=5).aenqueue(1)
        with pytest.raises(Unsupported, match="'delay'"):
            await task.options(unique=None, delay=5).aenqueue_many([(1,)])
        with pytest.raises(Unsupported, match="'unique'"):
            app.task(name="late", unique=True)(double)
        await app.aclose()


class TestLostReplies:
    async def test_an_enqueue_whose_reply_was_lost_is_not_made_twice(
        self, memory: Treadle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from treadle import BackendUnavailable

        memory.core.backend()
        made: Any = memory.core.store.made
        push, lost = made.push, [True]

        async def flaky(jobs: Any) -> Any:
            answers = await push(jobs)
            if lost:
                lost.clear()
                raise BackendUnavailable("the reply was lost")
            return answers

        monkeypatch.setattr(made, "push", flaky)
        job = await memory.task(name="t")(double).aenqueue(1)
        assert job.created
        assert len((await memory.ajobs()).records) == 1

    async def test_a_store_that_cannot_be_opened_is_said_at_once(
        self, memory: Treadle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from treadle import BackendUnavailable

        async with Treadle("memory://") as app:
            await app.aclose()
            app.core.reopen()

            async def away() -> None:
                raise BackendUnavailable("no such host")

            monkeypatch.setattr(app.core.backend(), "open", away)
            with pytest.raises(BackendUnavailable, match="no such host"):
                await app.task(name="t")(double).aenqueue(1)

    async def test_patience_has_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from treadle import BackendUnavailable

        async with Treadle("memory://", patience=0.01) as app:

            async def away(jobs: Any) -> Any:
                raise BackendUnavailable("away")

            await app.core.ready()
            monkeypatch.setattr(app.core.store.made, "push", away)
            with pytest.raises(OutcomeUnknown, match="not known"):
                await app.task(name="t")(double).aenqueue(1)


async def test_enqueues_at_the_same_time_are_pushed_together(
    memory: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[int] = []

    async def push(jobs: Any) -> Any:
        pushed.append(len(jobs))
        await SystemClock().sleep(0)
        return [Pushed(PushStatus.CREATED)] * len(jobs)

    await memory.core.ready()
    monkeypatch.setattr(memory.core.store.made, "push", push)
    task = memory.task(name="t")(double)
    await asyncio.gather(*(task.aenqueue(number) for number in range(50)))
    assert pushed == [1, 49]


@pytest.mark.parametrize("durability", ["full", "normal"])
async def test_enqueues_at_the_same_time_are_few_transactions_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    async with Treadle(f"sqlite:///{tmp_path}/jobs.db?durability={durability}") as app:
        task = app.task(name="t")(double)
        await task.aenqueue(0)
        backend, pushed = app.core.store.made, list[int]()
        assert backend is not None
        push = backend.push

        async def counted(jobs: Any) -> Any:
            pushed.append(len(jobs))
            return await push(jobs)

        monkeypatch.setattr(backend, "push", counted)
        await asyncio.gather(*(task.aenqueue(number) for number in range(50)))
        assert pushed == [1, 49]


@pytest.mark.parametrize(("age", "known"), [(59, True), (61, False)])
async def test_how_long_answers_are_remembered_is_an_option(
    url: str, age: float, known: bool
) -> None:
    clock = ManualClock()
    async with Treadle(url, request_ttl="1m", clock=clock) as app:
        job = await app.task(name="t")(double).aenqueue(1)
        await app.aalter(Delete(), ids=(job.id,))
        await clock.aadvance(age)
        assert (job.id in (await app.ajobs(ids=(job.id,))).gone) is known


async def test_an_app_closes_what_lives_as_long_as_it(url: str) -> None:
    log: list[str] = []

    async def client() -> AsyncIterator[int]:
        yield 1
        log.append("client closed")

    async with Treadle(url) as app:

        @app.task(name="t")
        async def work(one: int = Depends(client, scope="app")) -> None: ...

        await work.aenqueue()
        await run_all(app)
        assert log == []
    assert log == ["client closed"]


class TestQueues:
    async def test_pausing_and_resuming(self, app: Treadle) -> None:
        heard: list[Event] = []
        app.on("queue.*", heard.append)
        task = app.task(name="t", queue="mail.acme")(double)
        queue = app.queue("mail")
        rule = await queue.apause("maintenance", by="me", for_="1h")
        assert (rule.paused, rule.reason, rule.by) == (True, "maintenance", "me")
        assert rule.until is not None
        assert rule.since is not None
        assert rule.until - rule.since == 3600
        job = await task.aenqueue(1)
        await run_all(app)
        assert await job.astate() is JobState.QUEUED
        assert await queue.aresume() == QueueRule()
        await run_all(app)
        assert await job.aresult() == 2
        assert [event.name for event in heard] == ["queue.paused", "queue.resumed"]

    async def test_a_pause_until(self, memory: Treadle) -> None:
        until = datetime.now(UTC) + timedelta(hours=1)  # noqa: TID251
        rule = await memory.queue("mail").apause(until=until)
        assert rule.until == pytest.approx(until.timestamp())
        with pytest.raises(InvalidOption, match="until= and for_= both"):
            await memory.queue("mail").apause(until=until, for_=3)

    async def test_changes_at_the_same_time_are_all_kept(self, app: Treadle) -> None:
        queue = app.queue("mail")
        await asyncio.gather(queue.apause("x"), queue.alimit(5))
        rule = await queue.arule()
        assert (rule.paused, rule.max_running) == (True, 5)
        assert (await queue.alimit(None)).max_running is None
        with pytest.raises(InvalidOption, match=r"pause\(\) stops a queue"):
            await queue.alimit(0)

    async def test_a_rule_that_never_settles_is_said(
        self, memory: Treadle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def never(writes: Any) -> bool:
            return False

        monkeypatch.setattr(memory.core.backend(), "write", never)
        with pytest.raises(BackendError, match="changes all the time"):
            await memory.queue("mail").apause()

    async def test_counting_and_purging(self, app: Treadle) -> None:
        task = app.task(name="t")(double)
        await task.options(queue="mail").aenqueue_many([(1,), (2,)])
        await task.options(queue="mail.acme").aenqueue(3)
        await task.options(queue="mail", delay=60).aenqueue(4)
        done = await task.options(queue="mail", priority=9).aenqueue(5)
        await task.options(queue="mailbox").aenqueue(6)
        async with app.foreman(burst=True, max_jobs=1) as foreman:
            await foreman.join()
        assert await done.aresult() == 10
        counts = await app.queue("mail").acounts()
        assert counts[JobState.QUEUED] == 3
        assert counts[JobState.SCHEDULED] == 1
        assert counts[JobState.SUCCEEDED] == 1
        assert counts[JobState.FAILED] == 0
        assert await app.queue("mail").apurge() == 4
        assert (await app.queue("mail").acounts())[JobState.SUCCEEDED] == 1
        assert (await app.queue("mailbox").acounts())[JobState.QUEUED] == 1

    async def test_a_purge_has_no_bound(self, memory: Treadle) -> None:
        await memory.task(name="t")(double).aenqueue_many([(n,) for n in range(2500)])
        assert await memory.queue("default").apurge() == 2500

    def test_in_plain_code(self) -> None:
        with Treadle("memory://") as app:
            queue = app.queue("mail")
            assert queue.pause("x").paused
            assert queue.rule().reason == "x"
            assert queue.limit(3).max_running == 3
            assert not queue.resume().paused
            assert queue.purge() == 0
            assert queue.counts()[JobState.QUEUED] == 0

    def test_a_bad_name_is_refused(self) -> None:
        with pytest.raises(InvalidOption, match="is not a queue name"):
            Treadle("memory://").queue("a b")


class TestBlocks:
    def test_of_several_the_last_one_closes_the_app(self, tmp_path: Path) -> None:
        app = Treadle(f"sqlite:///{tmp_path / 'jobs.db'}")
        task = app.task(name="t")(double)
        with app:
            with app:
                job = task.enqueue(1)
            assert job.state() is JobState.QUEUED
            thread = threading.Thread(target=app.__enter__)
            thread.start()
            thread.join()
        assert job.state() is JobState.QUEUED
        app.__exit__(None, None, None)
        with pytest.raises(NotOpen, match="the app was closed"):
            job.state()

    async def test_in_a_loop_what_lives_as_long_as_the_app_is_closed_once(self) -> None:
        ended: list[str] = []

        async def get() -> AsyncIterator[str]:
            yield "value"
            ended.append("get")

        app = Treadle("memory://")

        @app.task(name="t")
        async def take(value: str = Depends(get, scope="app")) -> str:
            return value

        async with app:
            async with app:
                job = await take.aenqueue()
                async with app.foreman(burst=True) as foreman:
                    await foreman.join()
            assert await job.aresult() == "value"
            assert ended == []
        assert ended == ["get"]
        with pytest.raises(NotOpen):
            await job.astate()

    async def test_a_close_by_name_does_not_wait_for_blocks(self) -> None:
        app = Treadle("memory://")
        async with app:
            await app.aclose()
            with pytest.raises(NotOpen):
                await app.ajobs()
        async with app:
            assert (await app.ajobs()).records == ()


@pytest.mark.parametrize("told", [3, "x", object()])
def test_only_functions_are_told_of_events(told: Any) -> None:
    with pytest.raises(InvalidOption, match=r"fn=.* is not a function; give one of one event"):
        Treadle("memory://").on("job.*", told)
