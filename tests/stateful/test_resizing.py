"""More workers and fewer while a foreman works, their numbers, and the ways to stop it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.stateful.kit import Browser, Log, Session, until
from treadle import (
    Fail,
    Foreman,
    InvalidOption,
    JobState,
    Rate,
    Retry,
    Worker,
    WorkerNotStarted,
    backoff,
)
from treadle.clock import SystemClock
from treadle.errors import NotOpen
from treadle.pools.crewstats import PlaceStats
from treadle.testing import ManualClock


async def visit(browser: Browser, url: str) -> str:
    return await browser.visit(url)


class Gate:
    """Jobs that stay in their worker until they are let go."""

    def __init__(self) -> None:
        self.inside: list[int] = []
        self.open = asyncio.Event()

        async def hold(browser: Browser) -> int:
            self.inside.append(browser.index)
            await self.open.wait()
            return browser.index

        self.hold = hold


def states(foreman: Foreman[Any]) -> list[tuple[int, str]]:
    return [(worker.index, worker.state) for worker in foreman.workers]


class TestMore:
    async def test_new_workers_take_jobs_that_wait(self, log: Log) -> None:
        gate = Gate()
        async with Foreman(Browser.options().bind(log), max_workers=1) as foreman:
            jobs = [await foreman.enqueue(gate.hold) for _ in range(3)]
            await until(lambda: gate.inside == [0])
            await foreman.resize(3)
            await until(lambda: sorted(gate.inside) == [0, 1, 2])
            assert foreman.stats["running"] == 3
            gate.open.set()
            assert sorted([await job.aresult(timeout=10) for job in jobs]) == [0, 1, 2]
        assert log.count("stop") == 3

    async def test_slots_grow_with_them(self, log: Log) -> None:
        gate = Gate()
        async with Foreman(Browser.options().bind(log), max_workers=1, slots=2) as foreman:
            for _ in range(5):
                await foreman.enqueue(gate.hold)
            await until(lambda: gate.inside == [0, 0])
            await foreman.resize(2)
            await until(lambda: sorted(gate.inside) == [0, 0, 1, 1])
            gate.open.set()

    async def test_one_that_cannot_be_started_leaves_as_many_as_before(self, log: Log) -> None:
        worker = Browser.options().bind(log, failing=lambda start: start == 3)
        async with Foreman(worker, max_workers=1) as foreman:
            with pytest.raises(WorkerNotStarted, match="no display"):
                await foreman.resize(3)
            await until(lambda: states(foreman) == [(0, "idle")])
            assert log.events == ["start 0", "start 1", "start 2", "stop 1"]
            assert await (await foreman.enqueue(visit, "page")).aresult(timeout=10) == "page by 0"

    async def test_nobody_waits_for_a_resize_that_was_cancelled(self, log: Log) -> None:
        class Slow(Browser):
            async def start(self) -> None:
                if self.index:
                    await asyncio.Event().wait()
                await super().start()

        async with Foreman(Slow.options().bind(log), max_workers=1, patience=0.05) as foreman:
            resizing = asyncio.ensure_future(foreman.resize(2))
            await until(lambda: states(foreman) == [(0, "idle"), (1, "away")])
            resizing.cancel()
            await asyncio.wait({resizing})
            await until(lambda: states(foreman) == [(0, "idle")])

    async def test_the_delay_lies_between_the_new_ones_too(self, log: Log) -> None:
        clock = ManualClock()
        foreman = Foreman(Browser.options().bind(log), max_workers=1, start_delay=2, clock=clock)
        async with foreman:
            resizing = asyncio.ensure_future(foreman.resize(3))
            await until(lambda: log.count("start") == 2)
            await clock.aadvance(1.9)
            assert log.count("start") == 2
            await clock.aadvance(0.1)
            await resizing
            assert log.count("start") == 3

    async def test_workers_that_exist_already_are_not_made_more_of(self, log: Log) -> None:
        async with Foreman.from_workers([Browser(log), Browser(log)]) as foreman:
            with pytest.raises(InvalidOption, match="more than the 2 workers"):
                await foreman.resize(3)
            await foreman.resize(1)
            await until(lambda: states(foreman) == [(0, "idle")])
            await foreman.resize(2)
            assert states(foreman) == [(0, "idle"), (1, "idle")]


class TestFewer:
    async def test_those_too_many_end_the_job_that_they_have(self, log: Log) -> None:
        gate = Gate()
        async with Foreman(Browser.options().bind(log), max_workers=3) as foreman:
            jobs = [await foreman.enqueue(gate.hold) for _ in range(5)]
            await until(lambda: sorted(gate.inside) == [0, 1, 2])
            await foreman.resize(1)
            assert states(foreman) == [(0, "busy"), (1, "leaving"), (2, "leaving")]
            assert log.count("stop") == 0
            gate.open.set()
            results = [await job.aresult(timeout=10) for job in jobs]
            assert sorted(results) == [0, 0, 0, 1, 2]
            await until(lambda: states(foreman) == [(0, "idle")])
            assert sorted(log.events[3:]) == ["stop 1", "stop 2"]

    async def test_idle_ones_stop_at_once_and_their_numbers_are_free_again(self, log: Log) -> None:
        async with Foreman(Session.options().bind(log), max_workers=2) as foreman:
            await foreman.resize(1)
            await until(lambda: log.count("stop") == 1)
            await foreman.resize(2)
            assert log.events == ["start 0", "start 1", "stop 1", "start 1"]

    async def test_a_worker_that_is_restarted_meanwhile_leaves_after_that(self, log: Log) -> None:
        entered, go = asyncio.Event(), asyncio.Event()

        class Slow(Browser):
            async def restart(self) -> None:
                entered.set()
                await go.wait()

        worker = Slow.options().bind(log)
        async with Foreman(worker, max_workers=2, restart_every=1) as foreman:
            await foreman.enqueue(visit, "page")
            await entered.wait()
            [index] = [one.index for one in foreman.workers if one.state == "away"]
            await foreman.resize(1)
            go.set()
            await until(lambda: states(foreman) == [(0, "idle")])
            assert log.events[2:] == ["stop 1"]
            assert index in (0, 1)

    async def test_a_dead_one_goes_first(self, log: Log) -> None:
        clock, gate = ManualClock(), Gate()
        worker = Browser.options().bind(log, failing=lambda start: start > 2 and not recovered)
        recovered = []

        async def fatal(browser: Browser) -> None:
            raise Fail("dead", restart_worker=True)

        async with Foreman(worker, max_workers=2, clock=clock) as foreman:
            await (await foreman.enqueue(fatal)).await_for()
            held = await foreman.enqueue(gate.hold)
            await until(lambda: len(gate.inside) == 1)
            waiting = await foreman.enqueue(visit, "page")
            for _ in range(100):
                if "dead" in [worker.state for worker in foreman.workers]:
                    break
                await clock.aadvance(1)
            [alive] = gate.inside
            await foreman.resize(1)
            await until(lambda: states(foreman) == [(alive, "busy")])
            recovered.append(True)
            await foreman.resize(2)
            assert states(foreman) in ([(0, "busy"), (1, "idle")], [(0, "idle"), (1, "busy")])
            gate.open.set()
            await asyncio.gather(held.await_for(), waiting.await_for())

    async def test_who_comes_after_another_one_goes_on_with_its_rate(self, log: Log) -> None:
        clock = ManualClock()
        limits = [Rate(1, per=60, scope="worker")]
        worker = Browser.options().bind(log)
        async with Foreman(worker, max_workers=1, limits=limits, clock=clock) as foreman:
            await foreman.resize(2)
            for _ in range(2):
                await foreman.enqueue(visit, "page")
            await until(lambda: foreman.stats["job.succeeded"] == 2)
            await foreman.resize(1)
            await foreman.resize(2)
            late = await foreman.enqueue(visit, "page")
            await clock.aadvance(50)
            assert await late.astate() is JobState.QUEUED
            await clock.aadvance(10)
            await until(lambda: foreman.stats["job.succeeded"] == 3)

    async def test_jobs_are_neither_lost_nor_repeated_while_it_changes(self, log: Log) -> None:
        async with Foreman(Browser.options().bind(log), max_workers=3, backlog=None) as foreman:
            jobs = []
            for number in range(60):
                jobs.append(await foreman.enqueue(visit, f"{number}"))
                if number % 6 == 0:
                    await foreman.resize(1 + number // 6 % 4)
            await foreman.join(timeout=20)
            results = [await job.aresult() for job in jobs]
        assert [text.partition(" ")[0] for text in results] == [f"{n}" for n in range(60)]
        assert log.count("start") == log.count("stop")

    @pytest.mark.parametrize("number", [0, -1, 1.5, "2"])
    async def test_numbers_that_cannot_be_are_refused(self, log: Log, number: Any) -> None:
        async with Foreman(Browser.options().bind(log), max_workers=1) as foreman:
            with pytest.raises(InvalidOption, match="max_workers"):
                await foreman.resize(number)

    async def test_outside_of_its_life_there_is_nothing_to_resize(self, log: Log) -> None:
        foreman = Foreman(Browser.options().bind(log), max_workers=1)
        assert foreman.workers == ()
        with pytest.raises(NotOpen):
            await foreman.resize(2)
        async with foreman:
            pass
        with pytest.raises(NotOpen):
            await foreman.resize(2)


class TestNumbers:
    async def test_each_worker_has_those_of_the_workers_of_a_pool(self, log: Log) -> None:
        clock = ManualClock()

        async def fail(browser: Browser) -> None:
            raise Fail("no", restart_worker=True)

        worker = Browser.options().bind(log)
        async with Foreman(worker, max_workers=1, clock=clock) as foreman:
            opened = clock.now()
            await (await foreman.enqueue(visit, "page")).await_for()
            await clock.aadvance(5)
            await (await foreman.enqueue(fail)).await_for()
            await until(lambda: states(foreman) == [(0, "idle")])
            [numbers] = foreman.workers
            assert isinstance(numbers, PlaceStats)
            assert (numbers.total, numbers.ended, numbers.failed, numbers.restarts) == (2, 2, 1, 1)
            assert numbers.started == opened + 5
            assert (numbers.pid, numbers.rss, numbers.abandoned) == (None, None, 0)

    async def test_a_worker_of_its_own_process_names_it(self) -> None:
        async with Foreman(Doubler, mode="process", max_workers=2) as foreman:
            jobs = [await foreman.enqueue(Doubler.where) for _ in range(6)]
            pids = {await job.aresult(timeout=30) for job in jobs}
            known = {worker.pid for worker in foreman.workers}
            assert pids <= known
            assert len(known) == 2
            assert os.getpid() not in known
            if Path("/proc").exists():
                sizes = [worker.rss or 0 for worker in foreman.workers]
                assert min(sizes) > 1 << 20
            assert sum(worker.busy for worker in foreman.workers) > 0

    async def test_its_jobs_are_counted_by_state(self, log: Log) -> None:
        gate = Gate()
        async with Foreman(Browser.options().bind(log), max_workers=1) as foreman:
            for _ in range(3):
                await foreman.enqueue(gate.hold)
            await until(lambda: gate.inside == [0])
            counts = await foreman.counts()
            assert (counts[JobState.RUNNING], counts[JobState.QUEUED]) == (1, 2)
            gate.open.set()


class TestStopping:
    async def test_it_drains_what_it_was_given_retries_included(self, log: Log) -> None:
        tried: list[int] = []

        async def flaky(browser: Browser, number: int) -> int:
            tried.append(number)
            if tried.count(number) == 1:
                raise OSError("reset")
            return number

        retry = Retry(3, backoff=backoff.fixed(0))
        async with Foreman(Browser.options().bind(log), max_workers=2, retry=retry) as foreman:
            jobs = [await foreman.enqueue(flaky, number) for number in range(6)]
            await foreman.stop()
            assert [await job.aresult() for job in jobs] == list(range(6))
            assert log.count("stop") == 2
            with pytest.raises(NotOpen, match="has stopped"):
                await foreman.enqueue(flaky, 7)
            await foreman.stop()

    async def test_meanwhile_it_takes_no_jobs_and_another_one_may_make_it_hurry(
        self, log: Log
    ) -> None:
        gate = Gate()
        async with Foreman(Browser.options().bind(log), max_workers=1) as foreman:
            jobs = [await foreman.enqueue(gate.hold) for _ in range(3)]
            await until(lambda: gate.inside == [0])
            draining = asyncio.ensure_future(foreman.stop())
            await SystemClock().sleep(0)
            with pytest.raises(NotOpen, match="is stopping"):
                await foreman.enqueue(gate.hold)
            with pytest.raises(NotOpen, match="is stopping"):
                await foreman.try_enqueue(gate.hold)
            await foreman.stop(drain=False, timeout=0)
            await draining
        assert [await job.astate() for job in jobs] == [JobState.QUEUED] * 3

    async def test_an_end_of_the_time_keeps_what_has_not_ended(self, log: Log) -> None:
        clock = ManualClock()
        gate = Gate()
        foreman = Foreman(Browser.options().bind(log), max_workers=1, clock=clock)
        async with foreman:
            jobs = [await foreman.enqueue(gate.hold) for _ in range(3)]
            await until(lambda: gate.inside == [0])
            stopping = asyncio.ensure_future(foreman.stop(timeout="10s"))
            await SystemClock().sleep(0)
            await clock.aadvance(9)
            assert not stopping.done()
            await clock.aadvance(1)
            await stopping
        # They were given back uncounted, and can be looked at.
        assert [await job.astate() for job in jobs] == [JobState.QUEUED] * 3
        assert (await foreman.counts())[JobState.QUEUED] == 3
        assert (await jobs[0].arecord()).tries == 0

    async def test_without_draining_what_runs_has_the_time(self, log: Log) -> None:
        clock = ManualClock()
        gate = Gate()
        foreman = Foreman(Browser.options().bind(log), max_workers=1, clock=clock, grace=1)
        async with foreman:
            jobs = [await foreman.enqueue(gate.hold) for _ in range(2)]
            await until(lambda: gate.inside == [0])
            stopping = asyncio.ensure_future(foreman.stop(drain=False, timeout=20))
            await until(lambda: foreman.stopping)
            await clock.aadvance(9)
            assert not stopping.done()
            gate.open.set()
            await stopping
        assert [await job.astate() for job in jobs] == [JobState.SUCCEEDED, JobState.QUEUED]

    async def test_a_job_may_ask_for_it_and_ends(self, log: Log) -> None:
        async with Foreman(Browser.options().bind(log), max_workers=1) as foreman:

            async def last(browser: Browser) -> str:
                await foreman.stop()
                return "said"

            job = await foreman.enqueue(last)
            assert await job.aresult(timeout=10) == "said"
            await until(lambda: foreman.stopping)

    async def test_who_waits_for_it_and_goes_away_does_not_change_it(self, log: Log) -> None:
        gate = Gate()
        async with Foreman(Browser.options().bind(log), max_workers=1) as foreman:
            job = await foreman.enqueue(gate.hold)
            await until(lambda: gate.inside == [0])
            waiting = asyncio.ensure_future(foreman.stop())
            await SystemClock().sleep(0)
            waiting.cancel()
            gate.open.set()
            await until(lambda: foreman.stopping)
            assert await job.aresult(timeout=10) == 0

    async def test_a_time_that_is_none_is_refused(self, log: Log) -> None:
        async with Foreman(Browser.options().bind(log), max_workers=1) as foreman:
            with pytest.raises(InvalidOption, match="timeout"):
                await foreman.stop(timeout="soon")


class Doubler(Worker):
    """A worker of a process."""

    def where(self) -> int:
        return os.getpid()
