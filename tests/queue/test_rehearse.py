"""Running the call of a stored job here and now, which leaves the job as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle import Context, Depends, JobFailed, JobState, Keep, Retry, Treadle, Unique
from treadle.context import CONTEXT
from treadle.errors import JobNotFound, UnknownTask, UsageError


class Sold(Exception):
    """Of the code of a task."""


def price() -> int:
    return 4


app = Treadle("memory://", errors=[Sold])
ran: list[object] = []


@app.task(retry=Retry(2, backoff="1h"), unique="order:{item}", keep=Keep(succeeded=0))
def order(item: str, *, ctx: Context = CONTEXT, each: int = Depends(price)) -> int:
    ran.append((item, ctx.attempt, threading.current_thread().name))
    if item == "chair":
        raise Sold(item)
    if item == "table":
        tell.enqueue(item)
    return len(item) * each


@app.task
async def tell(item: str) -> None:
    ran.append(f"told of {item}")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ran.clear()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Treadle]:
    with app.override(url=f"sqlite:///{tmp_path}/jobs.db"), app:
        yield app


@pytest.mark.usefixtures("shop")
def test_it_gives_the_result_and_leaves_the_job() -> None:
    job = order.enqueue("lamp")
    before = job.record()
    assert app.rehearse(job) == 16
    assert app.rehearse(job.id) == 16
    assert ran == [("lamp", 1, threading.current_thread().name)] * 2
    assert job.record() == before
    assert before.state is JobState.QUEUED
    assert order.enqueue("lamp").duplicate_of == job.id


@pytest.mark.usefixtures("shop")
def test_what_it_enqueues_runs_here_and_is_not_in_the_store() -> None:
    job = order.enqueue("table")
    app.rehearse(job)
    assert "told of table" in ran
    assert [record.id for record in app.jobs().records] == [job.id]


@pytest.mark.usefixtures("shop")
def test_its_error_is_raised_after_its_retries_which_do_not_wait() -> None:
    job = order.enqueue("chair")
    with pytest.raises(Sold, match="chair") as caught:
        app.rehearse(job)
    assert isinstance(caught.value.__cause__, JobFailed)
    assert [attempt for _, attempt, _ in ran] == [1, 2, 3]  # type: ignore[misc]
    assert job.record().tries == 0


async def test_in_an_event_loop_it_is_awaited_and_refused_beside_a_foreman(tmp_path: Path) -> None:
    with app.override(url=f"sqlite:///{tmp_path}/jobs.db"):
        await app.aopen()
        job = await order.options(delay="1h", unique=Unique(key="lamp")).aenqueue("lamp")
        assert await app.arehearse(job) == 16
        assert await job.astate() is JobState.SCHEDULED
        async with app.foreman():
            with pytest.raises(UsageError, match=r"rehearse .* stop it first"):
                await app.arehearse(job)
        assert await app.arehearse(job) == 16
        with pytest.raises(JobNotFound):
            await app.arehearse("no-such-job")
        await app.aclose()


async def test_a_task_that_was_removed_is_unknown_until_it_is_included_again(
    tmp_path: Path,
) -> None:
    with app.override(url=f"sqlite:///{tmp_path}/jobs.db"):
        await app.aopen()
        job = await tell.aenqueue("it")
        async with app.foreman():
            with pytest.raises(UsageError, match=r"remove .* stop it first"):
                app.remove(tell)
        job = await tell.options(delay="1h").aenqueue("it")
        assert app.remove(tell.options(priority=3))
        assert not app.remove(tell)
        assert not app.remove("no.such.task")
        assert tell.core is None
        assert tell.name not in app.tasks
        with pytest.raises(UnknownTask):
            await app.arehearse(job)
        assert (await job.arecord()).state is JobState.SCHEDULED
        app.include(tell)
        assert app.remove(tell.fn)
        app.include(tell)
        assert app.tasks[tell.name] is tell
        await app.arehearse(job)
        await app.aclose()
    assert ran[-1] == "told of it"
