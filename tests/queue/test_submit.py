"""Calls of tasks here and now: submit and map, and the pools behind them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

import treadle
from tests.queue.conftest import run_all
from treadle import (
    AttemptTimeout,
    InvalidCall,
    JobFailed,
    Rate,
    Retry,
    Slots,
    Treadle,
    WaitTimeout,
    Worker,
    agather,
    as_completed,
    gather,
    wait,
)
from treadle.errors import NotOpen
from treadle.pools.underway import Underway

pytestmark = pytest.mark.usefixtures("no_background_loop_left")


def double(number: int) -> int:
    return number * 2


async def double_later(number: int) -> int:
    await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop
    return number * 2


def add(first: int, second: int = 10) -> int:
    return first + second


class TestSubmit:
    @pytest.mark.parametrize("fn", [double, double_later])
    def test_from_plain_code(self, fn: Any) -> None:
        with Treadle("memory://") as app:
            task = app.task(fn)
            assert task.submit(2).result() == 4
            assert list(task.map(range(5))) == [0, 2, 4, 6, 8]
            assert gather({"a": task.submit(1)}, progress=False) == {"a": 2}

    @pytest.mark.parametrize("fn", [double, double_later])
    async def test_from_a_running_loop(self, memory: Treadle, fn: Any) -> None:
        task = memory.task(fn)
        assert await task.submit(2) == 4
        assert [one async for one in task.map(range(5))] == [0, 2, 4, 6, 8]
        assert await task.map(range(5), ordered=False, buffer=1) == [0, 2, 4, 6, 8]

    async def test_a_coroutine_runs_in_the_loop_of_the_caller(self, memory: Treadle) -> None:
        @memory.task(name="where")
        async def where() -> bool:
            return asyncio.get_running_loop() is loop

        loop = asyncio.get_running_loop()
        assert await where.submit()

    def test_in_a_process(self) -> None:
        with Treadle("memory://") as app:
            task = app.task(mode="process")(double)
            pid = app.task(name="pid", mode="process")(lambda: os.getpid())
            assert list(task.map(range(5))) == [0, 2, 4, 6, 8]
            assert pid.submit().result() != os.getpid()

    @pytest.mark.parametrize("fn", [double, double_later])
    def test_a_task_without_an_app(self, fn: Any) -> None:
        task = treadle.task(fn)
        assert task.submit(2).result() == 4
        assert list(task.map([1])) == [2]

    async def test_from_code_that_a_task_runs(self, memory: Treadle) -> None:
        inner = memory.task(name="inner")(double)
        inner_later = memory.task(name="inner-later")(double_later)

        @memory.task(name="outer")
        async def outer(number: int) -> int:
            return sum(await agather([inner.submit(number), inner_later.submit(number)]))

        @memory.task(name="plain_outer")
        def plain_outer(number: int) -> int:
            return inner_later.submit(number).result(30)

        assert await outer.submit(3) == 12
        assert await plain_outer.submit(3) == 6

    def test_results_go_from_call_to_call(self) -> None:
        with Treadle("memory://") as app:
            plain, later = app.task(double), app.task(double_later)
            third: Any = plain.submit(later.submit(plain.submit(1)))  # type: ignore[arg-type]
            assert third.result(30) == 8

    async def test_no_job_is_made(self, memory: Treadle) -> None:
        task = memory.task(double)
        await task.submit(1)
        assert (await memory.ajobs()).records == ()

    def test_arguments_of_each_call(self) -> None:
        with Treadle("memory://") as app:
            task = app.task(add)
            assert list(task.starmap([(1, 2), (3, 4)])) == [3, 7]
            assert list(task.map([1, 2], [3, 4])) == [4, 6]
            assert task.submit(1, second=2).result() == 3


class TestPolicies:
    @pytest.mark.parametrize("further", [0, 1])
    async def test_retries(self, memory: Treadle, further: int) -> None:
        tried: list[int] = []

        @memory.task(name="flaky", retry=further)
        async def flaky(number: int) -> int:
            tried.append(number)
            if len(tried) < 2:
                raise ValueError("not yet")
            return number

        if further:
            assert await flaky.submit(3) == 3
        else:
            with pytest.raises(ValueError, match="not yet"):
                await flaky.submit(3)
            tried.clear()
            assert await flaky.options(retry=2).submit(3) == 3

    async def test_a_whole_retry_policy(self, memory: Treadle) -> None:
        tried: list[int] = []

        @memory.task(name="flaky", retry=Retry(5, on=KeyError))
        def flaky() -> None:
            tried.append(1)
            raise ValueError("another kind")

        with pytest.raises(ValueError, match="another kind"):
            await flaky.submit()
        assert len(tried) == 1

    async def test_a_timeout(self, memory: Treadle) -> None:
        @memory.task(name="forever", timeout=0.01)
        async def forever() -> None:
            await asyncio.Event().wait()

        with pytest.raises(AttemptTimeout):
            await forever.submit()
        endless = forever.options(timeout=None).submit()
        with pytest.raises(WaitTimeout):
            await endless.aresult(timeout=0.05)
        assert endless.cancel()

    async def test_slots_are_shared_by_all_copies_of_the_task(self, memory: Treadle) -> None:
        running = most = 0

        @memory.task(name="busy", limits=[Slots(2)])
        async def busy() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop
            running -= 1

        await agather([busy.options(retry=one).submit() for one in range(10)])
        assert most <= 2

    async def test_a_rate_by_argument(self, memory: Treadle) -> None:
        @memory.task(name="call", limits=[Rate(2, per="1h", by="tenant")])
        async def call(tenant: str) -> str:
            return tenant

        assert await agather([call.submit("a"), call.submit("a"), call.submit("b")]) == [
            "a",
            "a",
            "b",
        ]
        held = call.submit("a")
        with pytest.raises(WaitTimeout):
            await held.aresult(timeout=0.05)
        assert held.cancel()
        with pytest.raises(treadle.CallCancelled):
            await held


class TestRefused:
    def test_arguments_that_do_not_fit(self) -> None:
        task = treadle.task(add)
        with pytest.raises(InvalidCall, match=r"task .*: missing a required argument: 'first'"):
            task.submit()  # type: ignore[call-arg]
        with pytest.raises(InvalidCall, match="unexpected keyword"):
            task.submit(1, third=3)  # type: ignore[call-arg]

    def test_what_only_a_job_has(self) -> None:
        class Browser(Worker): ...

        @treadle.task(name="with_worker", worker=Browser)
        def with_worker(browser: Browser, url: str) -> None: ...

        with pytest.raises(
            InvalidCall, match=r"is given a worker; .*Browser\.init\(\)\.call\(with_worker\.fn, "
        ):
            with_worker.submit("x")

    def test_options_of_jobs(self) -> None:
        task = treadle.task(add)
        for options in ({"delay": 5}, {"id": "x"}, {"after": "x"}):
            with pytest.raises(InvalidCall, match=f"{next(iter(options))}=.* is for jobs"):
                task.options(**options).submit(1)  # type: ignore[arg-type]


class TestLife:
    def test_a_pool_starts_on_first_use_and_ends_with_the_app(self) -> None:
        def threads() -> list[str]:
            return [one.name for one in threading.enumerate() if "tasks-thread" in one.name]

        with Treadle("memory://") as app:
            task = app.task(double)
            assert threads() == []
            task.submit(1).result()
            assert threads()
        assert threads() == []
        with pytest.raises(NotOpen, match="its pools with it"):
            task.submit(1)
        with app:
            assert task.submit(1).result() == 2

    def test_what_was_accepted_is_carried_out(self) -> None:
        done: list[int] = []
        with Treadle("memory://") as app:
            task = app.task(name="t")(lambda number: done.append(number))
            for number in range(100):
                task.submit(number)
        assert sorted(done) == list(range(100))

    async def test_the_same_in_a_loop(self) -> None:
        done: list[int] = []
        async with Treadle("memory://") as app:
            plain = app.task(name="t")(lambda number: done.append(number))

            @app.task(name="later")
            async def later(number: int) -> None:
                await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop
                done.append(number)

            for number in range(10):
                plain.submit(number)
                later.submit(number)
        assert sorted(done) == sorted([*range(10), *range(10)])

    def test_one_loop_after_another(self) -> None:
        task = treadle.task(double_later)

        async def main() -> int:
            return await task.submit(2)

        assert [asyncio.run(main()), asyncio.run(main()), task.submit(2).result()] == [4, 4, 4]

    def test_a_script_that_closes_nothing_ends(self, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text(
            textwrap.dedent("""
                import os, treadle

                @treadle.task
                def plain(number):
                    os.write(1, b"plain %d\\n" % number)

                @treadle.task
                async def later(number):
                    os.write(1, b"later %d\\n" % number)

                plain.submit(1)
                later.submit(2)
            """)
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", script],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert sorted(done.stdout.split("\n")) == ["", "later 2", "plain 1"]

    def test_a_forked_child_starts_its_own(self, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text(
            textwrap.dedent("""
                import os, treadle

                @treadle.task
                def plain(number):
                    return number, os.getpid()

                @treadle.task
                async def later(number):
                    return number, os.getpid()

                both = plain, later
                assert [one.submit(1).result() for one in both] == [(1, os.getpid())] * 2
                child = os.fork()
                assert [one.submit(1).result() for one in both] == [(1, os.getpid())] * 2
                if child:
                    _, status = os.waitpid(child, 0)
                    assert status == 0, status
                    print("done")
            """)
        )
        done = subprocess.run(
            # That a process with threads forks is what this is about; later Pythons warn of it.
            [sys.executable, "-W", "error::ResourceWarning", "-W", "ignore::DeprecationWarning",
             script],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


class TestJobs:
    async def test_jobs_and_calls_are_waited_for_together(self, app: Treadle) -> None:
        task = app.task(double)
        job = await task.aenqueue(2)
        gathered = asyncio.create_task(agather([job, task.submit(3)]))
        await run_all(app)
        assert await gathered == [4, 6]
        assert [one async for one in as_completed([job])] == [job]

    def test_from_plain_code(self, url: str) -> None:
        with Treadle(url) as app:
            task = app.task(double)
            jobs = {number: task.enqueue(number) for number in range(3)}

            def work() -> None:
                asyncio.run(run_all(app))

            thread = threading.Thread(target=work)
            thread.start()
            assert gather(jobs, timeout=30) == {0: 0, 1: 2, 2: 4}
            thread.join(30)
            assert wait(jobs.values()).pending == []

    async def test_those_that_fail_are_errors(self, memory: Treadle) -> None:
        @memory.task(name="fail")
        async def fail() -> None:
            raise ValueError("no")

        job = await fail.aenqueue()
        await run_all(memory)
        (error,) = await agather([job], return_exceptions=True)
        assert isinstance(error, JobFailed)

    async def test_waiting_can_end_before_they_do(self, memory: Treadle) -> None:
        job = await memory.task(double).aenqueue(1)
        with pytest.raises(WaitTimeout):
            await agather([job], timeout=0.01)
        future = job.future()
        assert future.cancel()
        assert (await job.astate()) == "queued"


def test_calls_that_have_ended_are_not_kept() -> None:
    with Treadle("memory://") as app:
        task = app.task(retry=1)(double)
        assert list(task.map(range(10))) == list(range(0, 20, 2))
        underway: Underway = app.core.pools.lane(task).underway
        assert underway.all() == []
