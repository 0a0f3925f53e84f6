"""Retries: how often, after what, and how much later."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policies.kit import FIRST, Dice, boom
from treadle.errors import (
    AttemptTimeout,
    BreakerOpen,
    InvalidOption,
    Quit,
    ResultRejected,
    RetryLater,
)
from treadle.policies import AttemptInfo, Retry, exponential, fixed
from treadle.policies.retry import RetryState
from treadle.policies.retry_after import retry_after

NOW = 1_800_000_000.0


def after(retry: Retry, error: BaseException, tries: int = 0) -> float | None:
    state = RetryState(tries=tries)
    return retry.after(state, NOW, error, FIRST, Dice(0.0))[0]


def test_n_means_n_further_attempts() -> None:
    retry = Retry(2, backoff=1)
    assert [after(retry, ValueError(), tries) for tries in (0, 1, 2, 3)] == [1, 1, None, None]
    assert after(Retry.of(0), ValueError()) is None


def test_without_bound() -> None:
    assert after(Retry(None, backoff=1), ValueError(), 10**6) == 1


def test_what_an_option_holds() -> None:
    assert Retry.of(3) == Retry(3)
    assert Retry.of(None) == Retry(0)
    retry = Retry(5, on=OSError)
    assert Retry.of(retry) is retry
    for wrong in (True, "3", 1.5):
        with pytest.raises(InvalidOption, match=f"retry: {wrong!r} is not a number of further"):
            Retry.of(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="retry: -1 is not a whole number from 0"):
        Retry.of(-1)


def test_the_state_counts_and_remembers_the_pause() -> None:
    retry = Retry(backoff=fixed(4))
    delay, state = retry.after(RetryState(tries=1), NOW, ValueError(), FIRST, Dice())
    assert (delay, state) == (4.0, RetryState(tries=2, previous=4.0))
    delay, state = retry.after(RetryState(tries=3), NOW, ValueError(), FIRST, Dice())
    assert (delay, state) == (None, RetryState(tries=4))


def test_the_backoff_is_asked_for_the_failed_attempt() -> None:
    retry = Retry(None, backoff=exponential(1, max="1h", jitter=False))
    assert [after(retry, ValueError(), tries) for tries in range(4)] == [1, 2, 4, 8]


@pytest.mark.parametrize(
    "error", [ValueError(), SystemExit(1), KeyboardInterrupt(), GeneratorExit(), StopIteration(),
              RecursionError(), MemoryError(), AttemptTimeout("late")]
)  # fmt: skip
def test_every_error_is_tried_again_by_default(error: BaseException) -> None:
    assert after(Retry(1, backoff=1), error) == 1


def test_on_and_give_up_on() -> None:
    retry = Retry(backoff=1, on=OSError, give_up_on=[FileNotFoundError, lambda e: e.errno == 13])
    assert after(retry, ConnectionError()) == 1
    assert after(retry, AttemptTimeout("a timeout is an OSError")) == 1
    assert after(retry, ValueError()) is None
    assert after(retry, FileNotFoundError()) is None
    assert after(retry, PermissionError(13, "no")) is None


def test_a_group_of_one_is_matched_by_its_member() -> None:
    retry = Retry(backoff=1, on=OSError)
    assert after(retry, ExceptionGroup("one", [OSError()])) == 1
    assert after(retry, ExceptionGroup("two", [OSError(), OSError()])) is None


def test_predicates_see_the_attempt() -> None:
    retry = Retry(None, backoff=1, on=lambda error, info: info.elapsed < 60)
    early, late = (AttemptInfo(elapsed=seconds) for seconds in (59, 61))
    assert retry.after(RetryState(), NOW, ValueError(), early, Dice())[0] == 1
    assert retry.after(RetryState(), NOW, ValueError(), late, Dice())[0] is None


def test_a_predicate_that_raises_is_heard() -> None:
    with pytest.raises(LookupError, match="a bug of the predicate"):
        after(Retry(on=boom), ValueError())


def test_retry_later_is_bound_by_the_number_only() -> None:
    retry = Retry(1, on=OSError, backoff=7)
    assert after(retry, RetryLater("not yet")) == 7
    assert after(retry, RetryLater("not yet", delay=0)) == 0
    assert after(retry, RetryLater("not yet", delay=timedelta(minutes=1))) == 60
    assert after(retry, ExceptionGroup("one", [RetryLater(delay=3)])) == 3
    assert after(retry, RetryLater("not yet"), tries=1) is None
    assert after(retry, Quit("restart me")) == 7


class Careless(RetryLater):
    """Does not call the constructor of its base."""

    def __init__(self, delay: Any = None) -> None:
        if delay is not None:
            self.delay = delay


def test_retry_later_takes_text_and_forgives_careless_subclasses() -> None:
    retry = Retry(1, backoff=7)
    assert after(retry, Careless()) == 7
    assert after(retry, Careless("5m")) == 300
    with pytest.raises(InvalidOption, match="delay of Careless: -1 is negative"):
        after(retry, Careless(-1))


def test_a_result_that_will_do() -> None:
    assert Retry(until=[bool, lambda result: result > 2]).rejects(3, FIRST) is None
    assert Retry().rejects(None, FIRST) is None


def big_enough(result: int) -> bool:
    return result > 2


def test_a_result_that_will_not_do() -> None:
    info = AttemptInfo(attempt=4)
    retry = Retry(3, on=OSError, backoff=2, until=[bool, big_enough])
    rejected = retry.rejects(1, info)
    assert isinstance(rejected, ResultRejected)
    assert pickle.loads(pickle.dumps(rejected)).result == "1"
    assert str(rejected) == "the result of attempt 4 was not accepted by big_enough"
    assert (rejected.attempts, rejected.validator) == (4, "big_enough")
    assert rejected.__cause__ is None
    assert after(retry, rejected) == 2
    assert after(retry, rejected, tries=3) is None
    # Without ``until`` it comes from somebody else's code.
    assert after(Retry(3, on=OSError), rejected) is None


def test_a_validator_that_raises_does_not_accept() -> None:
    rejected = Retry(until=boom).rejects(1, FIRST)
    assert rejected is not None
    assert "not accepted by boom (LookupError('a bug of the predicate'))" in str(rejected)
    assert isinstance(rejected.__cause__, LookupError)


def test_validators_see_the_attempt() -> None:
    retry = Retry(until=lambda result, info: info.attempt > 1)
    assert retry.rejects(0, FIRST) is not None
    assert retry.rejects(0, AttemptInfo(attempt=2)) is None


def with_attributes(**attributes: Any) -> Exception:
    error = ConnectionError("429")
    error.__dict__.update(attributes)
    return error


def response(**headers: str) -> SimpleNamespace:
    return SimpleNamespace(headers={name.replace("_", "-"): text for name, text in headers.items()})


HTTP_DATE = format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True)


class Touchy(Exception):
    """Like errors of HTTP clients that have no response."""

    @property
    def response(self) -> None:
        raise RuntimeError("there is no response")


class Headers:
    """Headers that ignore case, and are no mapping."""

    def get(self, name: str) -> str | None:
        return {"retry-after": "11"}.get(name.lower())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (with_attributes(retry_after=30), 30.0),
        (with_attributes(retry_after=0), 0.0),
        (with_attributes(retry_after=1.5), 1.5),
        (with_attributes(retry_after="45"), 45.0),
        (with_attributes(retry_after=timedelta(minutes=1)), 60.0),
        (with_attributes(retry_after=datetime.fromtimestamp(NOW + 20, UTC)), 20.0),
        (with_attributes(retry_after=datetime.fromtimestamp(NOW - 20, UTC)), 0.0),
        (with_attributes(retry_after=10**6), 3600.0),
        (BreakerOpen("open", retry_after=12.0), 12.0),
        (with_attributes(response=response(Retry_After="17")), 17.0),
        (with_attributes(response=response(retry_after="18")), 18.0),
        (with_attributes(response=response(Retry_After=HTTP_DATE)), 90.0),
        (with_attributes(response=response(Retry_After=HTTP_DATE[:-4] + " -0000")), 90.0),
        (with_attributes(headers={"Retry-After": "19"}), 19.0),
        (with_attributes(response=SimpleNamespace(headers=Headers())), 11.0),
        (with_attributes(retry_after="no", response=response(Retry_After="5")), 5.0),
        # What says nothing, or nonsense.
        (ValueError(), None),
        (Touchy(), None),
        (with_attributes(retry_after=True), None),
        (with_attributes(retry_after=-3), None),
        (with_attributes(retry_after=float("nan")), None),
        (with_attributes(retry_after=object()), None),
        (with_attributes(retry_after=""), None),
        (with_attributes(response=None), None),
        (with_attributes(response=response()), None),
        (with_attributes(response=response(Retry_After="tomorrow")), None),
        (with_attributes(headers=3), None),
    ],
)
def test_what_an_error_asks_for(error: BaseException, expected: float | None) -> None:
    assert retry_after(error, NOW, 3600.0) == expected


def test_the_wish_of_the_error_replaces_the_backoff_up_to_a_cap() -> None:
    error = with_attributes(retry_after=300)
    assert after(Retry(backoff=1), error) == 300
    assert after(Retry(backoff=1, max_retry_after="2m"), error) == 120
    assert after(Retry(backoff=1), ExceptionGroup("one", [error])) == 300
    assert after(Retry(0), error) is None


junk = st.one_of(
    st.none(), st.text(), st.binary(), st.floats(), st.integers(), st.timedeltas(), st.datetimes()
)


@given(junk, junk)
def test_whatever_an_error_says_is_no_worse_than_the_error(said: Any, header: Any) -> None:
    error = with_attributes(retry_after=said, headers={"Retry-After": header})
    delay = retry_after(error, NOW, 3600.0)
    assert delay is None or 0 <= delay <= 3600


@given(st.integers(0, 50), st.integers(0, 60))
def test_the_number_of_attempts_is_the_number_asked_for_and_one(n: int, first: int) -> None:
    retry, state, attempts = Retry(n, backoff=1), RetryState(), 1
    while True:
        delay, state = retry.after(state, NOW, ValueError(), FIRST, Dice())
        if delay is None:
            break
        attempts += 1
    assert attempts == n + 1
