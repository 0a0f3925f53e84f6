"""Jobs from enqueue to result, over each backend."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.queue.conftest import run_all
from treadle import (
    CONTEXT,
    BackendUnavailable,
    Context,
    DuplicateJob,
    Fail,
    InvalidCall,
    InvalidOption,
    JobCancelled,
    JobFailed,
    JobNotFound,
    JobState,
    NotEncodable,
    QueueFull,
    Rate,
    ResultExpired,
    RetryLater,
    Skip,
    Slots,
    Treadle,
    UnknownOption,
    WaitTimeout,
)
from treadle.errors import PayloadTooLarge
from treadle.outcome import Progress
from treadle.ports import Cancel
from treadle.records import Cause, In


class Orders(Exception):
    """An error with a class that the reader may know."""


def declare(app: Treadle) -> Any:
    """Tasks of the usual kinds."""

    class Tasks:
        @staticmethod
        @app.task(name="shop.add")
        async def add(a: int, b: int = 2) -> int:
            return a + b

        @staticmethod
        @app.task(name="shop.plain")
        def plain(path: Path, when: datetime | None = None) -> tuple[Path, datetime | None]:
            return path / "x", when

        @staticmethod
        @app.task(name="shop.fail", errors=[Orders])
        async def fail(known: bool) -> None:
            if known:
                raise Orders("sold out")
            raise ValueError("bad number")

        @staticmethod
        @app.task(name="shop.nothing")
        async def nothing() -> None: ...

    return Tasks


class TestResults:
    async def test_a_job_gives_what_its_task_returned(self, app: Treadle) -> None:
        tasks = declare(app)
        job = await tasks.add.aenqueue(1, b=5)
        assert await job.astate() is JobState.QUEUED
        await run_all(app)
        assert await job.aresult(timeout=10) == 6
        assert await job.astate() is JobState.SUCCEEDED

    async def test_types_survive_the_way(self, app: Treadle) -> None:
        tasks = declare(app)
        when = datetime(2026, 1, 2, tzinfo=UTC)
        job = await tasks.plain.aenqueue(Path("a"), when)
        await run_all(app)
        assert await job.aresult() == (Path("a/x"), when)

    async def test_a_task_that_returns_nothing_gives_none(self, app: Treadle) -> None:
        job = await declare(app).nothing.aenqueue()
        await run_all(app)
        assert await job.aresult() is None

    async def test_waiting_starts_before_the_job_does(self, app: Treadle) -> None:
        tasks = declare(app)
        job = await tasks.add.aenqueue(1)
        waiting = asyncio.create_task(job.aresult(timeout=30))
        await run_all(app)
        assert await waiting == 3

    async def test_a_failure_carries_the_error_as_data(self, app: Treadle) -> None:
        job = await declare(app).fail.aenqueue(known=False)
        await run_all(app)
        with pytest.raises(JobFailed) as caught:
            await job.aresult()
        error = caught.value
        assert (error.job_id, error.cause) == (job.id, Cause.ERROR)
        assert error.fault is not None
        assert (error.fault.type, error.fault.message) == ("ValueError", "bad number")
        assert 'raise ValueError("bad number")' in str(error)

    async def test_an_allowed_class_is_raised_as_it_was(self, app: Treadle) -> None:
        job = await declare(app).fail.aenqueue(known=True)
        await run_all(app)
        with pytest.raises(Orders, match="sold out") as caught:
            await job.aresult()
        assert isinstance(caught.value.__cause__, JobFailed)

    async def test_the_app_may_allow_it_for_all(self, url: str) -> None:
        async with Treadle(url, errors=[ValueError]) as app:
            job = await declare(app).fail.aenqueue(known=False)
            await run_all(app)
            with pytest.raises(ValueError, match="bad number"):
                await job.aresult()

    async def test_waiting_has_an_end_and_the_job_goes_on(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        with pytest.raises(WaitTimeout, match=r"is queued after 0.01 s; it goes on"):
            await job.aresult(timeout=0.01)
        with pytest.raises(TimeoutError):
            await job.await_for(timeout=0.01)
        await run_all(app)
        assert await job.aresult() == 3

    async def test_waiting_for_the_record_does_not_raise(self, app: Treadle) -> None:
        job = await declare(app).fail.aenqueue(known=False)
        await run_all(app)
        record = await job.await_for()
        assert record.state is JobState.FAILED

    async def test_an_unknown_id_is_said(self, app: Treadle) -> None:
        job = app.job("nobody")
        for verb in (job.aresult, job.arecord, job.astate, job.await_for, job.acancel):
            with pytest.raises(JobNotFound, match="there is no job nobody"):
                await verb()
        with pytest.raises(JobNotFound):
            [update async for update in job.aprogress()]

    async def test_a_result_that_is_not_kept_is_said(self, app: Treadle) -> None:
        job = await declare(app).add.options(result_ttl=0).aenqueue(1)
        await run_all(app)
        assert await job.astate() is JobState.SUCCEEDED
        with pytest.raises(ResultExpired, match="result_ttl="):
            await job.aresult()
        with pytest.raises(JobNotFound):
            await job.arecord()

    async def test_how_a_job_ended_is_known_when_it_is_not_kept(self, app: Treadle) -> None:
        tasks = declare(app)
        failed = await tasks.fail.options(keep=0).aenqueue(known=True)
        cancelled = await tasks.add.options(keep=0, delay=60).aenqueue(1)
        await cancelled.acancel()
        await run_all(app)
        with pytest.raises(JobFailed, match="no longer kept"):
            await failed.aresult()
        with pytest.raises(JobCancelled):
            await cancelled.aresult()
        assert await failed.astate() is JobState.FAILED

    async def test_a_job_is_found_again_by_its_id(self, app: Treadle) -> None:
        tasks = declare(app)
        job = await tasks.plain.aenqueue(Path("a"))
        await run_all(app)
        assert await app.job(job.id).aresult() == (Path("a/x"), None)
        assert await app.job(job.id, tasks.plain).aresult() == (Path("a/x"), None)
        assert app.job(job.id) == job

    async def test_another_program_reads_natural_types(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/jobs.db"
        async with Treadle(url) as app:
            job = await declare(app).plain.aenqueue(Path("a"))
            await run_all(app)
        async with Treadle(url) as other:
            assert await other.job(job.id).aresult() == [Path("a/x"), None]

    async def test_two_waiters_get_the_same(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        waiters = [asyncio.create_task(job.aresult(timeout=30)) for _ in range(5)]
        await run_all(app)
        assert await asyncio.gather(*waiters) == [3] * 5


class TestBadCalls:
    @pytest.mark.parametrize(
        ("call", "error", "words"),
        [
            (lambda t: t.add.aenqueue(), InvalidCall, "a"),
            (lambda t: t.add.aenqueue(1, 2, 3), InvalidCall, "positional"),
            (lambda t: t.add.aenqueue(1, c=3), InvalidCall, "c"),
            (lambda t: t.add.aenqueue("1"), NotEncodable, "a"),
            (lambda t: t.plain.aenqueue(object()), NotEncodable, "path"),
            (lambda t: t.add.aenqueue_many([(1,), ("x",)]), NotEncodable, "a"),
        ],
    )
    async def test_what_does_not_fit_is_refused_in_the_caller(
        self, memory: Treadle, call: Callable[[Any], Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            await call(declare(memory))
        assert (await memory.ajobs()).records == ()

    async def test_a_payload_has_a_bound(self) -> None:
        async with Treadle("memory://", max_payload=1000) as app:
            with pytest.raises(PayloadTooLarge):
                await declare(app).plain.aenqueue(Path("x" * 2000))

    async def test_an_injected_argument_is_not_for_the_caller(self, memory: Treadle) -> None:
        @memory.task(name="t")
        async def told(a: int, ctx: Context = CONTEXT) -> None: ...

        with pytest.raises(InvalidCall, match=r"'ctx'.*is injected"):
            await told.aenqueue(1, ctx=CONTEXT)
        with pytest.raises(InvalidCall):
            await told.aenqueue(1, CONTEXT)


class TestOptions:
    async def test_what_the_store_enforces_reaches_it(self, memory: Treadle) -> None:
        add = declare(memory).add
        copy = add.options(
            queue="mail.acme", priority=7, delay=60, expires="2h", retry=4, timeout=None,
            tags=["a", "b"], meta={"who": "me"}, flow="f", max_crashes=5, key="k:{a}",
            key_slots=2, ordered=True, keep={"failed": None}, bound=10,
            limits=[Rate(5, per=1), Slots(2, by="a")],
        )  # fmt: skip
        job = await copy.aenqueue(1)
        spec = (await job.arecord()).spec
        assert (spec.queue, spec.priority, spec.due) == ("mail.acme", 7, In(60.0))
        assert (spec.expires, spec.retries, spec.timeout) == (In(7200.0), 4, float("inf"))
        assert (spec.tags, spec.meta, spec.flow) == (("a", "b"), {"who": "me"}, "f")
        assert (spec.max_crashes, spec.key, spec.key_slots, spec.ordered) == (5, "k:1", 2, True)
        assert (spec.keep.failed, spec.bound) == (None, 10)
        assert [ask.key for ask in spec.asks] == ["shop.add:rate/1", "shop.add:slots:a@1"]

    async def test_nothing_is_set_that_was_not_asked_for(self, memory: Treadle) -> None:
        spec = (await (await declare(memory).add.aenqueue(1)).arecord()).spec
        assert (spec.timeout, spec.retries, spec.due, spec.unique, spec.asks) == (
            None, None, None, None, (),
        )  # fmt: skip

    async def test_a_point_in_time_in_the_past_is_now(self, app: Treadle) -> None:
        add = declare(app).add
        past = datetime.now(UTC) - timedelta(days=1)  # noqa: TID251
        job = await add.options(run_at=past).aenqueue(1)
        await run_all(app)
        assert await job.aresult() == 3

    async def test_the_custom_id_of_a_job_is_its_idempotency(self, app: Treadle) -> None:
        add = declare(app).add
        first = await add.options(id="order-1").aenqueue(1)
        again = await add.options(id="order-1").aenqueue(1)
        assert (first.id, first.created, again.created) == ("order-1", True, False)
        await run_all(app)
        assert await again.aresult() == 3
        assert len((await app.ajobs()).records) == 1

    async def test_parameters_may_have_the_names_of_options(self, app: Treadle) -> None:
        @app.task(name="t", key="{queue}:{self_}")
        async def work(queue: str, priority: int, key: str, task: str, self_: int, fn: int) -> str:
            return f"{queue} {priority} {key} {task} {self_} {fn}"

        named = {"priority": 1, "key": "i", "task": "t", "self_": 2, "fn": 3}
        jobs = [await work.aenqueue("q", **named), await app.aenqueue(work, "q", **named)]  # type: ignore[arg-type]
        await run_all(app)
        assert [await job.aresult() for job in jobs] == ["q 1 i t 2 3"] * 2

    async def test_many_need_many_ids(self, memory: Treadle) -> None:
        add = declare(memory).add
        with pytest.raises(InvalidOption, match="several calls have the id 'x'"):
            await add.options(id="x").aenqueue_many([(1,), (2,)])
        jobs = await add.aenqueue_many([add.options(id=f"o{n}").bind(n) for n in range(2)])
        assert [job.id for job in jobs] == ["o0", "o1"]

    async def test_jobs_run_by_priority_then_arrival(self, app: Treadle) -> None:
        seen: list[int] = []

        @app.task(name="note")
        async def note(number: int) -> None:
            seen.append(number)

        for number, priority in enumerate([0, 5, 0, 10, 5]):
            await note.options(priority=priority).aenqueue(number)
        async with app.foreman(burst=True, concurrency=1) as foreman:
            await foreman.join()
        assert seen == [3, 1, 4, 0, 2]


class TestUnique:
    async def test_a_second_call_finds_the_first(self, app: Treadle) -> None:
        @app.task(name="t", unique="user:{user}")
        async def greet(user: int, text: str = "") -> int:
            return user

        first = await greet.aenqueue(1, "a")
        second = await greet.aenqueue(1, "b")
        other = await greet.aenqueue(2, "a")
        assert second.id == first.id
        assert (second.created, second.duplicate_of) == (False, first.id)
        assert (first.created, first.duplicate_of, other.created) == (True, None, True)
        await run_all(app)
        assert await second.aresult() == 1
        assert (await greet.aenqueue(1)).created

    async def test_true_means_the_same_arguments(self, memory: Treadle) -> None:
        @memory.task(name="t", unique=True)
        async def greet(tags: set[str], deep: bool = False) -> None: ...

        first = await greet.aenqueue({"a", "b", "c", "d"})
        assert (await greet.aenqueue({"d", "c", "b", "a"}, deep=False)).id == first.id
        assert (await greet.aenqueue({"a"})).created
        assert (await greet.aenqueue({"a", "b", "c", "d"}, deep=True)).created

    async def test_names_of_parameters_are_for_one_task_only(self, memory: Treadle) -> None:
        async def greet(user: int, text: str) -> None: ...

        one = memory.task(name="one", unique=["user"])(greet)
        two = memory.task(name="two", unique=["user"])(greet)
        assert (await one.aenqueue(1, "a")).created
        assert not (await one.aenqueue(1, "b")).created
        assert (await two.aenqueue(1, "a")).created

    async def test_a_function_may_make_the_key_or_none(self, memory: Treadle) -> None:
        @memory.task(name="t", unique=lambda user: f"u{user}" if user else None)
        async def greet(user: int, text: str) -> None: ...

        assert (await greet.aenqueue(1, "a")).id == (await greet.aenqueue(1, "b")).id
        assert (await greet.aenqueue(0, "a")).created
        assert (await greet.aenqueue(0, "a")).created

    async def test_a_conflict_may_be_an_error(self, app: Treadle) -> None:
        @app.task(name="t", unique={"by": "k", "on_conflict": "error"})
        async def once() -> None: ...

        first = await once.aenqueue()
        with pytest.raises(DuplicateJob) as caught:
            await once.aenqueue()
        assert (caught.value.key, caught.value.holder) == ("k", first.id)

    async def test_a_conflict_may_replace(self, app: Treadle) -> None:
        @app.task(name="t", unique={"by": "k", "on_conflict": "replace"})
        async def last(number: int) -> int:
            return number

        first = await last.aenqueue(1)
        second = await last.aenqueue(2)
        assert (second.replaced, second.created) == (first.id, True)
        await run_all(app)
        assert await second.aresult() == 2

    async def test_a_conflict_may_reschedule(self, app: Treadle) -> None:
        @app.task(name="t", unique={"by": "k", "on_conflict": "reschedule"})
        async def debounced(number: int) -> int:
            return number

        first = await debounced.aenqueue(1)
        second = await debounced.options(delay=3600).aenqueue(2)
        assert (second.id, second.created) == (first.id, False)
        assert await first.astate() is JobState.SCHEDULED

    async def test_one_duplicate_among_many_says_which_were_accepted(self, memory: Treadle) -> None:
        @memory.task(name="t", unique={"by": "{n}", "on_conflict": "error"})
        async def once(n: int) -> None: ...

        await once.aenqueue(2)
        with pytest.raises(DuplicateJob) as caught:
            await once.aenqueue_many([(1,), (2,), (3,)])
        jobs = caught.value.jobs  # type: ignore[attr-defined]
        assert [job is not None for job in jobs] == [True, False, True]


class TestBounds:
    async def test_a_full_queue_refuses(self, app: Treadle) -> None:
        add = declare(app).add.options(bound=2)
        await add.aenqueue_many([(1,), (2,)])
        with pytest.raises(QueueFull, match=r"holds 2 jobs.*on_full='wait'") as caught:
            await add.aenqueue(3)
        assert (caught.value.queue, caught.value.bound) == ("default", 2)

    async def test_or_the_enqueue_waits_for_room(self, app: Treadle) -> None:
        add = declare(app).add.options(bound=1, on_full="wait")
        await add.aenqueue(1)
        waiting = asyncio.create_task(add.aenqueue(2))
        async with app.foreman():
            job = await waiting
            assert await job.aresult(timeout=30) == 4


class TestMany:
    async def test_many_are_pushed_together_in_order(self, app: Treadle) -> None:
        add = declare(app).add
        jobs = await add.aenqueue_many([(1,), {"a": 2, "b": 3}, add.options(priority=3).bind(4)])
        assert [(await job.arecord()).priority for job in jobs] == [0, 0, 3]
        await run_all(app)
        assert [await job.aresult() for job in jobs] == [3, 5, 6]

    async def test_of_several_tasks(self, app: Treadle) -> None:
        tasks = declare(app)
        jobs = await app.aenqueue_many([tasks.add.bind(1), tasks.nothing.bind()])
        await run_all(app)
        assert [await job.aresult() for job in jobs] == [3, None]
        with pytest.raises(InvalidCall, match="item 0 is 3, not a call"):
            await app.aenqueue_many([3])  # type: ignore[list-item]

    async def test_more_than_a_batch(self, memory: Treadle) -> None:
        jobs = await declare(memory).add.aenqueue_many([(n,) for n in range(2500)])
        assert len({job.id for job in jobs}) == 2500
        counts = await memory.queue("default").acounts()
        assert counts[JobState.QUEUED] == 2500

    async def test_none_at_all(self, memory: Treadle) -> None:
        assert await declare(memory).add.aenqueue_many([]) == []

    async def test_the_function_itself_will_do(self, app: Treadle) -> None:
        async def double(a: int) -> int:
            return a * 2

        app.task(name="t")(double)
        job = await app.aenqueue(double, 4)
        await run_all(app)
        assert await job.aresult() == 8


class TestSteering:
    @pytest.mark.parametrize("known", [True, False])
    async def test_errors_are_tried_again(self, app: Treadle, known: bool) -> None:
        seen: list[int] = []

        @app.task(name="t", retry=2)
        async def flaky(ctx: Context = CONTEXT) -> str:
            seen.append(ctx.attempt)
            if len(seen) < 3:
                raise RetryLater("soon", delay=0) if known else Orders("no")
            return "done"

        copy = flaky if known else flaky.options(retry=2)
        job = await copy.aenqueue()
        async with app.foreman():
            assert await job.aresult(timeout=30) == "done"
        record = await job.arecord()
        assert seen == [1, 2, 3]
        assert [attempt.number for attempt in record.attempts] == [1, 2]
        assert all(a.started and a.ended and a.fault for a in record.attempts)
        kind = "RetryLater" if known else "Orders"
        assert all(a.fault and a.fault.type.endswith(kind) for a in record.attempts)

    async def test_skip_and_fail(self, app: Treadle) -> None:
        @app.task(name="t", retry=5)
        async def steer(how: str) -> None:
            raise Skip("nothing to do") if how == "skip" else Fail("no use")

        skipped, failed = await steer.aenqueue_many([("skip",), ("fail",)])
        await run_all(app)
        assert await skipped.aresult() is None
        assert (await skipped.arecord()).skipped == "nothing to do"
        with pytest.raises(JobFailed, match="no use"):
            await failed.aresult()
        assert (await failed.arecord()).tries == 1


class TestChanges:
    async def test_a_waiting_job_is_cancelled_at_once(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        assert await job.acancel() is True
        assert await job.astate() is JobState.CANCELLED
        with pytest.raises(JobCancelled, match=job.id):
            await job.aresult()
        assert await job.acancel() is False
        await run_all(app)
        assert await job.astate() is JobState.CANCELLED

    async def test_a_running_job_is_told(self, app: Treadle) -> None:
        started = asyncio.Event()

        @app.task(name="t")
        async def endless() -> None:
            started.set()
            await asyncio.Event().wait()

        job = await endless.aenqueue()
        async with app.foreman():
            await started.wait()
            assert await job.acancel() is True
            assert (await job.await_for(timeout=30)).state is JobState.CANCELLED

    async def test_a_cancel_that_cannot_be_announced_counts(
        self, memory: Treadle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        started = asyncio.Event()

        @memory.task(name="t")
        async def endless() -> None:
            started.set()
            await asyncio.Event().wait()

        async def publish(events: Any) -> None:
            raise BackendUnavailable("no events today")

        job = await endless.aenqueue()
        async with memory.foreman(grace=0):
            await started.wait()
            monkeypatch.setattr(memory.core.backend(), "publish", publish)
            assert await job.acancel() is True
        assert "cancel.not_announced" in caplog.text
        assert (await job.arecord()).cancel_asked or await job.astate() is JobState.CANCELLED

    async def test_a_failed_job_is_run_again(self, app: Treadle) -> None:
        tasks = declare(app)
        job = await tasks.fail.aenqueue(known=False)
        assert await job.aretry() is False
        await run_all(app)
        assert await job.aretry() is True
        assert await job.astate() is JobState.QUEUED
        assert await job.aretry(delay=60) is False

    async def test_a_start_is_moved(self, app: Treadle) -> None:
        job = await declare(app).add.options(delay=3600).aenqueue(1)
        assert await job.areschedule(delay=0) is True
        await run_all(app)
        assert await job.aresult() == 3
        assert await job.areschedule(delay=5) is False
        with pytest.raises(InvalidOption, match="needs delay= or run_at="):
            await job.areschedule()

    async def test_a_priority_is_changed(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        assert await job.areprioritise(9) is True
        assert (await job.arecord()).priority == 9
        with pytest.raises(InvalidOption, match="from -100 to 100"):
            await job.areprioritise(101)

    async def test_a_job_is_deleted(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        assert await job.adelete() is True
        with pytest.raises(JobNotFound):
            await job.arecord()

    async def test_dependants_wait_and_follow(self, app: Treadle) -> None:
        tasks = declare(app)
        first = await tasks.fail.aenqueue(known=False)
        second = await tasks.add.options(after=first).aenqueue(1)
        third = await tasks.add.options(after=[first.id], on_failure="run").aenqueue(2)
        assert await second.astate() is JobState.WAITING
        await run_all(app)
        assert (await second.arecord()).cause is Cause.DEPENDENCY
        assert await third.aresult() == 4


class TestProgress:
    async def test_updates_end_with_the_job(self, app: Treadle) -> None:
        go = asyncio.Event()

        @app.task(name="t")
        async def work(ctx: Context = CONTEXT) -> None:
            ctx.progress(1, 4, "one")
            await go.wait()
            ctx.progress(4, 4, "all")

        job = await work.aenqueue()
        seen: list[Progress] = []
        async with app.foreman():
            async for update in job.aprogress():
                seen.append(update)
                go.set()
        assert seen[0] == Progress(1, 4, "one")
        assert seen[-1] == Progress(4, 4, "all")
        assert (seen[0].fraction, seen[-1].fraction) == (0.25, 1.0)
        # Whoever comes later gets the last word.
        assert [update async for update in job.aprogress()] == [Progress(4, 4, "all")]

    async def test_nothing_said_is_nothing_given(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        await run_all(app)
        assert [update async for update in job.aprogress()] == []


class TestFinding:
    async def test_conditions_and_pages(self, app: Treadle) -> None:
        tasks = declare(app)
        await tasks.add.options(tags=["x"]).aenqueue_many([(n,) for n in range(5)])
        await tasks.nothing.options(queue="mail.acme").aenqueue()
        page = await app.ajobs(task=tasks.add, limit=2)
        assert len(page.records) == 2
        rest = await app.ajobs(task=tasks.add, limit=10, cursor=page.cursor)
        assert len({r.id for r in (*page.records, *rest.records)}) == 5
        assert len((await app.ajobs(queue="mail")).records) == 1
        assert len((await app.ajobs(state=["queued", JobState.FAILED])).records) == 6
        assert len((await app.ajobs(state="failed")).records) == 0
        assert len((await app.ajobs(tags="x")).records) == 5
        oldest = await app.ajobs(oldest_first=True, limit=1)
        assert oldest.records[0].spec.task == "shop.add"

    async def test_an_unknown_condition_or_state_is_refused(self, memory: Treadle) -> None:
        with pytest.raises(UnknownOption, match="did you mean 'state'"):
            await memory.ajobs(status="failed")  # type: ignore[call-arg]
        with pytest.raises(InvalidOption, match="is not a state of a job: waiting"):
            await memory.ajobs(state="done")
        with pytest.raises(InvalidOption, match="limit=0"):
            await memory.ajobs(limit=0)

    async def test_many_are_changed_at_once(self, app: Treadle) -> None:
        await declare(app).add.aenqueue_many([(n,) for n in range(3)])
        altered = await app.aalter(Cancel(), state="queued")
        assert len(altered.done) == 3


async def test_handles_do_not_grow(memory: Treadle) -> None:
    add = declare(memory).add
    gc.collect()
    jobs = await add.aenqueue_many([(n,) for n in range(10)])
    assert not any(hasattr(job, "__dict__") for job in jobs)
