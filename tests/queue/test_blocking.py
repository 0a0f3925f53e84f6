"""Blocking verbs: where they work, where they refuse, and what they leave behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from treadle import BackendError, JobState, Treadle, WaitTimeout
from treadle.errors import Blocking, NotOpen
from treadle.ports import Cancel
from treadle.testing.clock import eventually


async def double(number: int) -> int:
    return number * 2


def run_in_thread(fn: Callable[[], Any]) -> Any:
    """What a function gives in a thread without an event loop."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(fn()))
    thread.start()
    thread.join(30)
    return result[0]


def test_plain_code_needs_no_loop(url: str) -> None:
    with Treadle(url) as app:
        task = app.task(name="t")(double)
        job = task.enqueue(2)
        assert job.created
        assert job.state() is JobState.QUEUED
        assert [one.state() for one in task.enqueue_many([(1,), (2,)])] == [JobState.QUEUED] * 2
        assert app.enqueue(double, 3).record().spec.task == "t"
        assert len(app.enqueue_many([task.bind(4)])) == 1
        assert len(app.jobs(task=task).records) == 5
        with pytest.raises(WaitTimeout):
            job.result(timeout=0.01)
        with pytest.raises(WaitTimeout):
            job.wait(timeout=0.01)
        assert job.reschedule(delay=5)
        assert job.reprioritise(3)
        assert job.cancel()
        assert job.retry()
        assert job.delete()
        assert len(app.alter(Cancel(), state="queued").done) == 4
        other = task.enqueue(1)
        other.cancel()
        assert list(other.progress()) == []


async def test_inside_a_loop_they_name_their_twin(memory: Treadle) -> None:
    task = memory.task(name="t")(double)
    job = await task.aenqueue(1)
    for verb, twin in (
        (lambda: task.enqueue(1), "await t.aenqueue()"),
        (lambda: task.enqueue_many([(1,)]), "await t.aenqueue_many()"),
        (lambda: memory.enqueue(task, 1), "await app.aenqueue()"),
        (memory.jobs, "await app.ajobs()"),
        (job.result, "await job.aresult()"),
        (job.wait, "await job.await_for()"),
        (job.cancel, "await job.acancel()"),
        (lambda: list(job.progress()), "await job.aprogress()"),
        (memory.queue("mail").pause, "await queue.apause()"),
        (memory.close, "await app.aclose()"),
    ):
        with pytest.raises(Blocking) as caught:
            verb()
        assert twin in str(caught.value)
        assert caught.value.twin == twin.removeprefix("await ").removesuffix("()")
    with pytest.raises(Blocking, match=r"app\.aopen"):
        memory.__enter__()


async def test_a_notebook_may_block_its_own_loop(
    memory: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    job = memory.task(name="t")(double).enqueue(1)
    assert job.state() is JobState.QUEUED


async def test_a_loop_and_threads_share_one_app(url: str) -> None:
    async with Treadle(url) as app:
        task = app.task(name="t")(double)
        async with app.foreman():
            jobs = [await asyncio.to_thread(task.enqueue, number) for number in range(3)]
            results = await asyncio.gather(
                *(asyncio.to_thread(job.result, 30) for job in jobs),
                (await task.aenqueue(9)).aresult(30),
            )
        assert results == [0, 2, 4, 18]


def test_one_loop_after_the_other(url: str) -> None:
    app = Treadle(url)
    task = app.task(name="t")(double)

    async def once() -> str:
        return (await task.aenqueue(1)).id

    ids = [asyncio.run(once()), asyncio.run(once()), task.enqueue(1).id]
    assert {record.id for record in app.jobs().records} == set(ids)
    app.close()


def test_two_loops_at_once(url: str) -> None:
    with Treadle(url) as app:
        task = app.task(name="t")(double)

        async def some() -> list[str]:
            return [(await task.aenqueue(number)).id for number in range(20)]

        ids: list[str] = []
        threads = [
            threading.Thread(target=lambda: ids.extend(asyncio.run(some()))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert {record.id for record in app.jobs(limit=100).records} == set(ids)
        assert len(ids) == 40


def test_many_threads_block_at_once() -> None:
    with Treadle("memory://") as app:
        task = app.task(name="t")(double)
        jobs: list[Any] = []
        threads = [threading.Thread(target=lambda: jobs.append(task.enqueue(1))) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len({job.id for job in jobs}) == 20


def test_there_is_one_background_thread_and_it_ends_with_the_app() -> None:
    before = threading.active_count()
    app = Treadle("memory://")
    task = app.task(name="t")(double)
    for number in range(3):
        task.enqueue(number)
    assert threading.active_count() == before + 1
    app.close()
    assert threading.active_count() == before
    app.close()  # again is harmless


def test_a_closed_app_says_so_and_can_be_opened_again() -> None:
    app = Treadle("memory://")
    task = app.task(name="t")(double)
    app.close()
    with pytest.raises(NotOpen, match="the app was closed"):
        task.enqueue(1)
    with app:
        assert task.enqueue(1).created


def test_whoever_is_interrupted_leaves_nothing_behind() -> None:
    with Treadle("memory://") as app:
        job = app.task(name="t")(double).enqueue(1)
        coroutines: list[Any] = []
        original = app.core.background.start

        def interrupted(coroutine: Any) -> Any:
            future = original(coroutine)
            coroutines.append(future)

            class Impatient:
                cancel = future.cancel

                def exception(self, timeout: float) -> Any:
                    raise KeyboardInterrupt

            return Impatient()

        app.core.background.start = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            job.result()
        app.core.background.start = original  # type: ignore[method-assign]
        assert coroutines[0].cancelled()


def test_an_app_that_cannot_be_opened_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Treadle("memory://")

    async def refused() -> None:
        raise BackendError("not today")

    monkeypatch.setattr(app.core.backend(), "open", refused)
    before = threading.active_count()
    with pytest.raises(BackendError, match="not today"), app:
        pass
    assert threading.active_count() == before


async def test_it_cannot_close_itself() -> None:
    app = Treadle("memory://")

    async def close() -> None:
        app.core.background.close()

    def from_outside() -> str:
        try:
            app.core.background.call(close())
        except NotOpen as error:
            return str(error)
        return ""

    assert "from its own background loop" in await asyncio.to_thread(from_outside)
    await app.aclose()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_starts_afresh(tmp_path: Path) -> None:
    """In a process of its own: forking the test process would copy its threads' locks."""
    script = f"""
        import os, sys
        from treadle import Treadle
        app = Treadle("sqlite:///{tmp_path}/jobs.db")
        @app.task(name="t")
        def work(number: int) -> int: return number
        mine = work.enqueue(1)
        child = os.fork()
        if child == 0:
            theirs = work.enqueue(2)
            assert theirs.id != mine.id
            assert mine.state() == "queued"
            app.close()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        assert len(app.jobs().records) == 2
        app.close()
        print("both")
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("both\n", "")


def test_a_program_that_does_not_close_its_app_ends_in_order(tmp_path: Path) -> None:
    script = f"""
        from treadle import Treadle
        app = Treadle("sqlite:///{tmp_path}/jobs.db")
        @app.task(name="t")
        def work(number: int) -> int: return number
        print(work.enqueue(1).state())
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("queued\n", "")


async def test_asynchronous_work_of_plain_code_goes_on_elsewhere() -> None:
    app = Treadle("memory://")
    done = threading.Event()

    async def later() -> None:
        done.set()

    run_in_thread(lambda: app.core.background.start(later()))
    await eventually(done.is_set)
    await app.aclose()
