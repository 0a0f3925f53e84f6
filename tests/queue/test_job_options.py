"""What is said with an enqueue: options, unique keys, bounds; and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.queue.conftest import run_all
from tests.queue.shop import declare
from treadle import (
    CONTEXT,
    Context,
    DuplicateJob,
    InvalidCall,
    InvalidOption,
    JobState,
    NotEncodable,
    QueueFull,
    Rate,
    Slots,
    Treadle,
)
from treadle.errors import PayloadTooLarge
from treadle.records import In


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
        assert (spec.timeout, spec.retries, spec.retry, spec.due, spec.unique, spec.asks) == (
            None, None, None, None, None, (),
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
