"""The queue's driver: what follows from the end of an attempt of a job."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policies.kit import Dice, boom
from treadle.errors import (
    AttemptTimeout,
    Control,
    Fail,
    JobCancelled,
    LeaseLost,
    NotEncodable,
    Quit,
    RetryLater,
    Skip,
    Trip,
)
from treadle.faults import Fault
from treadle.policies import AttemptInfo, Retry
from treadle.policies.breaker import Outcome
from treadle.policies.drive import AttemptEnd, Step, verdict
from treadle.records import Cause, Lease, NewJob, Token
from treadle.verdicts import Again, Cancelled, Done, Failed, Released, Verdict

NOW = 1_800_000_000.0
AGAIN = Retry(2, backoff=5)


def lease(**more: Any) -> Lease:
    """A lease; what is no field of it belongs to the spec."""
    own = {name: more.pop(name) for name in tuple(more) if name in Lease.__struct_fields__}
    spec = NewJob(id="j", task="shop.charge", payload=b"", **more)
    return Lease(token=Token("j", 1, 2), spec=spec, created=NOW - 60, **own)


def step(retry: Retry = AGAIN, held: Lease | None = None, **ended: Any) -> Step:
    return verdict(retry, AttemptEnd(lease=held or lease(), now=NOW, **ended), Dice())


def of(error: BaseException, retry: Retry = AGAIN, **more: Any) -> Verdict:
    return step(retry, lease(**more), error=error).verdict


def fault_of(end: Verdict) -> Fault:
    assert isinstance(end, Again | Failed | Cancelled)
    assert end.fault is not None
    return end.fault


def test_a_value_is_done() -> None:
    done = step(result=b"sealed")
    assert done == Step(verdict=Done(result=b"sealed"))
    assert done.outcome is Outcome.SUCCESS
    assert not done.tripped
    assert not done.counts_for_breaker


def test_an_error_is_tried_again_after_the_backoff() -> None:
    ended = step(error=ValueError("no"))
    assert isinstance(ended.verdict, Again)
    assert ended.verdict.delay == 5
    assert ended.verdict.counts
    assert ended.verdict.cause is Cause.ERROR
    assert fault_of(ended.verdict).message == "no"
    assert ended.outcome is Outcome.ERROR


def test_the_last_attempt_fails_the_job() -> None:
    ended = step(held=lease(tries=2), error=ValueError("no"))
    assert isinstance(ended.verdict, Failed)
    assert ended.verdict.cause is Cause.ERROR
    assert fault_of(ended.verdict).type.endswith("ValueError")
    assert ended.counts_for_breaker


def test_crashes_do_not_use_up_attempts() -> None:
    assert isinstance(of(ValueError(), tries=1, crashes=2), Again)


@pytest.mark.parametrize(
    ("retries", "tries", "again"), [(0, 0, False), (1, 0, True), (1, 1, False), (-1, 99, True)]
)
def test_a_call_may_have_its_own_number_of_retries(retries: int, tries: int, again: bool) -> None:
    end = of(ValueError(), Retry(2, backoff=1), retries=retries, tries=tries)
    assert isinstance(end, Again if again else Failed)


def test_predicates_see_the_attempt_of_the_job() -> None:
    seen: list[AttemptInfo] = []

    def on(error: BaseException, info: AttemptInfo) -> bool:
        seen.append(info)
        return True

    of(ValueError(), Retry(9, on=on), tries=2, crashes=1)
    assert seen == [AttemptInfo(attempt=4, elapsed=60.0, task="shop.charge")]


def test_results_that_will_not_do() -> None:
    retry = Retry(1, backoff=5, until=bool)
    assert step(retry, value=7, result=b"7").verdict == Done(result=b"7")
    end = step(retry, value=0, result=b"0").verdict
    assert isinstance(end, Again)
    assert "not accepted by bool" in fault_of(end).message
    end = step(retry, lease(tries=1), value=0, result=b"0").verdict
    assert isinstance(end, Failed)
    assert fault_of(end).type == "treadle.errors.ResultRejected"


def test_retry_later() -> None:
    assert getattr(of(RetryLater("soon", delay=90)), "delay", None) == 90
    assert getattr(of(RetryLater("soon")), "delay", None) == 5
    assert isinstance(of(RetryLater("soon"), tries=2), Failed)


def test_skip() -> None:
    ended = step(error=Skip("nothing to do", restart_worker=True))
    assert ended.verdict == Done(skipped="nothing to do")
    assert ended.outcome is Outcome.NEUTRAL
    assert ended.restart_worker
    assert of(Skip()) == Done(skipped="Skip")


def test_fail() -> None:
    ended = step(error=Fail("rate limited"))
    assert isinstance(ended.verdict, Failed)
    assert fault_of(ended.verdict).message == "rate limited"
    assert ended.counts_for_breaker


def test_trip_gives_the_job_back_three_times() -> None:
    for releases in (0, 1, 2):
        ended = step(held=lease(releases=releases), error=Trip("banned"))
        assert ended.verdict == Released(delay=5, reason="banned")
        assert ended.tripped
    ended = step(held=lease(releases=3), error=Trip("banned"))
    assert isinstance(ended.verdict, Failed)
    assert ended.tripped


def test_trip_says_how_long_and_always_has_a_reason() -> None:
    error = Trip("")
    error.retry_after = 33  # type: ignore[attr-defined]
    ended = step(error=error)
    assert ended.verdict == Released(delay=33, reason="Trip")
    assert ended.retry_after == 33


def test_quit_counts_as_a_try() -> None:
    ended = step(Retry(1, on=OSError, backoff=5), error=Quit("no more memory"))
    assert isinstance(ended.verdict, Again)
    assert ended.quit
    ended = step(Retry(0), error=Quit("no more memory"))
    assert isinstance(ended.verdict, Failed)
    assert ended.quit
    assert ended.counts_for_breaker


class Unsaid(Control):
    """None of the five."""


def test_a_control_that_says_nothing_is_an_ordinary_failure() -> None:
    ended = step(error=Unsaid("?", restart_worker=True))
    assert isinstance(ended.verdict, Again)
    assert ended.restart_worker


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(),
                                   StopIteration(), asyncio.CancelledError(), RecursionError(),
                                   MemoryError()])  # fmt: skip
def test_whatever_the_code_raises_is_a_failure_of_the_job(error: BaseException) -> None:
    assert isinstance(of(error), Again)
    end = of(error, tries=2)
    assert isinstance(end, Failed)
    assert fault_of(end).type.endswith(type(error).__name__)


def test_controls_inside_a_task_group() -> None:
    assert of(ExceptionGroup("one", [Skip("nothing")])) == Done(skipped="nothing")
    assert isinstance(of(ExceptionGroup("one", [Fail("no")])), Failed)


@pytest.mark.parametrize("raised", [asyncio.CancelledError(), ValueError("while cleaning up")])
def test_an_attempt_that_ran_out_of_time(raised: BaseException) -> None:
    late = AttemptTimeout("took longer than 30 s", timeout=30.0)
    for error in (late, raised):
        ended = step(error=error, ending=late)
        assert isinstance(ended.verdict, Again)
        assert ended.verdict.cause is Cause.TIMEOUT
        assert fault_of(ended.verdict).message == "took longer than 30 s"
    assert late.__cause__ is raised
    end = step(Retry(1, on=OSError), lease(tries=1), error=raised, ending=late).verdict
    assert isinstance(end, Failed)
    assert end.cause is Cause.TIMEOUT


def test_a_timeout_keeps_the_cause_it_has() -> None:
    late = AttemptTimeout("late")
    late.__cause__ = first = KeyError("first")
    step(error=ValueError(), ending=late)
    assert late.__cause__ is first


def test_a_timeout_is_matched_as_such() -> None:
    late = AttemptTimeout("late")
    error = ValueError("while cleaning up")
    assert isinstance(step(Retry(1, on=ValueError), error=error, ending=late).verdict, Failed)
    assert isinstance(step(Retry(1, on=TimeoutError), error=error, ending=late).verdict, Again)


def test_what_was_said_at_the_last_moment_counts() -> None:
    late = AttemptTimeout("late")
    assert step(error=Skip("enough"), ending=late).verdict == Done(skipped="enough")
    assert step(result=b"x", ending=late).verdict == Done(result=b"x")


def test_an_attempt_that_was_asked_to_end() -> None:
    asked = JobCancelled("asked")
    for error in (asked, JobCancelled("seen by check()"), asyncio.CancelledError()):
        ended = step(error=error, ending=asked)
        assert ended.verdict == Cancelled()
        assert ended.outcome is Outcome.NEUTRAL
    end = step(error=ValueError("while cleaning up"), ending=asked).verdict
    assert isinstance(end, Cancelled)
    assert fault_of(end).message == "while cleaning up"


def test_job_cancelled_of_another_job_is_an_error() -> None:
    assert isinstance(of(JobCancelled("the other one")), Again)


def test_a_lost_lease_decides_nothing() -> None:
    ended = step(error=asyncio.CancelledError(), ending=LeaseLost("gone"))
    assert ended.verdict == Released()
    assert ended.outcome is Outcome.NEUTRAL


def test_what_no_attempt_can_help() -> None:
    ended = step(error=NotEncodable("a socket"), cause=Cause.RESULT)
    assert isinstance(ended.verdict, Failed)
    assert ended.verdict.cause is Cause.RESULT
    assert fault_of(ended.verdict).message == "a socket"
    assert ended.outcome is Outcome.NEUTRAL


def test_a_fault_from_elsewhere_is_kept() -> None:
    fault = Fault(type="child.Error", message="in the child")
    assert fault_of(step(error=ValueError(), fault=fault).verdict) is fault


def test_at_most_once_is_never_given_back() -> None:
    for error in (ValueError(), RetryLater(), Trip("x"), Quit()):
        assert isinstance(of(error, at_most_once=True), Failed)
    ended = step(held=lease(at_most_once=True), error=ValueError())
    assert ended.counts_for_breaker
    assert step(held=lease(at_most_once=True), error=Trip("x")).tripped


def test_policies_with_bugs_fail_the_job_and_say_so() -> None:
    for retry in (Retry(on=boom), Retry(backoff=lambda attempt: "soon")):
        ended = step(retry, error=ValueError("the first error"))
        assert isinstance(ended.verdict, Failed)
        fault = fault_of(ended.verdict)
        assert [cause.message for cause in fault.causes] == ["the first error"]
        assert ended.counts_for_breaker


@given(
    st.sampled_from([ValueError, Trip, RetryLater, Quit, Skip, Fail, AttemptTimeout, SystemExit]),
    st.one_of(st.none(), st.integers(0, 5)),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_every_end_has_one_verdict_within_the_budget(
    make: Any, bound: int | None, tries: int, releases: int
) -> None:
    retry = Retry(bound, backoff=1)
    ended = step(retry, lease(tries=tries, releases=releases), error=make("x"))
    match ended.verdict:
        case Again():
            assert bound is None or tries < bound
        case Released():
            assert make is Trip
            assert releases < 3
        case Done():
            assert make is Skip
        case Failed():
            assert make in (Fail, Trip) or (bound is not None and tries >= bound)
        case Cancelled():
            pytest.fail("nobody asked")
