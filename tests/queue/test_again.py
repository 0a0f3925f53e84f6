"""A job once more, as a new one; and which job has enqueued which."""

from __future__ import annotations

from typing import Any

import pytest

from tests.queue.conftest import run_all
from treadle import (
    CONTEXT,
    Context,
    DuplicateJob,
    JobFailed,
    JobState,
    QueueFull,
    Treadle,
)
from treadle.clock import SystemClock
from treadle.codec import Codec, KeyRing
from treadle.errors import InvalidOption


class TestAgain:
    async def test_it_is_a_new_job_of_the_same_call(self, app: Treadle) -> None:
        @app.task(name="add", queue="sums", priority=3, tags=["x"], delay="1h")
        def add(one: int, two: int = 5) -> int:
            return one + two

        first = await add.aenqueue(1)
        await first.areprioritise(7)
        second = await first.aagain()
        assert second.created
        assert second.id != first.id
        await run_all(app)
        assert await second.aresult(timeout=0) == 6
        assert await first.astate() is JobState.SCHEDULED
        record = await second.arecord()
        assert (record.spec.queue, record.priority, record.spec.tags) == ("sums", 7, ("x",))

    async def test_also_of_one_that_has_ended_however(self, app: Treadle) -> None:
        runs: list[int] = []

        @app.task(name="t")
        def work() -> None:
            runs.append(1)
            raise OSError("no")

        job = await work.aenqueue()
        await run_all(app)
        again = await job.aagain()
        await run_all(app)
        assert len(runs) == 2
        record = await again.arecord()
        assert (record.state, len(record.attempts), record.tries) == (JobState.FAILED, 1, 1)

    async def test_its_unique_key_counts(self, app: Treadle) -> None:
        @app.task(name="t", unique=True)
        def work() -> None: ...

        job = await work.aenqueue()
        again = await job.aagain()
        assert (again.id, again.created, again.duplicate_of) == (job.id, False, job.id)

    async def test_a_unique_key_may_refuse_it(self, app: Treadle) -> None:
        @app.task(name="t", unique={"by": "k", "on_conflict": "error"})
        def work() -> None: ...

        job = await work.aenqueue()
        with pytest.raises(DuplicateJob, match=job.id):
            await job.aagain()

    async def test_its_bound_counts(self, app: Treadle) -> None:
        @app.task(name="t", bound=1)
        def work() -> None: ...

        job = await work.aenqueue()
        with pytest.raises(QueueFull):
            await job.aagain()

    async def test_a_signature_is_of_the_new_job(self) -> None:
        codec = Codec(keys=KeyRing({"k": "a secret of a test, long enough"}))
        async with Treadle("memory://", codec=codec) as app:

            @app.task(name="t")
            def work(number: int) -> int:
                return number

            job = await (await work.aenqueue(4)).aagain()
            await run_all(app)
            assert await job.aresult(timeout=0) == 4

    def test_without_an_event_loop_and_eagerly(self) -> None:
        with Treadle("memory://", eager=True) as app:

            @app.task(name="t")
            def work(number: int) -> int:
                return number

            assert work.enqueue(4).again().result() == 4

    async def test_who_listens_is_told(self, memory: Treadle) -> None:
        told: list[str | None] = []
        memory.on("job.enqueued", lambda event: told.append(event.job_id))
        job = await memory.task(name="t")(print_nothing).aenqueue()
        again = await job.aagain()
        assert told == [job.id, again.id]

    async def test_another_word_for_it(self, memory: Treadle) -> None:
        job: Any = await memory.task(name="t")(print_nothing).aenqueue()
        with pytest.raises(AttributeError, match="again"):
            job.rerun()


def print_nothing() -> None: ...


class TestParents:
    async def test_a_job_says_which_has_enqueued_it(self, app: Treadle) -> None:
        parents: dict[str, str | None] = {}

        @app.task(name="child")
        def child(name: str, ctx: Context = CONTEXT) -> None:
            parents[name] = ctx.parent

        @app.task(name="parent")
        async def parent(ctx: Context = CONTEXT) -> None:
            assert ctx.parent is None
            ctx.enqueue(child, "with its end")
            await child.aenqueue("alone")
            await child.aenqueue_many([("with others",)])

        job = await parent.aenqueue()
        await run_all(app)
        assert parents == dict.fromkeys(("with its end", "alone", "with others"), job.id)
        page = await app.ajobs(task="child")
        assert {record.spec.parent for record in page.records} == {job.id}

    async def test_from_a_thread(self, app: Treadle) -> None:
        child = app.task(name="child")(print_nothing)

        @app.task(name="parent")
        def parent() -> None:
            child.enqueue()

        job = await parent.aenqueue()
        await run_all(app)
        await job.aresult(timeout=0)
        page = await app.ajobs(task="child")
        assert [record.spec.parent for record in page.records] == [job.id]

    async def test_what_is_enqueued_after_an_eager_one_has_no_parent(self) -> None:
        async with Treadle("memory://", eager=True) as app:
            work = app.task(name="t")(print_nothing)
            await work.aenqueue()
            job = await work.aenqueue()
            assert (await job.arecord()).spec.parent is None

    async def test_a_chain_without_end_is_ended(self) -> None:
        runs: list[int] = []
        async with Treadle("memory://", max_depth=5) as app:

            @app.task(name="t")
            def work(ctx: Context = CONTEXT) -> None:
                runs.append(1)
                ctx.enqueue(work)

            await work.aenqueue()
            await run_all(app)
            assert len(runs) == 5
            page = await app.ajobs(task="t", state="failed")
            with pytest.raises(JobFailed, match="last of 5 that have each enqueued the next"):
                await app.job(page.records[0].id).aresult(timeout=0)

    async def test_with_a_delay_it_may_go_on(self) -> None:
        runs: list[int] = []
        async with Treadle("memory://", max_depth=5) as app:

            @app.task(name="t")
            async def work(ctx: Context = CONTEXT) -> None:
                runs.append(1)
                if len(runs) < 12:
                    await work.options(delay=0.001).aenqueue()

            await work.aenqueue()
            async with app.foreman():
                while len(runs) < 12:
                    await SystemClock().sleep(0.01)

    async def test_a_call_that_is_no_job_is_no_parent(self, memory: Treadle) -> None:
        made: list[str] = []

        @memory.task(name="t")
        async def work() -> None:
            made.append((await child.aenqueue()).id)

        child = memory.task(name="child")(print_nothing)
        await work.submit()
        assert (await memory.job(made[0]).arecord()).spec.parent is None

    @pytest.mark.parametrize("value", [0, -1, "many"])
    def test_a_depth_that_is_none_is_refused(self, value: Any) -> None:
        with pytest.raises(InvalidOption, match="max_depth"):
            Treadle("memory://", max_depth=value)
