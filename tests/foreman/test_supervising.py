"""What a supervisor does about the ends of its processes, which follow a script here."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from errno import EAGAIN, ENOENT, ENOMEM
from pathlib import Path
from typing import Any

import pytest

from tests.foreman.kit import Manual, advance_until
from treadle import JobState
from treadle.foreman.page import Page
from treadle.foreman.serve import RECYCLED
from treadle.foreman.status import QUIT
from treadle.foreman.supervisor import Supervisor
from treadle.ports import Claim
from treadle.records import SessionInfo, Token
from treadle.testing import eventually


class Scripted(Supervisor):
    """Processes that end as the script says: (exit status, nonce of the session or 0).

    An error in the script is what the start of a process raises.
    """

    def __init__(
        self, manual: Manual, script: Sequence[tuple[int, int] | OSError], **options: Any
    ) -> None:
        options = {"burst": True, **options}
        super().__init__(manual.app.core, "none:app", processes=1, **options)
        self.script = list(script)
        self.began: list[float] = []
        self.on_child: Callable[[], None] = lambda: None

    async def _start(self, page: Path) -> Any:
        self.began.append(self._core.clock.monotonic())
        Page.create(page, 4)
        now = self.script[0]
        if isinstance(now, OSError):
            self.script.pop(0)
            raise now

    async def _serve(self, number: int, page: Path, child: Any) -> int:
        now = self.script.pop(0)
        assert not isinstance(now, OSError)
        status, nonce = now
        if nonce:
            written = Page(page)
            written.open(nonce)
            written.lease(Token("job", 1, nonce))
            written.close()
        self.on_child()
        return status


async def finish(manual: Manual, supervisor: Supervisor) -> int:
    running = asyncio.ensure_future(supervisor.run())
    await advance_until(manual.clock, running.done)
    return running.result()


async def test_a_process_that_makes_room_is_replaced_at_once(manual: Manual) -> None:
    supervisor = Scripted(manual, [(RECYCLED, 1), (RECYCLED, 1), (0, 1)])
    assert await finish(manual, supervisor) == 0
    assert supervisor.began == [0.0, 0.0, 0.0]


async def test_one_that_ends_by_itself_is_replaced_where_work_may_come(manual: Manual) -> None:
    supervisor = Scripted(manual, [(0, 1), (0, 1), (QUIT, 1)], burst=False)
    assert await finish(manual, supervisor) == QUIT
    assert supervisor.began == [0.0, 0.0, 0.0]


async def test_one_that_ends_well_without_having_begun_does_not_spin(manual: Manual) -> None:
    supervisor = Scripted(manual, [(0, 0)] * 9, burst=False)
    assert await finish(manual, supervisor) == 1
    assert len(supervisor.began) == 5
    assert supervisor.began[-1] > 3


async def test_deaths_are_followed_by_growing_pauses(manual: Manual) -> None:
    supervisor = Scripted(manual, [(-9, 1)] * 5 + [(0, 1)])
    assert await finish(manual, supervisor) == 0
    pauses = [b - a for a, b in zip(supervisor.began, supervisor.began[1:], strict=False)]
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0]


async def test_what_does_not_start_is_given_up(
    manual: Manual, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Scripted(manual, [(3, 0)] * 9)
    assert await finish(manual, supervisor) == 1
    assert len(supervisor.began) == 5
    assert "exit status 3" in caplog.text


@pytest.mark.parametrize("number", [EAGAIN, ENOMEM, ENOENT])
async def test_a_machine_that_starts_no_process_is_asked_again(
    manual: Manual, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    refused = OSError(number, os.strerror(number))
    supervisor = Scripted(manual, [refused] * 9 + [(-9, 1), refused, (0, 1)])
    assert await finish(manual, supervisor) == 0
    pauses = [b - a for a, b in zip(supervisor.began, supervisor.began[1:], strict=False)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 0.0, 0.5]
    assert caplog.text.count("foreman.not_started") == 10
    assert os.strerror(number) in caplog.text


async def test_a_stop_ends_the_wait_for_a_machine_that_starts_no_process(manual: Manual) -> None:
    supervisor = Scripted(manual, [OSError(EAGAIN, "no")] * 2)
    running = asyncio.ensure_future(supervisor.run())
    await eventually(lambda: len(supervisor.began) == 1)
    supervisor.stop("asked")
    assert await running == 0
    assert len(supervisor.began) == 1


async def test_quit_stops_all(manual: Manual) -> None:
    assert await finish(manual, Scripted(manual, [(QUIT, 1)])) == QUIT


async def test_nothing_is_started_after_a_stop(manual: Manual) -> None:
    supervisor = Scripted(manual, [(RECYCLED, 1)])
    supervisor.on_child = lambda: supervisor.stop("asked")
    assert await finish(manual, supervisor) == 0
    supervisor = Scripted(manual, [(-9, 1), (-9, 1)])
    running = asyncio.ensure_future(supervisor.run())
    await eventually(lambda: len(supervisor.began) == 2)  # it pauses now
    supervisor.stop("asked")
    assert await running == 0
    supervisor = Scripted(manual, [])
    supervisor._stopping = True
    assert await supervisor.run() == 0


async def test_a_death_that_cannot_be_reported_is_said(
    flaky: Manual, caplog: pytest.LogCaptureFixture
) -> None:
    flaky.backend.fail("extend", "refused")
    assert await finish(flaky, Scripted(flaky, [(-9, 1), (0, 1)])) == 0
    assert "death.not_reported" in caplog.text


async def test_a_death_is_blamed_on_what_had_started_only(manual: Manual, tmp_path: Path) -> None:
    """The others of the batch are free at once, and no suspects."""

    @manual.app.task(name="work")
    async def work() -> None: ...

    jobs = await work.aenqueue_many([()] * 3)
    backend = await manual.app.core.ready()
    dead = await backend.open_session(SessionInfo(name="dead"))
    claimed = await backend.claim(Claim(session=dead, request=1, limit=3))
    Page.create(tmp_path / "page", 3)
    page = Page(tmp_path / "page")
    page.open(dead.nonce)
    for lease in claimed.leases:
        page.lease(lease.token)
    page.started(claimed.leases[0].token)
    page.close()
    assert await Scripted(manual, [])._report(tmp_path / "page", -9)
    records = [await job.arecord() for job in jobs]
    assert {record.state for record in records} == {JobState.QUEUED}
    assert [(record.crashes, record.suspect) for record in records] == [
        (1, True),
        (0, False),
        (0, False),
    ]


class Process:
    """A child that notes its signals and ends when it is killed."""

    def __init__(self) -> None:
        self.pid = 1
        self.signals: list[int] = []
        self.ended = asyncio.Event()
        self.stdin = self

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL:
            self.ended.set()
            raise ProcessLookupError

    def write(self, data: bytes) -> None:
        raise ConnectionResetError  # it died before it had its orders

    def close(self) -> None: ...

    async def wait(self) -> int:
        await self.ended.wait()
        return -9


async def test_a_child_that_does_not_stop_is_killed(
    manual: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process()
    supervisor = Supervisor(manual.app.core, "none:app", processes=1, grace=1)

    async def spawn(*args: Any, **options: Any) -> Process:
        supervisor.stop("asked")  # while it starts
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn)
    running = asyncio.ensure_future(supervisor.run())
    await eventually(lambda: process.signals == [signal.SIGTERM])
    assert supervisor.pids == [1]
    supervisor.stop("asked again")
    assert await running == 0
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]
    assert supervisor.pids == []


async def test_a_child_that_does_not_keep_its_grace_is_killed(
    manual: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process()

    async def spawn(*args: Any, **options: Any) -> Process:
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn)
    supervisor = Supervisor(manual.app.core, "none:app", processes=1, grace=1)
    running = asyncio.ensure_future(supervisor.run())
    await eventually(lambda: supervisor.pids == [1])
    supervisor.stop("asked")
    assert supervisor._last is not None
    loop = asyncio.get_running_loop()
    assert 16 < supervisor._last.when() - loop.time() <= 17  # twice the grace, and a little
    supervisor._kill()
    assert await running == 0
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]


def test_a_child_whose_supervisor_died_before_it_gave_orders_ends_quietly() -> None:
    """As of many that are started while their supervisor is killed."""
    ended = subprocess.run(
        [sys.executable, "-m", "treadle.foreman.child"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
