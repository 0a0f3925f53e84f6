"""What a job was called with, read by those who look at it and by its own code."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.queue.conftest import run_all
from treadle import CONTEXT, Context, Depends, JobNotFound, Retry, Treadle, Worker
from treadle.codec import Codec, KeyRing
from treadle.errors import JobFailed
from treadle.policies import AttemptInfo


def given() -> str:
    return "given"


async def report(
    path: Path, day: date = date(2026, 1, 2), *, db: str = Depends(given), **more: int
) -> None: ...


class TestOfAJob:
    async def test_they_have_the_names_and_types_of_the_parameters(self, app: Treadle) -> None:
        task = app.task(name="report")(report)
        job = await task.aenqueue(Path("a.csv"), extra=3)
        expected = {"path": Path("a.csv"), "day": date(2026, 1, 2), "more": {"extra": 3}}
        assert await job.aarguments() == expected
        assert await app.job(job.id).aarguments() == expected

    async def test_where_the_task_is_not_known_they_are_plain_data(self, app: Treadle) -> None:
        job = await app.task(name="report")(report).aenqueue(Path("a.csv"))
        other = Treadle(app.core.url, namespace=app.core.namespace)
        if app.core.url.startswith("memory"):
            return  # nobody else sees the memory of this process
        async with other:
            assert await other.job(job.id).aarguments() == {"path": Path("a.csv")}

    async def test_a_job_that_is_not_there_has_none(self, memory: Treadle) -> None:
        with pytest.raises(JobNotFound):
            await memory.job("no-such-job").aarguments()

    def test_without_an_event_loop(self, url: str) -> None:
        with Treadle(url) as app:
            job = app.task(name="report")(report).enqueue(Path("a.csv"))
            assert job.arguments()["path"] == Path("a.csv")

    async def test_signed_ones_are_verified_first(self) -> None:
        codec = Codec(keys=KeyRing({"k": "a secret of a test, long enough"}))
        async with Treadle("memory://", codec=codec) as app:
            job = await app.task(name="report")(report).aenqueue(Path("a.csv"))
            assert (await job.aarguments())["path"] == Path("a.csv")


async def test_code_of_a_job_sees_its_own(app: Treadle) -> None:
    seen: list[dict[str, Any]] = []

    @app.task(name="t")
    def work(number: int, factor: float = 2.0, ctx: Context = CONTEXT) -> None:
        seen.append(ctx.arguments)

    await work.aenqueue(1)
    await run_all(app)
    assert seen == [{"number": 1, "factor": 2.0}]


class TestOfAnAttempt:
    async def test_a_predicate_of_a_retry_reads_them(self, app: Treadle) -> None:
        asked: list[tuple[Any, Any]] = []

        def only_small(error: BaseException, info: AttemptInfo) -> bool:
            asked.append((info.args, info.kwargs))
            return bool(info.kwargs["size"] < 10)

        @app.task(name="t", retry=Retry(1, backoff=0.0, on=only_small))
        def work(size: int) -> None:
            raise OSError("no")

        small, large = await app.aenqueue_many([work.bind(1), work.bind(20)])
        await run_all(app)
        for job, attempts in ((small, 2), (large, 1)):
            with pytest.raises(JobFailed):
                await job.aresult(timeout=0)
            assert len((await job.arecord()).attempts) == attempts
        assert ((), {"size": 20}) in asked

    async def test_a_validator_of_results_reads_them(self, memory: Treadle) -> None:
        tries: list[int] = []

        def as_asked(value: int, info: AttemptInfo) -> bool:
            return value == info.kwargs["wanted"]

        @memory.task(name="t", retry=Retry(3, backoff=0.0, until=as_asked))
        def work(wanted: int) -> int:
            tries.append(wanted)
            return len(tries)

        job = await work.aenqueue(3)
        await run_all(memory)
        assert await job.aresult() == 3

    @pytest.mark.parametrize("mode", ["sync", "thread"])
    def test_that_of_a_call_of_a_worker_reads_them(
        self, mode: Any, no_background_loop_left: None
    ) -> None:
        asked: list[tuple[Any, Any]] = []

        def noted(error: BaseException, info: AttemptInfo) -> bool:
            asked.append((info.args, dict(info.kwargs)))
            return True

        class Model(Worker):
            def predict(self, text: str, *, strict: bool) -> None:
                raise OSError(text)

        options = {"mode": mode, "retry": Retry(1, backoff=0.0, on=noted)}
        with (
            Model.options(**options).init() as model,  # type: ignore[arg-type]
            pytest.raises(OSError, match="a text"),
        ):
            model.call(Model.predict, "a text", strict=True).result(10)
        assert asked == [(("a text",), {"strict": True})] * len(asked)
        assert asked
