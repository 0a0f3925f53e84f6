"""The breaker of a task: it opens once for all foremen of a queue, and lets one probe through."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.foreman.breaker_user import make
from tests.foreman.kit import Manual, advance_until, listen, names
from tests.places import place
from treadle import Breaker, JobState, Retry, Skip, Treadle, Trip
from treadle.errors import BackendUnavailable, InvalidOption, Unsupported
from treadle.foreman import Foreman
from treadle.foreman.breakers import Breakers
from treadle.foreman.running import Noticed, Running
from treadle.policies.breaker import Outcome, Pass
from treadle.policies.parking import BREAKER_CELL
from treadle.ports import Cell, Claim, Feature, Write
from treadle.records import SessionInfo
from treadle.testing.clock import eventually, settle


class Service:
    """What the jobs call: down or not, and who called when."""

    def __init__(self, manual: Manual, breaker: Breaker) -> None:
        self.app, self.clock = manual
        self.down = True
        self.calls: list[float] = []
        self.running = self.most = 0
        self.answer: asyncio.Event | None = None

        @self.app.task(name="call", queue="api", breaker=breaker)
        async def call() -> None:
            self.calls.append(self.clock.monotonic())
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                if self.answer is not None:
                    await self.answer.wait()
                if self.down:
                    raise ConnectionError
            finally:
                self.running -= 1

        self.call = call

    async def after(self, seconds: float) -> int:
        """How often it is called in so many seconds from now."""
        before = len(self.calls)
        await self.clock.aadvance(seconds)
        return len(self.calls) - before


async def two_foremen(stack: AsyncExitStack, app: Treadle, **options: Any) -> list[Foreman]:
    """Two foremen, each with four places."""
    settings: Mapping[str, Any] = {"concurrency": 4, "lease": 3600, **options}
    return [await stack.enter_async_context(app.foreman(**settings)) for _ in range(2)]


# ---------------------------------------------------------------- a fleet in one process


async def test_it_opens_once_probes_once_and_closes_for_all(manual: Manual) -> None:
    service = Service(manual, Breaker(6, pause=10, factor=2))
    app, clock = manual
    heard = listen(app, "breaker.*")
    other: list[int] = []

    @app.task(name="other")
    async def fine(number: int) -> None:
        other.append(number)

    async with AsyncExitStack() as stack:
        await two_foremen(stack, app)
        # Three failures in each foreman: neither of them alone reaches the threshold.
        await service.call.aenqueue_many([()] * 6)
        await advance_until(clock, lambda: len(service.calls) == 6, step=0.01)
        await advance_until(clock, lambda: bool(heard), step=0.01)
        assert names(heard) == ["breaker.opened"]
        rule = await app.queue("api").arule()
        assert (rule.paused, rule.by, rule.max_running) == (True, "breaker", 1)

        await service.call.aenqueue_many([()] * 20)
        assert await service.after(9) == 0
        await fine.aenqueue(1)
        await advance_until(clock, lambda: other == [1], step=0.01)

        # The pause is over: one of twenty jobs for eight places goes ahead, and fails.
        assert await service.after(5) == 1
        assert names(heard) == ["breaker.opened", "breaker.half_open", "breaker.opened"]
        assert await service.after(10) == 0

        service.down = False
        service.most = 0
        service.answer = asyncio.Event()
        assert await service.after(30) == 1  # and it takes its time
        assert names(heard)[3:] == ["breaker.half_open"]
        service.answer.set()
        await advance_until(clock, lambda: len(service.calls) == 26, step=0.1)
        assert names(heard)[3:] == ["breaker.half_open", "breaker.closed"]
        assert [event.queue for event in heard] == ["api"] * 5
        assert [event.data["trips"] for event in heard] == [1, 1, 2, 2, 0]
    rule = await app.queue("api").arule()
    assert (rule.paused, rule.by, rule.max_running) == (False, "", None)


async def test_a_probe_that_says_nothing_is_followed_by_another(manual: Manual) -> None:
    app, clock = manual
    heard = listen(app, "breaker.half_open")

    @app.task(name="call", queue="api", retry=0, breaker=Breaker(1, pause=10))
    async def call(number: int) -> None:
        if number == 0:
            raise ConnectionError
        if number < 3:
            raise Skip("nothing to do")

    async with app.foreman(concurrency=1, lease=3600) as foreman:
        await call.aenqueue_many([(number,) for number in range(4)])
        await advance_until(clock, lambda: sum(foreman.stats.values()) >= 4)
    # Two were skipped; the third has closed it.
    assert [event.data["trips"] for event in heard] == [1] * 3
    assert not (await app.queue("api").arule()).paused


async def test_what_was_claimed_before_it_opened_is_no_probe(manual: Manual) -> None:
    service = Service(manual, Breaker(1, pause=10))
    app, clock = manual
    backend = await app.core.ready()
    probing: list[tuple[str, int]] = []
    breakers = Breakers(
        backend,
        app.tasks,
        clock=clock,
        probing=lambda queue, trips: probing.append((queue, trips)),
        told=lambda queue, change, trips: None,
    )
    await service.call.aenqueue()
    session = await backend.open_session(SessionInfo(name="one"))
    claimed = await backend.claim(Claim(session=session, request=1, limit=1, lease=3600))
    running = Running(claimed.leases[0], 3600.0, Pass(period=0), Noticed())
    running.began = clock.monotonic()
    async with app.foreman(concurrency=1, lease=3600):
        await service.call.aenqueue()
        await advance_until(clock, lambda: len(service.calls) == 1, step=0.01)
        await clock.aadvance(1)
        assert (await app.queue("api").arule()).paused
        for past in (0.0, 20.0):
            await clock.aadvance(past)
            breakers.begun(running)
            await settle()
        assert probing == []
        running.began = clock.monotonic()
        breakers.begun(running)
        await settle()
        assert probing == [("api", 1)]
    await breakers.aclose()


async def test_a_success_anywhere_sets_the_count_back(manual: Manual) -> None:
    service = Service(manual, Breaker(3, pause=10))
    app, clock = manual
    heard = listen(app, "breaker.*")
    async with AsyncExitStack() as stack:
        await two_foremen(stack, app)
        for _ in range(6):
            for down in (True, True, False):
                service.down = down
                await service.call.aenqueue()
                await clock.aadvance(1.1)
    assert len(service.calls) == 18
    assert heard == []


async def test_a_retry_waits_and_uses_up_nothing(manual: Manual) -> None:
    app, clock = manual
    runs: list[int] = []

    @app.task(name="call", queue="api", retry=Retry(5, backoff=1), breaker=Breaker(9, pause=30))
    async def call(number: int) -> None:
        runs.append(number)
        raise Trip("we are banned") if number == 0 else ConnectionError

    async with app.foreman(concurrency=1, lease=3600):
        first = await call.aenqueue(1)
        await clock.aadvance(0.5)
        await call.aenqueue(0)
        await clock.aadvance(0.1)
        assert runs == [1, 0]
        await clock.aadvance(29)
        assert runs == [1, 0]
        record = await first.arecord()
        assert (record.state, record.tries) == (JobState.QUEUED, 1)


async def test_the_last_trip_parks_the_queue_and_stops_nobody(manual: Manual) -> None:
    service = Service(manual, Breaker(1, pause=10, factor=1, trips=2))
    app, clock = manual
    async with app.foreman(concurrency=4, lease=3600) as foreman:
        await service.call.aenqueue_many([()] * 10)
        await clock.aadvance(1000)
        assert not foreman.stopping
        rule = await app.queue("api").arule()
        assert rule.paused
        assert rule.until is None
        calls = len(service.calls)
        service.down = False
        await app.queue("api").aresume()
        await advance_until(clock, lambda: foreman.stats["job.succeeded"] > 1)
        assert len(service.calls) > calls
    assert (await app.queue("api").arule()).max_running is None


async def test_each_queue_has_its_own(manual: Manual) -> None:
    service = Service(manual, Breaker(1, pause=10))
    app, clock = manual
    async with app.foreman(concurrency=4, lease=3600):
        await service.call.options(queue="elsewhere").aenqueue()
        await clock.aadvance(1)
        assert (await app.queue("elsewhere").arule()).paused
        assert not (await app.queue("api").arule()).paused
        await service.call.options(queue="api.acme").aenqueue()
        await clock.aadvance(1)
        assert (await app.queue("api").arule()).paused


async def test_the_breaker_of_the_foreman_is_left_alone(manual: Manual) -> None:
    service = Service(manual, Breaker(100, pause=10))
    app, clock = manual
    heard = listen(app, "breaker.*")
    async with app.foreman(concurrency=1, lease=3600, breaker=Breaker(2, pause=10)):
        await service.call.aenqueue_many([()] * 5)
        await advance_until(clock, lambda: len(service.calls) == 5, step=0.01)
    assert heard == []


# ---------------------------------------------------------------- what can go wrong


async def test_a_store_that_does_not_take_the_report_holds_no_verdict_up(
    manual: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(manual, Breaker(2, pause=10))
    app, clock = manual

    async def read(keys: Sequence[str]) -> Mapping[str, Cell]:
        raise BackendUnavailable("the store is away")

    async with app.foreman(concurrency=1, lease=3600) as foreman:
        monkeypatch.setattr(app.core.backend(), "read", read)
        await service.call.aenqueue_many([()] * 3)
        await advance_until(clock, lambda: foreman.stats["job.failed"] == 3)


@pytest.mark.parametrize("times", [3, 1000])
async def test_who_is_overtaken_looks_again(
    manual: Manual, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Another foreman writes between the look and the write: a few times, and for ever."""
    service = Service(manual, Breaker(2, pause=10))
    app, clock = manual
    real, left = app.core.backend().write, times

    async def write(writes: Sequence[Write]) -> bool:
        nonlocal left
        left -= 1
        return left < 0 and await real(writes)

    async with app.foreman(concurrency=1, lease=3600) as foreman:
        monkeypatch.setattr(app.core.backend(), "write", write)
        await service.call.aenqueue_many([()] * 2)
        await advance_until(clock, lambda: foreman.stats["job.failed"] == 2)
    assert (await app.queue("api").arule()).paused is (times == 3)


async def test_a_report_that_breaks_holds_no_verdict_up(
    manual: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(manual, Breaker(2, pause=10))
    app, clock = manual

    async def read(keys: Sequence[str]) -> Mapping[str, Cell]:
        raise ZeroDivisionError

    async with app.foreman(concurrency=1, lease=3600) as foreman:
        monkeypatch.setattr(app.core.backend(), "read", read)
        await service.call.aenqueue_many([()] * 3)
        await advance_until(clock, lambda: foreman.stats["job.failed"] == 3)


async def test_a_silent_store_holds_a_verdict_up_for_five_seconds(
    manual: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(manual, Breaker(2, pause=10))
    app, clock = manual
    async with app.foreman(concurrency=1, lease=3600) as foreman:
        monkeypatch.setattr(app.core.backend(), "read", _silent)
        await service.call.aenqueue()
        await clock.aadvance(4.9)
        assert (len(service.calls), foreman.stats["job.failed"]) == (1, 0)
        await clock.aadvance(0.2)
        assert foreman.stats["job.failed"] == 1


async def test_what_is_not_written_at_the_end_is_given_up(
    manual: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(manual, Breaker(2, pause=10))
    app, clock = manual
    backend = await app.core.ready()
    monkeypatch.setattr(backend, "read", _silent)
    job = await service.call.aenqueue()
    session = await backend.open_session(SessionInfo(name="one"))
    claimed = await backend.claim(Claim(session=session, request=1, limit=1))
    breakers = Breakers(
        backend,
        app.tasks,
        clock=clock,
        probing=lambda queue, trips: None,
        told=lambda queue, change, trips: None,
    )
    running = Running(claimed.leases[0], 30.0, Pass(period=0), Noticed())
    report = breakers.report(running, Breaker(2), Outcome.FAILURE, None)
    assert report is not None
    await settle()
    await breakers.aclose()
    assert report.cancelled()
    assert running.token.job_id == job.id


async def _silent(keys: Sequence[str]) -> Mapping[str, Cell]:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def test_what_a_newer_version_wrote_is_begun_anew(manual: Manual) -> None:
    service = Service(manual, Breaker(2, pause=10))
    app, clock = manual
    backend = await app.core.ready()
    await backend.write([Write(key=BREAKER_CELL + "api", value=b"\xc1")])
    async with app.foreman(concurrency=1, lease=3600):
        await service.call.aenqueue_many([()] * 2)
        await clock.aadvance(1)
    assert (await app.queue("api").arule()).paused


async def test_a_foreman_that_stops_tells_what_it_knows(manual: Manual) -> None:
    service = Service(manual, Breaker(1, pause=10))
    app, _ = manual
    await service.call.aenqueue()
    async with app.foreman(burst=True, lease=3600) as foreman:
        await foreman.join()
    assert (await app.queue("api").arule()).paused


def test_only_a_breaker_is_one() -> None:
    app = Treadle("memory://")
    with pytest.raises(InvalidOption, match="breaker"):

        @app.task(breaker=5)  # type: ignore[call-overload]  # what is refused
        def call() -> None: ...


async def test_a_store_without_shared_state_refuses(
    manual: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = manual.app
    features = frozenset({Feature.RECORDS, Feature.BOUNDS})
    monkeypatch.setattr(app.core.store.made, "features", features)
    with pytest.raises(Unsupported, match="shared"):
        Service(manual, Breaker())


# ---------------------------------------------------------------- a fleet of processes


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Any store."""
    with place(request, tmp_path) as url:
        yield url


async def test_who_takes_the_probe_tells_it(anywhere: str, tmp_path: Path) -> None:
    down = tmp_path / "down"
    down.touch()
    async with make(anywhere, tmp_path) as app:
        heard = listen(app, "breaker.*")
        async with AsyncExitStack() as stack:
            await two_foremen(stack, app)
            await app.tasks["call"].aenqueue_many([(number,) for number in range(40)])
            # The second opening is that of a probe that has failed.
            await eventually(lambda: names(heard).count("breaker.opened") == 2, 30)
            down.unlink()
            await eventually(lambda: "breaker.closed" in names(heard), 30)
    opened, half_open, closed = "breaker.opened", "breaker.half_open", "breaker.closed"
    assert names(heard) == [opened, half_open, opened, half_open, closed]
    assert {event.queue for event in heard} == {"api"}
    assert [event.data["trips"] for event in heard] == [1, 1, 2, 2, 0]
    # The one that tells of a probe has run it.
    assert [event.data["foreman"] for event in heard[1::2]] == [
        event.data["foreman"] for event in heard[2::2]
    ]


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store that processes can share."""
    with place(request, tmp_path) as url:
        yield url


class Ledger:
    """What the processes have noted."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ledger"
        self._path.touch()

    def lines(self, what: str) -> list[tuple[int, int]]:
        """The jobs and processes of the lines of one kind, in order."""
        words = [line.split() for line in self._path.read_text().splitlines()]
        return [(int(number), int(pid)) for kind, number, pid in words if kind == what]


@contextmanager
def foreman(url: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A foreman in a process of its own."""
    command = [sys.executable, "-m", "tests.foreman.breaker_user", url, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


@pytest.mark.slow
async def test_the_probe_of_a_killed_foreman_is_for_another(url: str, tmp_path: Path) -> None:
    ledger, down, hang = Ledger(tmp_path), tmp_path / "down", tmp_path / "hang"
    down.touch()
    async with make(url, tmp_path) as app:
        call = app.tasks["call"]
        with foreman(url, tmp_path) as one, foreman(url, tmp_path) as two:
            await call.aenqueue_many([(number,) for number in range(40)])
            await eventually(lambda: _refused(tmp_path) >= 3, 30)
            await _until_parked(app)
            hang.touch()  # from here on the service does not answer
            await eventually(lambda: bool(ledger.lines("hangs")), 30)
            at_opening = _refused(tmp_path)
            [(number, pid)] = ledger.lines("hangs")
            victim = one if one.pid == pid else two
            down.unlink()
            hang.unlink()
            await _seconds_pass(app, 2.0)
            assert ledger.lines("start")[-1] == (number, pid), "one probe, and nobody else"
            victim.send_signal(signal.SIGKILL)

            await eventually(lambda: len(ledger.lines("end")) == 40 - at_opening, 40)
            # The next probe was one, too: nothing else began before it had ended.
            assert _kinds(tmp_path)[2 * at_opening + 2 :][:2] == ["start", "end"]
        rule = await app.queue("api").arule()
        assert (rule.paused, rule.max_running) == (False, None)


def _kinds(folder: Path) -> list[str]:
    return [line.split()[0] for line in (folder / "ledger").read_text().splitlines()]


def _refused(folder: Path) -> int:
    return _kinds(folder).count("refused")


async def _until_parked(app: Treadle) -> None:
    """The queue is paused, and what was claimed before that has ended."""
    queue = app.queue("api")
    async with asyncio.timeout(30):
        while not (await queue.arule()).paused or (await queue.acounts()).get(JobState.RUNNING, 0):
            pass


async def _seconds_pass(app: Treadle, seconds: float) -> None:
    """Real ones: what must not happen has the time to."""
    await app.core.clock.sleep(seconds)
