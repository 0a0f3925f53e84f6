"""The guard: all policies of a call in one generator, run by two drivers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.policies.hosts import ASKS, Bench, Interrupted, arun, policies, run
from treadle.errors import (
    AttemptTimeout,
    BreakerOpen,
    Fail,
    LimitTimeout,
    Quit,
    ResultRejected,
    RetryLater,
    Skip,
    Trip,
)
from treadle.policies import Breaker, Retry, Timeout
from treadle.policies.breaker import BreakerChange, Outcome, Pass

AGAIN = Retry(2, backoff=5)


def started(bench: Bench) -> Pass:
    leave = bench.gate.admit()
    assert isinstance(leave, Pass)
    return leave


def test_a_call_without_policies_is_one_effect() -> None:
    bench = Bench("value")
    assert run(policies(), bench) == "value"
    assert bench.trace == ["invoke 1"]


def test_the_order_of_things() -> None:
    bench = Bench(ValueError("no"), "value")
    assert run(policies(AGAIN, Timeout(30), asks=ASKS, breaker=True), bench) == "value"
    once = ["admit pass", "acquire", "invoke {} 30", "release", "report {}"]
    assert bench.trace == [
        *(line.format(end) for line, end in zip(once, ["", "", 1, "", "error"], strict=True)),
        "pause 5",
        *(line.format(end) for line, end in zip(once, ["", "", 2, "", "success"], strict=True)),
    ]


def test_the_last_error_comes_out_and_says_how_often() -> None:
    errors = [ValueError("first"), ValueError("second"), ValueError("third")]
    bench = Bench(*errors)
    with pytest.raises(ValueError, match="third") as caught:
        run(policies(AGAIN), bench)
    assert caught.value is errors[2]
    assert caught.value.__notes__ == ["treadle: gave up after 3 attempts"]
    assert bench.trace == ["invoke 1", "pause 5", "invoke 2", "pause 5", "invoke 3"]


def test_a_single_attempt_is_not_spoken_of() -> None:
    with pytest.raises(ValueError, match="no") as caught:
        run(policies(), Bench(ValueError("no")))
    assert not hasattr(caught.value, "__notes__")


def test_results_that_will_not_do() -> None:
    retry = Retry(1, backoff=5, until=lambda result: result == "good")
    bench = Bench("bad", "good")
    assert run(policies(retry), bench) == "good"
    assert bench.trace == ["invoke 1", "pause 5", "invoke 2"]
    with pytest.raises(ResultRejected, match="result of attempt 2 was not accepted") as caught:
        run(policies(retry), Bench("bad"))
    assert caught.value.attempts == 2


def test_the_wish_of_an_error_is_heard() -> None:
    limited = ConnectionError("429")
    limited.retry_after = 42  # type: ignore[attr-defined]
    bench = Bench(limited, RetryLater("soon", delay=7), "value")
    assert run(policies(AGAIN), bench) == "value"
    assert bench.trace == ["invoke 1", "pause 42", "invoke 2", "pause 7", "invoke 3"]


def test_skip_and_fail() -> None:
    bench = Bench(Skip("nothing to do"))
    assert run(policies(AGAIN, breaker=True), bench) is None
    assert bench.trace == ["admit pass", "invoke 1", "report neutral"]
    bench = Bench(Fail("rate limited"))
    with pytest.raises(Fail, match="rate limited"):
        run(policies(AGAIN, breaker=True), bench)
    assert bench.trace == ["admit pass", "invoke 1", "report failure"]


@pytest.mark.parametrize("error", [RetryLater, Fail, Trip, Quit])
def test_a_restart_is_done_beside_whatever_else(error: Any) -> None:
    bench = Bench(error("x", restart_worker=True))
    with pytest.raises(error):
        run(policies(), bench)
    assert "restart" in bench.trace
    bench = Bench(Skip("x", restart_worker=True))
    run(policies(), bench)
    assert bench.trace == ["invoke 1", "restart"]


def test_quit_stops_the_pool_and_ends_the_call() -> None:
    bench = Bench(Quit("done for today"))
    with pytest.raises(Quit, match="done for today"):
        run(policies(AGAIN, breaker=True), bench)
    assert bench.trace == ["admit pass", "invoke 1", "report failure", "stop Quit"]


def test_trip_opens_the_breaker_and_is_not_counted() -> None:
    bench = Bench(Trip("banned"), Trip("banned"), "value", breaker=Breaker(pause=10))
    assert run(policies(Retry(0, backoff=1), breaker=True), bench) == "value"
    assert bench.trace == [
        "admit pass", "invoke 1", "report trip opened", "pause 1",
        "admit 9.0", "await 9",
        "admit probe", "invoke 2", "report trip opened", "pause 1",
        "admit 19.0", "await 19",
        "admit probe", "invoke 3", "report success closed",
    ]  # fmt: skip


def test_the_fourth_trip_fails_the_call() -> None:
    bench = Bench(Trip("banned"))
    with pytest.raises(Trip):
        run(policies(Retry(0, backoff=1)), bench)
    assert [line for line in bench.trace if line.startswith("invoke")] == [
        "invoke 1", "invoke 2", "invoke 3", "invoke 4",
    ]  # fmt: skip


def test_a_stopped_breaker_lets_nobody_in() -> None:
    bench = Bench(Fail("x"), breaker=Breaker(1, trips=1))
    with pytest.raises(Fail):
        run(policies(breaker=True), bench)
    assert bench.changes == [BreakerChange.STOPPED]
    with pytest.raises(BreakerOpen, match=r"shop.charge is held back .* it has stopped"):
        run(policies(breaker=True), bench)


def test_waiting_for_a_limit_keeps_the_place_in_line() -> None:
    bench = Bench("value", waits=[3, 4])
    assert run(policies(asks=ASKS), bench) == "value"
    assert bench.trace == [
        "acquire", "turn T 3", "acquire T", "turn T 4", "acquire T", "invoke 1", "release",
    ]  # fmt: skip


def test_a_breaker_that_opened_meanwhile_is_noticed() -> None:
    bench = Bench("value", waits=[3], breaker=Breaker(1, pause=10))
    leave = started(bench)
    bench.on["turn"] = lambda: bench.report(leave, Outcome.FAILURE, None)
    assert run(policies(asks=ASKS, breaker=True), bench) == "value"
    assert bench.trace == [
        "admit pass", "acquire", "turn T 3", "report failure opened", "acquire T",
        "admit 7.0", "release unused", "report neutral",
        "admit 7.0", "await 7",
        "admit probe", "acquire", "invoke 1", "release", "report success closed",
    ]  # fmt: skip


def test_a_breaker_that_stayed_closed_meanwhile() -> None:
    bench = Bench("value", waits=[3])
    assert run(policies(asks=ASKS, breaker=True), bench) == "value"
    assert bench.trace == [
        "admit pass", "acquire", "turn T 3", "acquire T", "admit pass",
        "invoke 1", "release", "report success",
    ]  # fmt: skip


def test_a_probe_that_stands_in_line_stays_the_probe() -> None:
    bench = Bench("value", waits=[3], breaker=Breaker(1, pause=10))
    bench.gate.report(started(bench), Outcome.FAILURE)
    bench.clock.advance(10)
    assert run(policies(asks=ASKS, breaker=True), bench) == "value"
    assert bench.trace == [
        "admit probe", "acquire", "turn T 3", "acquire T",
        "invoke 1", "release", "report success closed",
    ]  # fmt: skip


def test_the_total_time_bounds_the_attempts() -> None:
    bench = Bench(ValueError("no"), takes=4)
    with pytest.raises(ValueError, match="no"):
        run(policies(Retry(None, backoff=5), Timeout(10, total=30)), bench)
    assert bench.trace == [
        "invoke 1 10", "pause 5", "invoke 2 10", "pause 5", "invoke 3 10", "pause 5", "invoke 4 3",
    ]  # fmt: skip


def test_a_pause_beyond_the_total_time_is_not_made() -> None:
    bench = Bench(ValueError("no"), takes=4)
    with pytest.raises(ValueError, match="no"):
        run(policies(Retry(9, backoff=20), Timeout(total=20), breaker=True), bench)
    assert bench.trace == ["admit pass", "invoke 1 20", "report failure"]
    bench = Bench(Trip("x"))
    with pytest.raises(Trip):
        run(policies(Retry(9, backoff=20), Timeout(total=20), breaker=True), bench)
    assert bench.trace == ["admit pass", "invoke 1 20", "report trip opened"]


def test_the_total_time_bounds_the_wait_for_limits() -> None:
    bench = Bench("value", waits=[6] * 9)
    with pytest.raises(LimitTimeout, match="not granted slots within the 10 s") as caught:
        run(policies(0, Timeout(total=10), asks=ASKS, breaker=True), bench)
    assert caught.value.keys == ("slots",)
    assert bench.trace == [
        "admit pass", "acquire", "turn T 6", "acquire T", "turn T 4", "acquire T",
        "withdraw T", "report neutral",
    ]  # fmt: skip


def test_the_total_time_bounds_the_wait_for_the_breaker() -> None:
    bench = Bench("value", breaker=Breaker(1, pause=60))
    bench.gate.report(started(bench), Outcome.FAILURE)
    with pytest.raises(BreakerOpen, match="ask again in 50 s") as caught:
        run(policies(0, Timeout(total=10), breaker=True), bench)
    assert caught.value.retry_after == 50
    assert bench.trace == ["admit 60.0", "await 10", "admit 50.0"]


def test_timeouts_follow_the_retry() -> None:
    bench = Bench(AttemptTimeout("late"), "value")
    assert run(policies(Retry(1, on=TimeoutError, backoff=1)), bench) == "value"


def test_who_goes_away_leaves_nothing_behind() -> None:
    bench = Bench(Interrupted())
    with pytest.raises(Interrupted):
        run(policies(AGAIN, asks=ASKS, breaker=True), bench)
    assert bench.trace == ["admit pass", "acquire", "invoke 1", "release", "report neutral"]
    bench = Bench("value", waits=[3], fails={"turn": Interrupted()})
    with pytest.raises(Interrupted):
        run(policies(AGAIN, asks=ASKS, breaker=True), bench)
    assert bench.trace == ["admit pass", "acquire", "turn T 3", "withdraw T", "report neutral"]


@pytest.mark.parametrize(
    ("effect", "then"),
    [
        ("admit", []),
        ("acquire", ["report neutral"]),
        ("release", ["report success"]),
        ("report", []),
    ],
)
def test_an_effect_that_fails_ends_the_call(effect: str, then: list[str]) -> None:
    bench = Bench("value", fails={effect: OSError("the store is away")})
    with pytest.raises(OSError, match="the store is away"):
        run(policies(AGAIN, asks=ASKS, breaker=True), bench)
    at = next(n for n, line in enumerate(bench.trace) if line.startswith(effect))
    assert bench.trace[at + 1 :] == then


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(7),
              asyncio.CancelledError(), RecursionError(), MemoryError()]
)  # fmt: skip
def test_whatever_the_code_raises_is_its_own_failure(error: BaseException) -> None:
    assert run(policies(AGAIN), Bench(error, "value")) == "value"
    with pytest.raises(type(error)):
        run(policies(), Bench(error))


def test_a_policy_with_a_bug_fails_the_call() -> None:
    retry = Retry(on=lambda error: error.status == 500)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="status") as caught:
        run(policies(retry), Bench(ValueError("no")))
    assert isinstance(caught.value.__context__, ValueError)


async def test_the_asynchronous_driver_raises_and_returns_the_same() -> None:
    assert await arun(policies(AGAIN), Bench(ValueError(), "value")) == "value"
    with pytest.raises(ValueError, match="no"):
        await arun(policies(), Bench(ValueError("no")))
    with pytest.raises(OSError, match="away"):
        await arun(policies(asks=ASKS), Bench("value", fails={"acquire": OSError("away")}))
