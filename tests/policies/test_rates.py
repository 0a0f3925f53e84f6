"""Rates as pure machines: what they allow, and that they allow no more."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.policies.rates import FRESH, SLACK, State, adjust, fades, reserve, spend
from treadle.records import Algorithm, Spend

NOW = 1_800_000_000.0
GCRA, FIXED, SLIDING = Algorithm.GCRA, Algorithm.FIXED, Algorithm.SLIDING


def rate(algorithm: Algorithm, count: float = 10, per: float = 60, **more: Any) -> Spend:
    return Spend(key="k", count=count, per=per, algorithm=algorithm, **more)


def granted(ask: Spend, now: float = NOW, state: State = FRESH) -> tuple[int, State]:
    """How many spends are granted at one instant."""
    for times in range(10_000):
        at, after = spend(state, now, ask)
        if at > now:
            assert after == state
            return times, state
        state = after
    raise AssertionError("no bound")


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_fresh_key_has_all_of_it(algorithm: Algorithm) -> None:
    assert granted(rate(algorithm))[0] == 10
    assert granted(rate(algorithm, cost=4))[0] == 2
    # Which adds up to 9.600000000000003 and then to more than there is.
    assert granted(rate(algorithm, cost=0.4))[0] == 25


def test_gcra_gives_one_back_at_a_time() -> None:
    ask = rate(GCRA)
    _, state = granted(ask)
    assert spend(state, NOW, ask)[0] == NOW + 6
    assert granted(ask, NOW + 5.9, state)[0] == 0
    assert granted(ask, NOW + 6, state)[0] == 1
    assert granted(ask, NOW + 30, state)[0] == 5
    assert granted(ask, NOW + 1e6, state)[0] == 10


def test_burst_and_even_spacing() -> None:
    assert granted(rate(GCRA, burst=3))[0] == 3
    assert granted(rate(GCRA, burst=30))[0] == 30
    taken, state = granted(rate(GCRA, burst=1))
    assert taken == 1
    assert spend(state, NOW + 1, rate(GCRA, burst=1))[0] == NOW + 6


@pytest.mark.parametrize("count", [3, 7, 1000])
def test_gcra_loses_nothing_to_rounding(count: int) -> None:
    ask = rate(GCRA, count=count, per=0.1)
    assert granted(ask, NOW + 0.123)[0] == count
    assert granted(rate(GCRA, count=1, per=1, cost=0.1))[0] == 10


def test_gcra_when_the_clock_goes_back() -> None:
    ask = rate(GCRA)
    _, state = granted(ask)
    at, _ = spend(state, NOW - 100, ask)
    assert at == pytest.approx(NOW + 6)


def test_fixed_windows_start_at_multiples() -> None:
    ask = rate(FIXED)
    start = NOW - NOW % 60
    taken, state = granted(ask, start + 59)
    assert taken == 10
    assert spend(state, start + 59, ask)[0] == start + 60
    assert granted(ask, start + 60, state)[0] == 10


def test_fixed_places_fill_the_windows_to_come() -> None:
    ask, state = rate(FIXED, count=2), FRESH
    places: list[float] = []
    for _ in range(7):
        at, state = reserve(state, NOW + 5, ask)
        places.append(at - NOW)
    assert places == [5, 5, 60, 60, 120, 120, 180]


def test_sliding_weighs_the_window_before() -> None:
    ask = rate(SLIDING)
    start = NOW - NOW % 60
    _, state = granted(ask, start + 30)
    assert granted(ask, start + 60, state)[0] == 0
    assert granted(ask, start + 90, state)[0] == 5
    assert granted(ask, start + 119, state)[0] == 9
    assert granted(ask, start + 120, state)[0] == 10
    assert spend(state, start + 31, ask)[0] == pytest.approx(start + 66)


def test_sliding_forgets_what_is_two_windows_ago() -> None:
    ask = rate(SLIDING)
    _, state = granted(ask)
    assert granted(ask, NOW + 121, state)[0] == 10


def test_sliding_books_a_whole_window() -> None:
    ask = rate(SLIDING, count=4, cost=4)
    at, state = spend(FRESH, NOW + 1, ask)
    assert at == NOW + 1
    at, state = reserve(state, NOW + 1, ask)
    assert at == NOW + 120
    at, _ = reserve(state, NOW + 1, ask)
    assert at == NOW + 240


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_cost_above_all_there_is_counts_as_all_of_it(algorithm: Algorithm) -> None:
    ask = rate(algorithm, cost=99)
    at, state = spend(FRESH, NOW, ask)
    assert at == NOW
    assert granted(rate(algorithm), NOW, state)[0] == 0
    back = adjust(state, NOW, ask, used=10)
    assert back == state


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_what_was_not_used_is_given_back(algorithm: Algorithm) -> None:
    ask = rate(algorithm, cost=6)
    _, state = spend(FRESH, NOW, ask)
    assert granted(rate(algorithm), NOW, adjust(state, NOW, ask, used=2))[0] == 8
    assert granted(rate(algorithm), NOW, adjust(state, NOW, ask, used=0))[0] == 10
    later = adjust(state, NOW + 1e6, ask, used=0)
    assert granted(rate(algorithm), NOW + 1e6, later)[0] == 10


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_what_was_used_above_the_cost_becomes_debt(algorithm: Algorithm) -> None:
    ask = rate(algorithm, cost=6)
    _, state = spend(FRESH, NOW, ask)
    assert granted(rate(algorithm), NOW, adjust(state, NOW, ask, used=9))[0] == 1
    owing = adjust(state, NOW, ask, used=16)
    assert granted(rate(algorithm), NOW, owing)[0] == 0
    assert spend(owing, NOW, rate(algorithm))[0] > NOW + 5


def test_fixed_pays_a_large_debt_window_by_window() -> None:
    ask = rate(FIXED)
    _, state = spend(FRESH, NOW, ask)
    owing = adjust(state, NOW, ask, used=36)
    at, after = reserve(owing, NOW, ask)
    assert at == NOW + 3 * 60
    assert granted(ask, NOW + 3 * 60, after)[0] == 3


def test_window_counters_give_nothing_back_for_a_window_that_is_over() -> None:
    for algorithm, left in ((FIXED, 0), (SLIDING, 0)):
        ask = rate(algorithm)
        _, state = granted(ask, NOW)
        _, state = granted(ask, NOW + 119, state)
        since_then = adjust(state, NOW + 119, ask, used=0, since=NOW)
        assert granted(ask, NOW + 119, since_then)[0] == left
        _, state = granted(ask, NOW + 600, FRESH)
        same = adjust(state, NOW + 601, ask, used=0, since=NOW + 600)
        assert granted(ask, NOW + 601, same)[0] == 1


def test_sliding_gives_back_in_the_window_before() -> None:
    ask = rate(SLIDING, cost=10)
    _, state = spend(FRESH, NOW, ask)
    back = adjust(state, NOW + 60, ask, used=0, since=NOW)
    assert granted(rate(SLIDING), NOW + 60, back)[0] == 10
    assert granted(rate(SLIDING), NOW + 60, state)[0] == 0


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_state_fades(algorithm: Algorithm) -> None:
    ask = rate(algorithm)
    assert fades(FRESH, ask) == -math.inf
    _, state = granted(ask)
    end = fades(state, ask)
    assert NOW < end <= NOW + 121
    assert granted(ask, end, state)[0] == 10
    assert granted(ask, end - 1, state)[0] < 10


@pytest.mark.parametrize("before", list(Algorithm))
@pytest.mark.parametrize("after", list(Algorithm))
def test_a_limit_can_be_redeclared(before: Algorithm, after: Algorithm) -> None:
    _, state = granted(rate(before, count=1000))
    ask = rate(after, count=5, per=7)
    at, state = reserve(state, NOW, ask)
    assert at >= NOW
    fresh = max(at, fades(state, ask))
    assert granted(ask, fresh, state)[0] == 5


def test_a_state_can_be_stored() -> None:
    for algorithm in Algorithm:
        _, state = spend(FRESH, NOW, rate(algorithm))
        assert all(type(part) is float for part in state)
        assert msgspec.json.decode(msgspec.json.encode(state), type=State) == state


gaps = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.5), st.floats(0, 30)), max_size=60)
costs = st.one_of(st.just(1.0), st.floats(0.1, 3.0))


def grants(ask: Spend, steps: list[float], book: bool) -> list[tuple[float, float]]:
    """(instant, cost) of what was granted to calls at these distances from each other."""
    now, state, found = NOW, FRESH, []
    for gap in steps:
        now += gap
        at, state = (reserve if book else spend)(state, now, ask)
        assert at >= now
        if book or at <= now:
            found.append((at, ask.cost))
    return sorted(found)


@given(gaps, costs, st.booleans(), st.integers(3, 9), st.floats(0.1, 60))
def test_gcra_never_exceeds_its_bound_in_any_window(
    steps: list[float], cost: float, book: bool, count: int, per: float
) -> None:
    ask = rate(GCRA, count=count, per=per, cost=cost)
    found = grants(ask, steps, book)
    for first, (start, _) in enumerate(found):
        spent = 0.0
        for at, price in found[first:]:
            spent += price
            allowed = count + (at - start + 2 * SLACK) * count / per
            assert spent <= allowed * (1 + 1e-6)


@given(gaps, costs, st.booleans(), st.integers(3, 9), st.floats(0.1, 60))
def test_a_fixed_window_never_holds_more_than_its_count(
    steps: list[float], cost: float, book: bool, count: int, per: float
) -> None:
    windows: dict[int, float] = {}
    for at, price in grants(rate(FIXED, count=count, per=per, cost=cost), steps, book):
        index = round(at / per) if abs(at / per - round(at / per)) < 1e-6 else math.floor(at / per)
        windows[index] = windows.get(index, 0.0) + price
    assert all(spent <= count * (1 + 1e-6) for spent in windows.values())


@given(gaps, costs, st.booleans(), st.integers(3, 9), st.floats(0.1, 60))
def test_sliding_never_grants_more_than_two_counts_within_one_period(
    steps: list[float], cost: float, book: bool, count: int, per: float
) -> None:
    found = grants(rate(SLIDING, count=count, per=per, cost=cost), steps, book)
    for first, (start, _) in enumerate(found):
        within = [price for at, price in found[first:] if at - start < per * (1 - 1e-6)]
        assert sum(within) <= 2 * count * (1 + 1e-6)


@given(st.sampled_from(Algorithm), gaps, costs, st.floats(0.1, 60))
def test_places_are_given_in_order(
    algorithm: Algorithm, steps: list[float], cost: float, per: float
) -> None:
    ask, now, state, places = rate(algorithm, per=per, cost=cost), NOW, FRESH, [0.0]
    for gap in steps:
        now += gap
        at, state = reserve(state, now, ask)
        places.append(at)
    assert all(second >= first - SLACK for first, second in pairwise(places))


@given(st.sampled_from(Algorithm), gaps, costs, st.floats(0.1, 60), st.floats(0, 100))
def test_asking_again_at_the_instant_that_was_named_is_granted(
    algorithm: Algorithm, steps: list[float], cost: float, per: float, wait: float
) -> None:
    ask, now, state = rate(algorithm, per=per, cost=cost), NOW, FRESH
    for gap in steps:
        now += gap
        _, state = spend(state, now, ask)
    _, state = granted(ask, now, state)
    at, same = spend(state, now, ask)
    assert at > now
    assert same == state
    assert spend(state, at, ask)[0] <= at
    assert spend(state, at + wait, ask)[0] <= at + wait


@given(st.sampled_from(Algorithm), gaps, st.floats(0, 20), st.floats(0.1, 60))
def test_whatever_was_used_the_key_is_fresh_again_in_the_end(
    algorithm: Algorithm, steps: list[float], used: float, per: float
) -> None:
    ask, now, state = rate(algorithm, per=per), NOW, FRESH
    for gap in steps:
        now += gap
        _, state = reserve(state, now, ask)
        state = adjust(state, now, ask, used)
    later = max(now, fades(state, ask)) + 100 * per
    assert granted(ask, later, state)[0] == 10
