"""Leases stay alive whatever the event loop and the store do."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.foreman.kit import Manual, advance_until, listen, record_of
from treadle import CONTEXT, Context, JobState, Retry, Treadle, backoff
from treadle.clock import SystemClock
from treadle.errors import LeaseLost
from treadle.foreman.heartbeat import Heartbeat
from treadle.foreman.watchdog import Watchdog
from treadle.ports import Claim
from treadle.testing import InjectedFault, ManualClock, active, eventually

AT_ONCE = backoff.fixed(0, jitter=False)


def block_the_loop(seconds: float) -> None:
    threading.Event().wait(seconds)


async def test_a_blocked_loop_loses_no_lease_and_is_named(
    app: Treadle, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop stands still for more than twice the lease; nobody else may get the job."""
    heard = listen(app, "loop.blocked")

    @app.task(name="rude")
    async def rude() -> str:
        block_the_loop(2.2)
        return "mine"

    async with app.foreman(lease=1.0) as foreman:
        job = await rude.aenqueue()
        assert await job.aresult(timeout=20) == "mine"
        assert foreman.stats["job.lost"] == 0
    record = await job.arecord()
    assert (record.fence, record.crashes) == (1, 0)
    assert len(heard) == 1
    assert "block_the_loop" in heard[0].data["stack"]
    assert heard[0].data["seconds"] >= 1.0
    assert "loop.blocked" in caplog.text


async def test_the_watchdog_speaks_once_and_again_after_a_sign_of_life() -> None:
    clock, said = ManualClock(), list[tuple[float, str]]()
    dog = Watchdog(clock, patience=1.0, blocked=lambda *what: said.append(what))
    dog.look()
    clock.advance(0.5)
    dog.look()
    assert said == []
    clock.advance(0.6)
    dog.look()
    dog.look()
    assert [seconds for seconds, _ in said] == [pytest.approx(1.1)]
    assert "test_the_watchdog" in said[0][1]
    await SystemClock().sleep(0)  # the sign of life
    dog.look()
    clock.advance(2)
    dog.look()
    assert len(said) == 2
    await SystemClock().sleep(0)


def test_the_watchdog_of_a_loop_that_is_gone_is_quiet() -> None:
    clock, said = ManualClock(), list[Any]()

    async def make() -> Watchdog:
        return Watchdog(clock, patience=1.0, blocked=lambda *what: said.append(what))

    dogs: list[Watchdog] = []

    def elsewhere() -> None:
        dogs.append(asyncio.run(make()))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    for _ in range(3):
        dogs[0].look()
        clock.advance(2)
    assert said == []
    dogs[0]._asked = 0.0  # it had been asked when it ended: there is no stack to show
    dogs[0].look()
    assert said == [(6.0, "")]


async def test_a_foreman_that_holds_nothing_stays_present(flaky: Manual) -> None:
    """Its renewals have nothing in them, and are made all the same."""
    async with flaky.app.foreman(lease=30):
        await advance_until(flaky.clock, lambda: flaky.backend.calls["extend"] >= 2)


async def test_a_renewal_reports_the_start(flaky: Manual) -> None:
    """From then on the job expires no more, and its death would be its own."""
    release = asyncio.Event()

    @flaky.app.task(name="slow")
    async def slow() -> None:
        await release.wait()

    async with flaky.app.foreman(lease=30) as foreman:
        job = await slow.options(expires=3600).aenqueue()
        await eventually(lambda: foreman.stats["running"] == 1)
        before = await job.arecord()
        await advance_until(flaky.clock, lambda: flaky.backend.calls["extend"] >= 2)
        after = await job.arecord()
        release.set()
    assert before.expires is not None
    assert after.expires is None


async def test_a_renewal_counts_from_when_it_was_sent(
    flaky: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from its answer: the store has counted since long before."""
    clock, inner, release = flaky.clock, flaky.backend._inner, asyncio.Event()
    extend, sent = inner.extend, list[float]()

    async def slowly(*args: Any) -> Any:
        answers = await extend(*args)
        if not sent:
            sent.append(clock.monotonic())
            await clock.sleep(4.0)
        return answers

    @flaky.app.task(name="slow")
    async def slow() -> None:
        await release.wait()

    await slow.aenqueue()
    async with flaky.app.foreman(lease=30) as foreman:
        await eventually(lambda: foreman.stats["running"] == 1)
        monkeypatch.setattr(inner, "extend", slowly)
        (running,) = foreman._attempts.running
        before = running.held_until
        await advance_until(clock, lambda: running.held_until != before)
        renewed = running.held_until
        release.set()
    assert before < renewed <= sent[0] + 27.0


async def test_renewals_that_fail_are_repeated_in_time(flaky: Manual) -> None:
    release = asyncio.Event()

    @flaky.app.task(name="slow")
    async def slow() -> str:
        await release.wait()
        return "kept"

    faults = ["refused", OSError("the cable"), RuntimeError("a fault in the store"), "unheard"]
    async with flaky.app.foreman(lease=30) as foreman:
        job = await slow.aenqueue()
        await eventually(lambda: foreman.stats["running"] == 1)
        for fault in faults:
            before = flaky.backend.calls["extend"]
            flaky.backend.fail("extend", fault, times=1)
            await advance_until(
                flaky.clock, lambda before=before: flaky.backend.calls["extend"] >= before + 2
            )
        release.set()
        await eventually(lambda: foreman.stats["job.succeeded"] == 1)
        assert await job.aresult() == "kept"
        assert foreman.stats["job.lost"] == 0
    assert (await job.arecord()).fence == 1


async def test_a_store_that_never_answers_holds_up_neither_the_deadline_nor_the_end(
    flaky: Manual, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[float] = []

    @flaky.app.task(name="slow")
    async def slow() -> None:
        if ended:
            return
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(flaky.clock.monotonic())

    async with flaky.app.foreman(lease=30) as foreman:
        job = await slow.aenqueue()
        await eventually(lambda: foreman.stats["running"] == 1)
        claimed = flaky.clock.monotonic()
        flaky.backend.fail("extend", "silent")
        flaky.backend.fail("close_session", "silent")
        # In small steps: a heartbeat that stands still knows nothing of the store.
        await advance_until(flaky.clock, lambda: bool(ended), step=0.1)
        assert ended[0] - claimed < 30
        # What it was running is given back: it blames nobody, and goes on without waiting.
        await eventually(lambda: foreman.stats["job.succeeded"] == 1)
        assert foreman.stats["job.released"] == 1
        assert foreman.stats["job.lost"] == 0
        assert (await job.arecord()).crashes == 0
        await foreman.stop()
        stopped = asyncio.ensure_future(foreman.join())
        asked = flaky.clock.monotonic()
        await advance_until(flaky.clock, stopped.done)
        assert flaky.clock.monotonic() - asked < 10
    assert "session.not_closed" in caplog.text


async def test_what_a_job_gives_that_was_cut_off_counts(flaky: Manual) -> None:
    """Nobody else can have run it: the store still knows the lease."""
    asked: list[int] = []

    @flaky.app.task(name="stubborn")
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asked.append(1)
        return "kept"

    async with flaky.app.foreman(lease=30) as foreman:
        job = await stubborn.aenqueue()
        await eventually(lambda: foreman.stats["running"] == 1)
        flaky.backend.fail("extend", "silent", times=1)
        await advance_until(flaky.clock, lambda: bool(asked), step=0.1)
        await eventually(lambda: foreman.stats["job.succeeded"] == 1)
        assert await job.aresult() == "kept"
        assert foreman.stats["job.lost"] == 0
    assert (await job.arecord()).fence == 1


async def test_a_renewal_of_a_short_lease_is_repeated_before_it_is_too_late(flaky: Manual) -> None:
    release = asyncio.Event()

    @flaky.app.task(name="slow")
    async def slow() -> None:
        await release.wait()

    async with flaky.app.foreman(lease=2) as foreman:
        job = await slow.aenqueue()
        await eventually(lambda: foreman.stats["running"] == 1)
        flaky.backend.fail("extend", "refused", times=1)
        # In small steps: the thread of the heartbeat has to keep up with a lease that is short.
        await advance_until(flaky.clock, lambda: flaky.backend.calls["extend"] >= 4, step=0.02)
        release.set()
        await job.aresult()
        assert foreman.stats["job.lost"] == 0


async def test_an_injected_fault_does_not_end_the_renewals(flaky: Manual) -> None:
    with active({"extend.after_reply": "raise#1", "extend.before_send": "drop#2"}):
        async with flaky.app.foreman(lease=30):
            await advance_until(flaky.clock, lambda: flaky.backend.calls["extend"] >= 3)


async def test_a_store_that_is_away_for_a_while_loses_nothing(flaky: Manual) -> None:
    """Each verb fails before and after the store has done it; every job ends once."""
    backend, clock = flaky.backend, flaky.clock
    runs: list[int] = []

    @flaky.app.task(name="work", retry=Retry(2, backoff=AT_ONCE))
    async def work(n: int) -> int:
        runs.append(n)
        if n % 5 == 0 and runs.count(n) == 1:
            raise ValueError(n)
        return n

    jobs = await work.aenqueue_many([(n,) for n in range(40)])
    async with flaky.app.foreman(concurrency=4, lease=30) as foreman:
        for verb in ("claim", "settle", "wait", "extend"):
            for how in ("refused", "unheard", ConnectionResetError("gone"), TimeoutError("late")):
                backend.fail(verb, how, times=2)
                await clock.aadvance(0.5)
        await advance_until(clock, lambda: foreman.stats["job.succeeded"] == 40)
        assert [await job.aresult() for job in jobs] == list(range(40))
        assert foreman.stats["job.lost"] == 0
    assert sorted(runs) == sorted([*range(40), *range(0, 40, 5)])


async def test_a_claim_is_repeated_with_its_number(flaky: Manual) -> None:
    @flaky.app.task(name="work")
    async def work() -> None: ...

    await work.aenqueue_many([()] * 3)
    flaky.backend.fail("claim", "unheard", times=3)
    async with flaky.app.foreman(burst=True, lease=30) as foreman:
        await advance_until(flaky.clock, lambda: foreman.stats["job.succeeded"] == 3, step=0.1)
        await foreman.join()
    asks: list[Claim] = [ask for verb, ask in flaky.backend.asked if verb == "claim"]
    assert [ask.request for ask in asks[:5]] == [1, 1, 1, 1, 2]


async def test_what_was_claimed_in_an_answer_that_came_too_late_is_not_run(flaky: Manual) -> None:
    """No answer within the lease: the jobs of that request are left to lapse."""
    app, clock = flaky.app, flaky.clock
    runs: list[int] = []

    @app.task(name="work")
    async def work() -> None:
        runs.append(1)

    job = await work.aenqueue()
    flaky.backend.fail("claim", "unheard")
    async with app.foreman(lease=5) as foreman:
        await advance_until(
            clock,
            lambda: any(verb == "claim" and ask.request == 2 for verb, ask in flaky.backend.asked),
        )
        assert runs == []
        flaky.backend.mend("claim")
        await advance_until(clock, lambda: foreman.stats["job.succeeded"] == 1)
    assert (await job.arecord()).state is JobState.SUCCEEDED
    assert runs == [1]


async def test_an_answer_that_took_longer_than_the_lease_starts_nothing(
    flaky: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process stood still between the claim and its answer."""
    app, clock, inner = flaky.app, flaky.clock, flaky.backend._inner
    claim, runs = inner.claim, list[float]()
    slow = [6.0]

    async def slowly(ask: Claim) -> Any:
        answer = await claim(ask)
        if answer.leases and slow:
            await clock.sleep(slow.pop())
        return answer

    monkeypatch.setattr(inner, "claim", slowly)

    @app.task(name="work")
    async def work(ctx: Context = CONTEXT) -> None:
        runs.append(ctx.fence)

    await work.aenqueue()
    async with app.foreman(lease=5) as foreman:
        await advance_until(clock, lambda: foreman.stats["job.succeeded"] == 1)
    assert runs == [2]


@pytest.mark.parametrize("cancelled", [False, True], ids=["timed out", "cancelled"])
async def test_a_job_that_cleans_up_keeps_its_lease_and_is_left_in_peace(
    manual: Manual, cancelled: bool
) -> None:
    """It ends later than its lease would have, and is asked to once."""
    app, clock = manual.app, manual.clock
    asked: list[str] = []

    @app.task(name="tidy", timeout=1e6 if cancelled else 1.0)
    async def tidy() -> None:
        try:
            await clock.sleep(1e9)
        except asyncio.CancelledError:
            asked.append("to end")
            await clock.sleep(6.0)
            raise

    job = await tidy.aenqueue()
    async with app.foreman(lease=3.0) as foreman:
        await advance_until(clock, lambda: foreman.stats["running"] == 1)
        if cancelled:
            await job.acancel()
        await advance_until(clock, lambda: asked != [])
        await advance_until(clock, lambda: foreman.stats["running"] == 0)
        assert foreman.stats["job.lost"] == 0
    record = await record_of(app, job.id)
    assert asked == ["to end"]
    assert (record.fence, record.crashes) == (1, 0)
    assert record.state == (JobState.CANCELLED if cancelled else JobState.FAILED)


async def test_a_lease_whose_claim_was_answered_late_is_renewed_at_once(
    flaky: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Little is left of it when the job starts, less than until the next renewal."""
    app, clock, inner = flaky.app, flaky.clock, flaky.backend._inner
    claim = inner.claim

    async def slowly(ask: Claim) -> Any:
        answer = await claim(ask)
        if answer.leases:
            await clock.sleep(24.0)
        return answer

    monkeypatch.setattr(inner, "claim", slowly)

    @app.task(name="work")
    async def work() -> None:
        await clock.sleep(20.0)

    job = await work.aenqueue()
    async with app.foreman(lease=30) as foreman:
        await advance_until(clock, lambda: foreman.stats["job.succeeded"] == 1)
        assert foreman.stats["job.lost"] == 0
    assert (await record_of(app, job.id)).fence == 1


async def test_a_foreman_that_cannot_claim_stops_at_once(flaky: Manual) -> None:
    flaky.backend.fail("claim", "refused")
    async with asyncio.timeout(20), flaky.app.foreman(lease=3600):
        await eventually(lambda: flaky.backend.calls["claim"] > 0)
    assert flaky.clock.monotonic() == 0.0


async def test_a_verdict_that_breaks_the_store_is_left_to_the_lease(
    flaky: Manual, caplog: pytest.LogCaptureFixture
) -> None:
    @flaky.app.task(name="work")
    async def work() -> None: ...

    flaky.backend.fail("settle", RuntimeError("cannot read that"), times=1)
    lost = listen(flaky.app, "job.lost")
    async with flaky.app.foreman(lease=3600) as foreman:
        job = await work.aenqueue()
        await eventually(lambda: foreman.stats["job.lost"] == 1)
        assert (await record_of(flaky.app, job.id)).state is JobState.RUNNING
        other = await work.aenqueue()
        await eventually(lambda: foreman.stats["job.succeeded"] == 1)
        assert (await other.arecord()).state is JobState.SUCCEEDED
    assert len(lost) == 1
    assert "settle.broken" in caplog.text


async def test_failpoints_of_retries_and_acknowledgements_are_told_apart(
    memory_app: Treadle,
) -> None:
    @memory_app.task(name="flaky", retry=Retry(1, backoff=AT_ONCE))
    async def flaky_task() -> None:
        if not seen:
            seen.append(1)
            raise ValueError

    seen: list[int] = []
    with active({"retry.before_send": "drop#1", "ack.after_reply": "drop#1"}):
        async with memory_app.foreman() as foreman:
            job = await flaky_task.aenqueue()
            await job.aresult(timeout=20)
            await eventually(lambda: foreman.stats["job.succeeded"] == 1)
            assert foreman.stats["job.retrying"] == 1
    assert (await job.arecord()).tries == 1


async def test_an_injected_fault_in_a_claim_is_an_error_of_the_foreman(
    memory_app: Treadle,
) -> None:
    foreman = memory_app.foreman()
    with active({"claim.sent_no_reply": "raise#1"}), pytest.raises(InjectedFault):
        async with foreman:
            await asyncio.wait({foreman._life})
    assert foreman.exit_status == 1


async def test_a_job_of_a_closed_loop_cannot_be_ended() -> None:
    """The heartbeat outlives a loop that is torn down by a moment."""

    class Closed(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("Event loop is closed")

    loop = Closed()
    loop.close()
    ended: list[Exception] = []

    class Job:
        ending: BaseException | None = None

        end = ended.append

    beat = Heartbeat.__new__(Heartbeat)
    beat._loop = loop
    beat._end(Job(), LeaseLost("gone"))  # type: ignore[arg-type]
    assert ended == []
