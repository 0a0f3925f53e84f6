"""Short calls that a process is given ahead of their turn, and those that are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.foreman.processjobs import add, app, die, hold, once, stamp
from tests.foreman.test_elsewhere import Host, Line, turns
from treadle.errors import JobFailed, WorkerNotStarted
from treadle.pools.sites.account import Account, compact
from treadle.pools.sites.ahead import AheadSite
from treadle.pools.sites.site import Call, Ended
from treadle.pools.submission import Submission
from treadle.testing import ManualClock, eventually

SHORT, LONG = 0.001, 0.006


class KeepingHost(Host):
    """A process that carries out what it is given one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[int] = []

    def submit_together(self, calls: Sequence[Submission]) -> None:
        self.messages.append(len(calls))
        self.calls += calls
        self.begin()

    def begin(self) -> None:
        for call in self.calls:
            if not call.future.done():
                call.future.begin()
                return

    def take_back(self, calls: Sequence[Submission]) -> list[Submission]:
        self.calls = [call for call in self.calls if call not in calls]
        self.total -= len(calls)
        return list(calls)

    def interrupt(self, call: Submission, error: BaseException | None = None) -> bool:
        ended = call.future.end(None, error)
        self.begin()
        return ended

    def end(self, number: int, took: float) -> None:
        self.calls[number].future.end(compact(Account(result=b"%d" % number, took=took)))
        self.begin()


class Site(AheadSite):
    """Two hosts at the most that are at hand."""

    def __init__(self, clock: ManualClock, hosts: int) -> None:
        super().__init__(
            "jobs", clock=clock, lesson=lambda name: (name,), patience=1.0, stopping=asyncio.Event()
        )
        self.hosts: list[KeepingHost] = []
        self._bound = hosts

    def _most(self) -> int:
        return self._bound

    def _made(self, index: int) -> KeepingHost:
        self.hosts.append(KeepingHost())
        return self.hosts[-1]


@pytest.fixture
async def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def site(clock: ManualClock) -> AsyncIterator[Site]:
    site = Site(clock, 1)
    yield site
    await site.aclose()


@pytest.fixture
async def pair(clock: ManualClock) -> AsyncIterator[Site]:
    site = Site(clock, 2)
    yield site
    await site.aclose()


def run(site: Site, line: Line, *, alone: bool = False, name: str = "task") -> asyncio.Task[Ended]:
    return asyncio.ensure_future(site.run(Call(name, b"", alone=alone), line))


async def known(site: Site, took: float, host: int = 0) -> KeepingHost:
    """A host, once a call of the task has taken so long there."""
    job = run(site, Line())
    await turns()
    site.hosts[host].end(-1, took)
    await job
    return site.hosts[host]


async def test_what_waits_goes_together_once_calls_are_known_to_be_short(site: Site) -> None:
    lines = [Line() for _ in range(8)]
    jobs = [run(site, line) for line in lines]
    await turns()
    host = site.hosts[0]
    # Nobody knows how long they take.
    assert (len(host.calls), host.messages) == (1, [])
    host.end(0, SHORT)
    await turns()
    assert (len(host.calls), host.messages) == (2, [1])
    host.end(1, SHORT)
    assert (len(host.calls), host.messages) == (8, [1, 6])
    # They begin one after another all the same.
    assert [line.starts for line in lines] == [1, 1, 1, 0, 0, 0, 0, 0]
    host.end(2, SHORT)
    assert [line.starts for line in lines] == [1, 1, 1, 1, 0, 0, 0, 0]
    for number in range(3, 8):
        host.end(number, SHORT)
    assert [(await job).result for job in jobs] == [b"%d" % number for number in range(8)]
    assert {line.starts for line in lines} == {1}


async def test_a_lone_call_and_long_calls_wait_for_nothing_and_nobody(site: Site) -> None:
    host = await known(site, LONG)
    jobs = [run(site, Line()) for _ in range(3)]
    await turns()
    assert len(host.calls) == 2
    for number in (1, 2, 3):
        host.end(number, LONG)
        # One more, since two take longer than what a process may have before it.
        assert len(host.calls) == min(4, number + 2)
    await asyncio.gather(*jobs)


async def test_a_call_whose_start_must_be_known_is_given_to_a_process_that_is_idle(
    site: Site,
) -> None:
    host = await known(site, SHORT)
    first, alone, last = run(site, Line()), run(site, line := Line(), alone=True), run(site, Line())
    await turns()
    assert len(host.calls) == 2
    host.end(1, SHORT)
    assert (len(host.calls), line.starts) == (3, 1)
    host.end(2, SHORT)
    assert len(host.calls) == 4
    host.end(3, SHORT)
    await asyncio.gather(first, alone, last)


async def test_what_is_behind_a_call_that_takes_long_goes_to_whoever_is_free_first(
    pair: Site, clock: ManualClock
) -> None:
    site = pair
    lines = [Line() for _ in range(6)]
    jobs = [run(site, line) for line in lines]
    await turns()
    first, second = site.hosts
    assert (len(first.calls), len(second.calls)) == (1, 1)
    first.end(0, SHORT)
    await turns()
    first.end(1, SHORT)
    assert (len(first.calls), len(second.calls)) == (5, 1)
    await clock.aadvance(0.01)
    second.end(0, SHORT)
    assert len(first.calls) == 5
    await clock.aadvance(0.015)
    # The first of those that the first host has goes on; the others are with the second.
    assert (len(first.calls), len(second.calls)) == (3, 3)
    assert [line.starts for line in lines] == [1, 1, 1, 1, 1, 0]
    second.end(1, SHORT)
    second.end(2, SHORT)
    first.end(2, 1.0)
    ended = await asyncio.gather(*jobs)
    assert all(one.error is None for one in ended)
    assert {line.starts for line in lines} == {1}


async def test_what_was_taken_back_and_is_cancelled_is_given_to_nobody(
    site: Site, clock: ManualClock
) -> None:
    host = await known(site, SHORT)
    first, second, third = [run(site, Line()) for _ in range(3)]
    await turns()
    host.end(1, SHORT)
    assert len(host.calls) == 4
    await clock.aadvance(0.03)
    assert len(host.calls) == 3
    third.cancel()
    await turns()
    assert third.cancelled()
    host.end(2, SHORT)
    assert len(host.calls) == 3
    await asyncio.gather(first, second)


async def test_where_no_process_can_be_started_all_are_set_aside_and_none_has_failed(
    site: Site,
) -> None:
    host = await known(site, SHORT)
    jobs = [run(site, Line()) for _ in range(4)]
    await turns()
    host.end(1, SHORT)
    # The first of them is next, and each of the others as the one before it ends.
    for call in host.calls[2:]:
        call.future.end(None, WorkerNotStarted("no memory", worker="jobs"))
    ended = [await job for job in jobs]
    assert [one.undecodable for one in ended] == [False, True, True, True]


async def test_nothing_is_between_a_call_and_what_its_process_is_told_of_its_task(
    site: Site,
) -> None:
    first = run(site, Line(), name="late")
    await turns()
    host = site.hosts[0]
    host.calls[0].future.end(None)
    await turns()
    host.calls[1].future.end(None)
    await turns()
    host.end(2, SHORT)
    await first
    # It is known to be short, but not to each process.
    jobs = [run(site, Line(), name="late") for _ in range(3)]
    await turns()
    for number in (3, 4, 5):
        assert len(host.calls) == number + 1
        host.end(number, SHORT)
    await asyncio.gather(*jobs)


async def test_nothing_is_given_behind_what_could_not_be_taken_back(
    site: Site, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = await known(site, SHORT)
    jobs = [run(site, Line()) for _ in range(4)]
    await turns()
    host.end(1, SHORT)
    take_back = host.take_back
    # The second one begins in this moment, and may be passed over and sent again.
    monkeypatch.setattr(host, "take_back", lambda calls: take_back(calls[1:]))
    await clock.aadvance(0.03)
    assert len(host.calls) == 4
    host.end(2, SHORT)
    assert len(host.calls) == 4
    host.end(3, SHORT)
    assert len(host.calls) == 5
    host.end(4, SHORT)
    await asyncio.gather(*jobs)


# ------------------------------------------------------------- with processes


@pytest.fixture
async def foreman(tmp_path: Path) -> AsyncIterator[Any]:
    with app.override(url=f"sqlite:///{tmp_path}/jobs.db"):
        async with app, app.foreman(grace=1, concurrency=60) as foreman:
            for number in range(8):
                assert await (await add.aenqueue(number, 1)).aresult(timeout=20) == number + 1
            yield foreman


async def test_a_death_among_calls_ahead_is_a_crash_of_one_alone(foreman: Any) -> None:
    before = [await add.aenqueue(number, 1) for number in range(30)]
    dying = await die.aenqueue(3)
    after = [await add.aenqueue(number, 2) for number in range(30)]
    assert [await job.aresult(timeout=20) for job in before] == list(range(1, 31))
    assert [await job.aresult(timeout=20) for job in after] == list(range(2, 32))
    with pytest.raises(JobFailed):
        await dying.aresult(timeout=20)
    records = [await job.arecord() for job in (*before, *after)]
    assert {(record.tries, record.crashes) for record in records} == {(0, 0)}


async def test_no_call_waits_behind_one_that_turns_out_to_be_long(
    foreman: Any, tmp_path: Path
) -> None:
    # Of a task that was short until now; it ends when all others have.
    sign = tmp_path / "sign"
    sign.touch()
    for _ in range(4):
        await (await hold.aenqueue(sign)).aresult(timeout=20)
    sign.unlink()
    others = [await add.aenqueue(number, 1) for number in range(30)]
    held = await hold.aenqueue(sign)
    others += [await add.aenqueue(number, 1) for number in range(30)]
    assert [await job.aresult(timeout=20) for job in others] == [*range(1, 31), *range(1, 31)]
    sign.touch()
    await held.aresult(timeout=20)


async def test_each_call_is_carried_out_once_also_when_it_was_taken_back(
    foreman: Any, tmp_path: Path
) -> None:
    jobs = []
    for number in range(120):
        # Now and then one takes longer than all that may be ahead.
        slow = 0.05 if number % 40 == 20 else 0.0
        jobs.append(await stamp.aenqueue(tmp_path / f"{number}", slow))
    for job in jobs:
        await job.aresult(timeout=30)
    assert {(tmp_path / f"{number}").read_text() for number in range(120)} == {"x"}


async def test_a_job_that_runs_at_most_once_is_known_to_have_started(
    foreman: Any, tmp_path: Path
) -> None:
    jobs = [await add.aenqueue(number, 1) for number in range(20)]
    lone = await once.aenqueue(tmp_path / "began")
    await eventually((tmp_path / "began").exists)
    await foreman.stop()
    with pytest.raises(JobFailed) as caught:
        await lone.aresult(timeout=20)
    assert caught.value.cause == "crashed"
    assert all([await job.aresult(timeout=20) for job in jobs])
