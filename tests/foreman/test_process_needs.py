"""Jobs in child processes that are forked, recycled, surrounded, or otherwise of their own kind."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.foreman.forkjobs import (
    WORKER,
    Counter,
    app,
    dies,
    forked,
    inside,
    inside_fork,
    kept,
    recycled,
    stays,
    surroundings,
    tells,
    visited,
)
from treadle import Foreman, InvalidOption, JobFailed, Treadle, UnknownOption
from treadle import foreman as of_app


def act(counter: Counter) -> None:
    counter.count()


@pytest.fixture
async def foreman(tmp_path: Path) -> AsyncIterator[of_app.Foreman]:
    with app.override(url=f"sqlite:///{tmp_path}/jobs.db"):
        async with app, app.foreman(grace=1, concurrency=8) as foreman:
            yield foreman


async def ends(task: Any, number: int) -> list[Any]:
    """Results of some jobs, one after the other."""
    return [await (await task.aenqueue()).aresult(timeout=30) for _ in range(number)]


async def test_each_job_in_a_fork_of_a_child_that_stays(foreman: of_app.Foreman) -> None:
    found = await ends(forked, 4)
    pids, parents, left = zip(*found, strict=True)
    assert (len(set(pids)), len(set(parents)), set(left)) == (4, 1, {1})
    # Others share their process as ever, and none with the forks.
    others = await ends(kept, 3)
    assert [left for _, _, left in others] == [1, 2, 3]
    assert others[0][0] not in (*pids, *parents)


async def test_a_forked_job_tells_of_itself_and_has_follow_ups(foreman: of_app.Foreman) -> None:
    job = await tells.aenqueue()
    assert await job.aresult(timeout=30) == []
    note = (await job.arecord()).note
    follow_ups = await app.ajobs(task=forked)
    assert [record.spec.parent for record in follow_ups.records] == [job.id]
    assert note is not None
    assert (note.current, note.total, note.message) == (1, 2, "half")


async def test_a_fork_that_dies_is_a_crash_of_its_job_alone(foreman: of_app.Foreman) -> None:
    dying = await dies.aenqueue()
    with pytest.raises(JobFailed) as caught:
        await dying.aresult(timeout=30)
    assert caught.value.cause == "crashed"
    assert len(await ends(forked, 1)) == 1


async def test_a_fork_ends_at_the_timeout_of_its_job(foreman: of_app.Foreman) -> None:
    job = await stays.aenqueue()
    with pytest.raises(JobFailed) as caught:
        await job.aresult(timeout=30)
    assert caught.value.cause == "timeout"


async def test_a_forked_task_that_was_declared_late_runs(foreman: of_app.Foreman) -> None:
    late: Any = app.task(mode="process", fork=True, name="late")(lambda: os.getpid())
    try:
        assert len(set(await ends(late, 3))) == 3
    finally:
        del app.core.tasks["late"]


async def test_a_child_is_replaced_after_so_many_jobs(foreman: of_app.Foreman) -> None:
    found = await ends(recycled, 4)
    assert len({pid for pid, _, _ in found}) > 1
    assert max(left for _, _, left in found) <= 2


@pytest.mark.parametrize("task", [inside, inside_fork], ids=["plain", "a fork"])
async def test_what_is_around_is_entered_for_each_job(foreman: of_app.Foreman, task: Any) -> None:
    assert await ends(task, 3) == [["around"]] * 3


async def test_children_have_their_environment_and_find_modules_loaded(
    foreman: of_app.Foreman,
) -> None:
    job = await surroundings.aenqueue()
    shop, made_by = await job.aresult(timeout=30)
    assert shop == "open"
    assert made_by != os.getpid()
    # It was loaded by the parent of the child.
    assert made_by not in {pid for pid, _, _ in await ends(kept, 1)}


async def test_calls_have_them_as_well() -> None:
    async with app:
        calls = [forked.submit() for _ in range(4)]
        pids, parents, left = zip(*[await call for call in calls], strict=True)
    assert (len(set(pids)), len(set(parents)), set(left)) == (4, 1, {1})


async def test_workers_of_jobs_have_them_too(foreman: of_app.Foreman) -> None:
    found = await ends(visited, 4)
    assert len({pid for pid, _ in found}) > 1
    assert max(jobs for _, jobs in found) <= 2


async def test_workers_of_a_foreman_have_them_too() -> None:
    async with Foreman(WORKER) as foreman:
        jobs = [await foreman.enqueue(Counter.count) for _ in range(4)]
    found = [await job.aresult() for job in jobs]
    assert max(jobs for _, jobs in found) <= 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "thread", "fork": True}, "use it with mode='process'"),
        ({"max_rss": 1 << 30}, "max_rss= is for child processes"),
        ({"worker": Counter, "max_calls": 3}, r"worker=Counter.options\(max_calls=…\)"),
        ({"mode": "process", "fork": "yes"}, "fork='yes' has to be True or False"),
    ],
    ids=["threads", "by default", "a worker", "no flag"],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        Treadle("memory://").task(name="task", **options)(act)


def test_a_foreman_over_workers_says_where_they_go() -> None:
    with pytest.raises(UnknownOption, match=r"Foreman\(Counter.options\(fork=…\)"):
        Foreman(Counter, fork=True)  # type: ignore[call-arg]
