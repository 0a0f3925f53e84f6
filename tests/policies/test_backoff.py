"""Backoffs: how long to pause between two attempts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.policies.kit import Dice
from treadle.errors import InvalidOption
from treadle.policies import Backoff, decorrelated, exponential, fibonacci, fixed, linear
from treadle.policies.backoff import Fixed, Function, backoff, grow

NEVER = Dice(0.0)


def delays(policy: Backoff, attempts: int = 6) -> list[float]:
    return [policy.delay(attempt, NEVER) for attempt in range(1, attempts + 1)]


def test_shapes() -> None:
    assert delays(fixed("2s")) == [2, 2, 2, 2, 2, 2]
    assert delays(linear(2)) == [2, 4, 6, 8, 10, 12]
    assert delays(linear(2, 1, max=5)) == [2, 3, 4, 5, 5, 5]
    assert delays(linear(2, 0)) == [2, 2, 2, 2, 2, 2]
    assert delays(exponential(1, jitter=False)) == [1, 2, 4, 8, 16, 32]
    assert delays(exponential(2, factor=3, max="20s", jitter=False)) == [2, 6, 18, 20, 20, 20]
    assert delays(exponential(2, factor=1, jitter=False)) == [2, 2, 2, 2, 2, 2]
    assert delays(fibonacci(2)) == [2, 2, 4, 6, 10, 16]
    assert delays(fibonacci(2, max=5)) == [2, 2, 4, 5, 5, 5]
    assert delays(fibonacci(9, max=5)) == [5, 5, 5, 5, 5, 5]


def test_jitter_takes_its_share_off() -> None:
    assert exponential(8).delay(1, Dice(0.75)) == 2.0
    assert fixed(8, jitter=True).delay(1, Dice(0.5)) == 4.0
    assert fixed(8, jitter=0.25).delay(1, Dice(1.0)) == 6.0
    assert fixed(8, jitter=0.25).delay(1, Dice(0.0)) == 8.0
    assert linear(8, jitter=0.5).delay(2, Dice(1.0)) == 8.0
    assert fibonacci(8, jitter=1).delay(1, Dice(1.0)) == 0.0


def test_decorrelated_grows_from_the_pause_before() -> None:
    policy = decorrelated("1s", max="1m")
    assert policy.delay(2, Dice(0.0), previous=4.0) == 1.0
    assert policy.delay(2, Dice(1.0), previous=4.0) == 12.0
    assert policy.delay(9, Dice(1.0), previous=50.0) == 60.0
    assert policy.delay(2, Dice(1.0), previous=0.0) == 1.0


def test_decorrelated_without_the_pause_before_has_the_same_bounds() -> None:
    policy = decorrelated("1s", max="1m")
    assert [policy.delay(n, Dice(1.0)) for n in (1, 2, 3, 4, 5)] == [3, 9, 27, 60, 60]
    assert [policy.delay(n, Dice(0.0)) for n in (1, 2, 50)] == [1, 1, 1]
    assert decorrelated("5m", max="1m").delay(3, Dice(0.5)) == 60.0


def test_a_function_of_the_attempt() -> None:
    policy = backoff(lambda attempt: f"{attempt}m")
    assert [policy.delay(n, NEVER) for n in (1, 2)] == [60.0, 120.0]
    assert backoff(lambda n: timedelta(seconds=n)).delay(3, NEVER) == 3.0
    with pytest.raises(InvalidOption, match="the result of the backoff for attempt 2: -2"):
        Function(lambda n: -n).delay(2, NEVER)


def test_what_an_option_holds() -> None:
    assert backoff("5s") == Fixed(5)
    assert backoff(2.5) == Fixed(2.5)
    given_policy = exponential()
    assert backoff(given_policy) is given_policy


class Own:
    def delay(self, attempt: int, chance: object, previous: float | None = None) -> float:
        return 7.0


def test_anything_with_the_method_will_do() -> None:
    assert backoff(Own()).delay(1, NEVER) == 7.0
    with pytest.raises(InvalidOption, match="but a class"):
        backoff(Own)  # type: ignore[arg-type]


starts = st.one_of(st.just(0.0), st.floats(5e-324, 1e6))
caps = st.floats(0.0, 1e6)
attempts = st.one_of(st.integers(1, 100), st.just(10_000), st.just(2**62))


@example(1.525747635809239, 524290.2045814482, 2.0, 0.0, 10_000, 1.0)
@given(starts, caps, st.floats(1.0, 100.0), st.floats(0, 1), attempts, st.floats(0, 1))
def test_every_delay_stays_within_its_bounds(
    start: float, cap: float, factor: float, jitter: float, attempt: int, luck: float
) -> None:
    for policy in (
        linear(start, max=cap, jitter=jitter),
        exponential(start, factor=factor, max=cap, jitter=jitter),
        fibonacci(start, max=cap, jitter=jitter),
        decorrelated(start, max=cap, factor=factor),
    ):
        assert 0.0 <= policy.delay(attempt, Dice(luck)) <= cap
        assert 0.0 <= policy.delay(attempt, Dice(luck), 1e300) <= cap


@given(starts, caps, st.floats(1.0, 100.0), attempts)
def test_without_jitter_no_delay_is_shorter_than_the_one_before(
    start: float, cap: float, factor: float, attempt: int
) -> None:
    for policy in (
        linear(start, max=cap),
        exponential(start, factor=factor, max=cap, jitter=False),
        fibonacci(start, max=cap),
    ):
        assert policy.delay(attempt, NEVER) <= policy.delay(attempt + 1, NEVER)


def test_growth_without_overflow() -> None:
    assert grow(1.0, 2.0, 10_000, 600.0) == 600.0
    assert grow(0.0, 2.0, 10_000, 600.0) == 0.0
    assert fibonacci(0).delay(10_000, NEVER) == 0.0
