"""Which jobs a foreman takes, in which order, and when it holds back."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.foreman.kit import Manual, advance_until, listen, names, record_of, steal
from treadle import Breaker, JobState, Retry, Treadle, Trip
from treadle.errors import InvalidOption
from treadle.foreman.serve import serve
from treadle.foreman.status import QUIT
from treadle.ports import Claim, Held
from treadle.records import NewJob, SessionInfo, Token
from treadle.testing import ManualClock, eventually


@pytest.fixture
def ran(app: Treadle) -> list[str]:
    """What ran, in order."""
    done: list[str] = []

    @app.task(name="say")
    async def say(word: str) -> None:
        done.append(word)

    return done


async def burst(app: Treadle, **options: Any) -> None:
    async with app.foreman(burst=True, **options) as foreman:
        await foreman.join()


async def test_a_higher_priority_goes_first(app: Treadle, ran: list[str]) -> None:
    say = app.core.tasks["say"]
    for word, priority in [("later", -5), ("first", 0), ("second", 0), ("now", 9)]:
        await say.options(priority=priority).aenqueue(word)
    await burst(app, concurrency=1)
    assert ran == ["now", "first", "second", "later"]


async def test_queues_are_served_in_the_order_given(app: Treadle, ran: list[str]) -> None:
    say = app.core.tasks["say"]
    for queue in ["b", "a", "c.x"] * 2:
        await say.options(queue=queue).aenqueue(queue)
    await burst(app, concurrency=1, queues=["a", "c", "b"])
    assert ran == ["a", "a", "c.x", "c.x", "b", "b"]


async def test_weights_share_the_places(app: Treadle, ran: list[str]) -> None:
    say = app.core.tasks["say"]
    for queue in ["a"] * 8 + ["b"] * 8:
        await say.options(queue=queue).aenqueue(queue)
    await burst(app, concurrency=1, queues=["a:3", "b"])
    assert Counter(ran[:8]) == {"a": 6, "b": 2}
    assert Counter(ran) == {"a": 8, "b": 8}


async def test_what_is_excluded_stays(app: Treadle, ran: list[str]) -> None:
    say = app.core.tasks["say"]
    jobs = {
        queue: await say.options(queue=queue).aenqueue(queue)
        for queue in ["mail", "mail.bulk", "mail.bulk.now", "other"]
    }
    await burst(app, queues=["mail", "mail.bulk.now"], exclude=["mail.bulk"])
    assert sorted(ran) == ["mail", "mail.bulk.now"]
    assert (await jobs["mail.bulk"].arecord()).state is JobState.QUEUED
    assert (await jobs["other"].arecord()).state is JobState.QUEUED


async def test_several_foremen_share_the_work(app: Treadle) -> None:
    running: list[str] = []
    all_here = asyncio.Event()

    @app.task(name="meet")
    async def meet() -> None:
        running.append("here")
        if len(running) == 4:
            all_here.set()
        await all_here.wait()

    jobs = await meet.aenqueue_many([()] * 4)
    async with asyncio.timeout(30), app.foreman(concurrency=2), app.foreman(concurrency=2):
        for job in jobs:
            await job.aresult(timeout=20)
    assert len(running) == 4


async def test_no_more_run_at_a_time_than_there_are_places(app: Treadle) -> None:
    now: list[int] = [0]
    most: list[int] = [0]

    @app.task(name="count")
    async def count() -> None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        for _ in range(5):
            await app.core.clock.sleep(0)
        now[0] -= 1

    await count.aenqueue_many([()] * 20)
    await burst(app, concurrency=3)
    assert most == [3]


def test_a_weight_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidOption, match="weight"):
        Treadle("memory://").foreman(queues=["a:0"])


# -- what cannot run here --------------------------------------------------------------------


async def push(app: Treadle, task: str, payload: bytes) -> str:
    backend = await app.core.ready()
    job_id = app.core.ids.new()
    await backend.push([NewJob(id=job_id, task=task, payload=payload)])
    return job_id


@pytest.mark.parametrize(
    ("task", "payload", "reason", "cause"),
    [
        ("nobody", b"", "no task 'nobody' here", "unknown_task"),
        ("known", b"rubbish", "not an envelope", "undecodable"),
        ("known", bytes([0xC1, 99, 1, 0, 0, 0, 0]), "upgrade this process", "undecodable"),
        ("known", bytes([0xC1, 1, 1, 0, 0, 0, 0]) + b"\x81\xa1x\x01", "x", "undecodable"),
    ],
    ids=["unknown", "rubbish", "newer", "other arguments"],
)
async def test_what_cannot_run_here_waits_and_says_why(
    manual: Manual, task: str, payload: bytes, reason: str, cause: str
) -> None:
    app, clock = manual

    @app.task(name="known")
    async def known() -> None: ...

    heard = listen(app, "job.*")
    job_id = await push(app, task, payload)
    delays: list[float] = []
    for _ in range(4):
        await burst(app, unknown_grace=60)
        record = await record_of(app, job_id)
        assert record.state is JobState.SCHEDULED
        assert reason in record.reason
        assert (record.tries, record.crashes) == (0, 0)
        assert record.due is not None
        delays.append(record.due - clock.now())
        clock.advance(delays[-1])
        if sum(delays) >= 60:
            break
    assert delays == [10.0, 20.0, 40.0]
    await burst(app, unknown_grace=60)
    record = await record_of(app, job_id)
    assert (record.state, record.cause) == (JobState.FAILED, cause)
    assert names(heard) == [
        "job.started", "job.released",
        "job.started", "job.released",
        "job.started", "job.released",
        "job.started", "job.failed",
    ]  # fmt: skip


async def test_a_task_that_comes_a_little_later_loses_nothing(manual: Manual) -> None:
    app, clock = manual
    job_id = await push(app, "soon", bytes([0xC1, 1, 1, 0, 0, 0, 0]) + b"\x80")
    await burst(app)

    @app.task(name="soon")
    async def soon() -> str:
        return "here"

    clock.advance(10)
    await burst(app)
    assert (await record_of(app, job_id)).state is JobState.SUCCEEDED


# -- suspects ----------------------------------------------------------------------------------


async def test_a_busy_foreman_drains_to_take_a_suspect(manual: Manual) -> None:
    app, clock = manual
    release: list[asyncio.Event] = []
    suspects: list[tuple[int, int]] = []

    @app.task(name="busy")
    async def busy() -> None:
        release.append(asyncio.Event())
        await release[-1].wait()

    @app.task(name="suspect")
    async def suspect() -> None:
        suspects.append((foreman.stats["running"], foreman.stats["job.succeeded"]))

    backend = await app.core.ready()
    job = await suspect.aenqueue()
    dead = await backend.open_session(SessionInfo(name="dead"))
    (lease,) = (await backend.claim(Claim(session=dead, request=1, limit=1))).leases
    await busy.aenqueue_many([()] * 6)
    async with app.foreman(concurrency=2, lease=3600, suspect_every=30) as foreman:
        await eventually(lambda: len(release) == 2)
        await backend.extend(dead, [Held(token=lease.token)], 0.0)
        for _ in range(2):  # it goes on as long as it may
            await clock.aadvance(6)
            release.pop(0).set()
            await clock.aadvance(1)
            assert len(release) == 2
        assert suspects == []
        await clock.aadvance(40)
        release.pop(0).set()
        await clock.aadvance(1)
        assert len(release) == 1  # its place stays free
        release.pop(0).set()
        await clock.aadvance(1)
        assert suspects == [(1, 4)]  # alone
        await eventually(lambda: len(release) == 2)
        for one in release:
            one.set()
        await clock.aadvance(1)
        assert (await job.arecord()).state is JobState.SUCCEEDED
        assert foreman.stats["job.succeeded"] == 7
    await backend.close_session(dead)


async def test_suspects_follow_each_other_without_a_pause(tmp_path: Path) -> None:
    """In a file, where nobody is told of a suspect that a claim has passed over."""
    clock, alone = ManualClock(), list[int]()
    async with Treadle(f"sqlite:///{tmp_path}/jobs.db", clock=clock) as app:

        @app.task(name="suspect")
        async def suspect() -> None:
            alone.append(foreman.stats["running"])

        backend = await app.core.ready()
        await suspect.aenqueue_many([()] * 4)
        dead = await backend.open_session(SessionInfo(name="dead"))
        leases = (await backend.claim(Claim(session=dead, request=1, limit=4))).leases
        await backend.extend(dead, [Held(token=lease.token) for lease in leases], 0.0)
        began = clock.now()
        async with app.foreman(concurrency=2, lease=3600) as foreman:
            await eventually(lambda: len(alone) == 4)
            assert alone == [1] * 4
            assert clock.now() == began
        await backend.close_session(dead)


async def test_nothing_is_claimed_beside_a_suspect(manual: Manual) -> None:
    app, clock = manual
    release, started = asyncio.Event(), asyncio.Event()

    @app.task(name="slow")
    async def slow() -> None:
        started.set()
        await release.wait()

    async with app.foreman(lease=3600) as first:
        job = await slow.aenqueue()
        await started.wait()
        thief, _ = await steal(app, first, job.id)
        backend = await app.core.ready()
        await first.stop()
        started.clear()
        first._heartbeat.nudge()
        await first.join()
        record = await record_of(app, job.id)
        await backend.extend(thief, [Held(token=Token(job.id, record.fence, thief.nonce))], 0.0)
    other = await slow.aenqueue()
    async with app.foreman(lease=3600) as foreman:
        await started.wait()
        await clock.aadvance(20)
        assert foreman.stats["running"] == 1
        assert (await other.arecord()).state is JobState.QUEUED
        release.set()
        await clock.aadvance(1)
        assert (await other.arecord()).state is JobState.SUCCEEDED
    await backend.close_session(thief)


async def test_a_verdict_under_way_is_held(flaky: Manual) -> None:
    """The store still knows of the lease: a suspect would not be alone."""
    app, clock, backend = flaky.app, flaky.clock, flaky.backend

    @app.task(name="work")
    async def work() -> None: ...

    backend.fail("settle", "refused")
    await work.aenqueue()
    async with app.foreman(concurrency=2, lease=3600) as foreman:
        await eventually(lambda: backend.calls["settle"] > 0)
        before = backend.calls["claim"]
        await advance_until(clock, lambda: backend.calls["claim"] > before)
        asks: list[Claim] = [ask for verb, ask in backend.asked if verb == "claim"]
        backend.mend("settle")
        await advance_until(clock, lambda: foreman.stats["job.succeeded"] == 1)
    assert asks[-1].holding == 1


# -- the breaker -------------------------------------------------------------------------------


async def test_the_breaker_pauses_probes_and_closes(manual: Manual) -> None:
    app, clock = manual
    down = [True]
    runs: list[float] = []

    @app.task(name="call", retry=Retry(1, backoff=1))
    async def call() -> None:
        runs.append(clock.monotonic())
        if down[0]:
            raise ConnectionError("the service is down")

    heard = listen(app, "breaker.*")
    breaker = Breaker(2, pause=10, factor=2)
    async with app.foreman(breaker=breaker, concurrency=1, lease=3600) as foreman:
        await call.aenqueue_many([()] * 2)
        await clock.aadvance(3)
        assert foreman.stats["job.failed"] == 2  # used up, retries included
        assert names(heard) == ["breaker.opened"]
        runs.clear()
        await call.aenqueue_many([()] * 3)
        await clock.aadvance(6)
        assert runs == []
        await clock.aadvance(5)  # a probe, which fails
        assert len(runs) == 1
        assert names(heard) == ["breaker.opened", "breaker.half_open", "breaker.opened"]
        down[0] = False
        await clock.aadvance(21)  # twice as long, and a probe that succeeds
        assert names(heard)[3:] == ["breaker.half_open", "breaker.closed"]
        await advance_until(clock, lambda: foreman.stats["job.succeeded"] == 3)
    assert [event.data["trips"] for event in heard] == [1, 1, 2, 2, 0]


async def test_a_probe_that_finds_nothing_leaves_it_half_open(manual: Manual) -> None:
    app, clock = manual

    @app.task(name="call", retry=0)
    async def call(fails: bool) -> None:
        if fails:
            raise ConnectionError

    heard = listen(app, "breaker.*")
    async with app.foreman(breaker=Breaker(1, pause=10), lease=3600) as foreman:
        await call.aenqueue(True)
        await clock.aadvance(1)
        assert names(heard) == ["breaker.opened"]
        await clock.aadvance(30)
        assert set(names(heard)[1:]) == {"breaker.half_open"}
        await call.aenqueue(False)
        await clock.aadvance(6)
        assert names(heard)[-1] == "breaker.closed"
        assert foreman.stats["job.succeeded"] == 1


async def test_while_a_probe_runs_nothing_else_starts(manual: Manual) -> None:
    app, clock = manual
    release = asyncio.Event()
    runs: list[str] = []

    @app.task(name="call", retry=0)
    async def call(how: str) -> None:
        runs.append(how)
        if how == "fail":
            raise ConnectionError
        await release.wait()

    async with app.foreman(breaker=Breaker(1, pause=10), lease=3600) as foreman:
        await call.aenqueue("fail")
        await clock.aadvance(1)
        await call.aenqueue_many([("wait",)] * 3)
        await clock.aadvance(30)
        assert runs == ["fail", "wait"]
        release.set()
        await clock.aadvance(1)
        assert foreman.stats["job.succeeded"] == 3


async def test_the_last_trip_stops_the_foreman(manual: Manual) -> None:
    app, clock = manual

    @app.task(name="call", retry=Retry(9, backoff=1))
    async def call() -> None:
        raise Trip("out of credit")

    jobs = await call.aenqueue_many([()] * 2)
    serving = asyncio.ensure_future(
        serve(app.core, breaker=Breaker(5, pause=10, trips=2), concurrency=1)
    )
    await advance_until(clock, serving.done, step=1)
    assert serving.result() == QUIT == 75
    records = [await job.arecord() for job in jobs]
    assert {record.state for record in records} <= {JobState.SCHEDULED, JobState.QUEUED}
    assert {(record.tries, record.crashes) for record in records} == {(0, 0)}


async def test_a_stop_does_not_wait_for_the_breaker(manual: Manual) -> None:
    app, clock = manual

    @app.task(name="call", retry=0)
    async def call() -> None:
        raise ConnectionError

    async with asyncio.timeout(20), app.foreman(breaker=Breaker(1, pause=600)) as foreman:
        await call.aenqueue()
        await clock.aadvance(1)
        assert foreman.stats["job.failed"] == 1
    assert clock.monotonic() < 2
