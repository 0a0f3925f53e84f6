"""How failures climb: retry, the breaker, its last trip; and what a job may raise to steer that."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stateful.kit import Browser, Log, until
from treadle import (
    Breaker,
    Event,
    Fail,
    Foreman,
    JobState,
    LimitSet,
    Quit,
    Rate,
    Retry,
    RetryLater,
    Skip,
    Slots,
    Trip,
    backoff,
)
from treadle.errors import BreakerOpen, InvalidOption
from treadle.testing import ManualClock, eventually

AT_ONCE = Retry(2, backoff=backoff.fixed(0))


async def fail(browser: Browser, number: int) -> None:
    browser.log.note(f"ran {number}")
    raise OSError("reset")


async def work(browser: Browser, number: int) -> int:
    browser.log.note(f"ran {number}")
    return number


def heard(foreman: Foreman[Any], pattern: str) -> list[Event]:
    """What a foreman tells from now on."""
    events: list[Event] = []
    foreman._core.bus.on(pattern, events.append)
    return events


class Machine:
    """A foreman on a clock that the test moves."""

    def __init__(self, log: Log, **options: Any) -> None:
        self.clock = ManualClock()
        self.foreman = Foreman(Browser.options().bind(log), clock=self.clock, **options)
        self.entering = asyncio.ensure_future(self.foreman.__aenter__())

    async def until(self, condition: Any) -> None:
        """Let it work, without moving time."""
        for _ in range(2000):
            if condition():
                return
            await self.clock.aadvance(0)
        raise AssertionError("it did not become true")

    async def open(self) -> Foreman[Browser]:
        await self.until(self.entering.done)
        return self.entering.result()

    async def leave(self) -> None:
        leaving = asyncio.ensure_future(self.foreman.__aexit__(None, None, None))
        await self.until(leaving.done)
        leaving.result()


class TestBreaker:
    async def test_retries_then_exhausted_jobs_add_up_then_a_pause_then_a_probe(
        self, log: Log
    ) -> None:
        machine = Machine(log, max_workers=2, retry=AT_ONCE, breaker=Breaker(2, pause=10))
        foreman = await machine.open()
        opened = heard(foreman, "breaker.*")
        jobs = [await foreman.enqueue(fail, number) for number in range(2)]
        await machine.until(lambda: opened)
        # Each had its three attempts, and only their ends have counted.
        assert sorted(log.events[2:]) == sorted(f"ran {n}" for n in (0, 0, 0, 1, 1, 1))
        late = [await foreman.enqueue(work, number) for number in (10, 11, 12)]
        await machine.clock.aadvance(9.9)
        assert log.count("ran") == 6
        await machine.clock.aadvance(0.1)
        await machine.until(lambda: log.count("ran") == 9)
        assert [event.name for event in opened] == [
            "breaker.opened",
            "breaker.half_open",
            "breaker.closed",
        ]
        await machine.leave()
        assert [await job.astate() for job in (*jobs, *late)] == [JobState.FAILED] * 2 + [
            JobState.SUCCEEDED
        ] * 3

    async def test_the_probe_is_one_job_and_each_pause_is_longer(self, log: Log) -> None:
        machine = Machine(log, max_workers=4, breaker=Breaker(1, pause=10, factor=2))
        foreman = await machine.open()
        for number in range(8):
            await foreman.enqueue(fail, number)
        await machine.until(lambda: foreman.stats["running"] == 0 and log.count("ran") >= 1)
        before = log.count("ran")
        for pause in (10, 20, 40):
            await machine.clock.aadvance(pause - 0.5)
            assert log.count("ran") == before
            await machine.clock.aadvance(0.5)
            before += 1
            await machine.until(lambda: log.count("ran") == before)  # noqa: B023
            await machine.until(lambda: foreman.stats["running"] == 0)
        await foreman.stop(drain=False)
        await machine.leave()

    async def test_one_bad_job_trips_once_however_many_workers_are_idle(self, log: Log) -> None:
        async def trip(browser: Browser) -> None:
            browser.log.note("ran")
            raise Trip("429")

        machine = Machine(log, max_workers=4, breaker=Breaker(3, pause=10, trips=3))
        foreman = await machine.open()
        opened = heard(foreman, "breaker.opened")
        job = await foreman.enqueue(trip)
        await machine.until(lambda: opened)
        await machine.clock.aadvance(5)
        assert len(opened) == 1
        assert log.count("ran") == 1
        record = await job.arecord()
        # It waits for the probe, and has lost nothing.
        assert (record.state, record.tries) == (JobState.QUEUED, 0)
        await foreman.stop(drain=False)
        await machine.leave()

    async def test_a_job_is_given_back_three_times_for_its_trips_then_it_fails(
        self, log: Log
    ) -> None:
        async def trip(browser: Browser) -> None:
            browser.log.note("ran")
            raise Trip("429")

        machine = Machine(log, max_workers=1, breaker=Breaker(1, pause=1), retry=0)
        foreman = await machine.open()
        job = await foreman.enqueue(trip)
        joining = asyncio.ensure_future(foreman.join())
        for _ in range(200):
            if joining.done():
                break
            await machine.clock.aadvance(1)
        joining.result()
        record = await job.arecord()
        assert (record.state, log.count("ran")) == (JobState.FAILED, 4)
        await machine.leave()

    async def test_after_the_last_trip_it_stops_in_good_order_and_says_why(self, log: Log) -> None:
        jobs = []
        with pytest.raises(BreakerOpen, match="for the last time"):  # noqa: PT012
            async with Foreman(
                Browser.options().bind(log), max_workers=1, breaker=Breaker(2, trips=1)
            ) as foreman:
                jobs = [await foreman.enqueue(fail, number) for number in range(5)]
                await foreman.join()
        states = [await job.astate() for job in jobs]
        # Those that failed are failed jobs, and the others are still there.
        assert states == [JobState.FAILED] * 2 + [JobState.QUEUED] * 3
        assert foreman.exit_status == 75
        assert log.events[-1] == "stop 0"
        with pytest.raises(BreakerOpen):
            await foreman.enqueue(work, 1)

    async def test_a_success_between_sets_the_count_back(self, log: Log) -> None:
        async with Foreman(
            Browser.options().bind(log), max_workers=1, breaker=Breaker(2, trips=1)
        ) as foreman:
            for number in range(6):
                await (foreman.enqueue(fail, number) if number % 2 else foreman.enqueue(work, 1))
            await foreman.join()
        assert foreman.stats["job.failed"] == 3


class TestSteering:
    async def test_later_skip_and_fail(self, log: Log) -> None:
        async def steered(browser: Browser, how: str) -> str:
            browser.log.note(f"ran {how}")
            if browser.log.events.count(f"ran {how}") == 1:
                match how:
                    case "later":
                        raise RetryLater("busy", delay=0)
                    case "skip":
                        raise Skip("not there")
                    case _:
                        raise Fail("gone")
            return "done"

        async with Foreman(Browser.options().bind(log), retry=AT_ONCE) as foreman:
            jobs = {how: await foreman.enqueue(steered, how) for how in ("later", "skip", "fail")}
            await foreman.join()
            records = {how: await job.arecord() for how, job in jobs.items()}
        assert await jobs["later"].aresult() == "done"
        assert records["later"].tries == 1
        assert (records["skip"].state, records["skip"].skipped) == (
            JobState.SUCCEEDED,
            "not there",
        )
        assert (records["fail"].state, log.events.count("ran fail")) == (JobState.FAILED, 1)

    async def test_a_class_of_ones_own_restarts_its_worker_each_time(self, log: Log) -> None:
        class SessionExpired(RetryLater):
            def __init__(self) -> None:
                super().__init__("session expired", delay=0, restart_worker=True)

        async def expiring(browser: Browser) -> int:
            browser.pages += 1
            if browser.log.count("start") == 1:
                raise SessionExpired
            return browser.pages

        async with Foreman(Browser.options().bind(log), max_workers=1, retry=1) as foreman:
            job = await foreman.enqueue(expiring)
            assert await job.aresult(timeout=10) == 1
        assert log.events == ["start 0", "stop 0", "start 0", "stop 0"]

    async def test_quit_stops_in_good_order(self, log: Log) -> None:
        async def leave(browser: Browser) -> None:
            raise Quit("banned")

        with pytest.raises(Quit, match="banned"):  # noqa: PT012
            async with Foreman(Browser.options().bind(log), max_workers=2) as foreman:
                await foreman.enqueue(leave)
                await foreman.join()
        assert foreman.exit_status == 75
        assert log.count("stop") == 2


class TestLimits:
    async def test_all_workers_and_functions_share_a_limit(self, log: Log) -> None:
        async def other(browser: Browser) -> None:
            browser.log.note("ran")

        machine = Machine(log, max_workers=4, limits=[Rate(2, per=10)])
        foreman = await machine.open()
        for _ in range(3):
            await foreman.enqueue(other)
            await foreman.enqueue(work, 1)
        await machine.until(lambda: log.count("ran") == 2)
        await machine.clock.aadvance(4.9)
        assert log.count("ran") == 2
        await machine.clock.aadvance(0.1)
        await machine.until(lambda: log.count("ran") == 3)
        await foreman.stop(drain=False)
        await machine.leave()

    async def test_each_worker_has_its_own_and_may_spend_the_burst_at_once(self, log: Log) -> None:
        machine = Machine(log, max_workers=2, limits=[Rate(6, per=60, burst=3, scope="worker")])
        foreman = await machine.open()
        jobs = [await foreman.enqueue(work, number) for number in range(20)]
        await machine.until(lambda: log.count("ran") == 6)
        await machine.clock.aadvance(9.9)
        assert log.count("ran") == 6
        # Those that have to wait are claimed by nobody.
        states = [await job.astate() for job in jobs]
        assert states.count(JobState.QUEUED) == 14
        await machine.clock.aadvance(0.1)
        await machine.until(lambda: log.count("ran") == 8)
        await foreman.stop(drain=False)
        await machine.leave()

    async def test_retries_are_limited_too(self, log: Log) -> None:
        machine = Machine(
            log, max_workers=1, retry=AT_ONCE, limits=[Rate(1, per=10, scope="worker")]
        )
        foreman = await machine.open()
        await foreman.enqueue(fail, 1)
        for times in (1, 2, 3):
            await machine.until(lambda: log.count("ran") == times)  # noqa: B023
            await machine.clock.aadvance(9.5)
            assert log.count("ran") == times
            await machine.clock.aadvance(0.5)
        await machine.leave()

    def test_slots_of_one_worker_have_an_option_of_their_own(self) -> None:
        async def enter() -> None:
            async with Foreman(Browser, limits=[Slots(2, scope="worker")]):
                raise AssertionError("it was entered")

        with pytest.raises(InvalidOption, match="slots="):
            asyncio.run(enter())

    async def test_a_set_is_refused_and_its_jobs_can_share_it(self, log: Log) -> None:
        shared = LimitSet(Slots(1))
        with pytest.raises(InvalidOption, match=r"limits=\[\*limits\].*limits.aacquire\(\)"):
            Foreman(Browser, limits=shared)

        async def call(browser: Browser) -> float:
            async with shared.aacquire():
                return shared.stats["slots"].used

        bound = Browser.options().bind(log)
        async with Foreman(bound, limits=[*shared]) as foreman, shared.aacquire():
            job = await foreman.enqueue(call)
            await eventually(lambda: shared.stats["slots"].waiting == 1)
        assert await job.aresult() == 1


PROGRAM = """
import asyncio, sys
from pathlib import Path
from treadle import Foreman, Quit, Worker

class Browser(Worker):
    async def start(self):
        self.child = await asyncio.create_subprocess_exec("sleep", "600")
        Path(f"worker-{self.index}").write_text(str(self.child.pid))

    async def stop(self):
        self.child.kill()
        await self.child.wait()

async def stay(browser):
    Path("entered").touch()
    await asyncio.Event().wait()

async def leave(browser):
    raise Quit("banned")

async def main():
    async with Foreman(Browser, max_workers=2) as foreman:
        await foreman.enqueue(leave if "quit" in sys.argv else stay)
        try:
            await foreman.join()
        except Quit:
            sys.exit(foreman.exit_status)

asyncio.run(main())
"""


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_ctrl_c_leaves_no_worker_running(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    program = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "program.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    await until((tmp_path / "entered").exists)
    children = [int((tmp_path / f"worker-{index}").read_text()) for index in range(2)]
    program.send_signal(signal.SIGINT)
    _, said = await asyncio.to_thread(program.communicate, None, 30)
    assert "KeyboardInterrupt" in said
    assert all(map(_gone, children))


async def test_quit_gives_a_program_its_exit_status(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "program.py", "quit"], cwd=tmp_path, timeout=30,
        check=False,
    )  # fmt: skip
    assert done.returncode == 75
    children = [int((tmp_path / f"worker-{index}").read_text()) for index in range(2)]
    assert all(map(_gone, children))
