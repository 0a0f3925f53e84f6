"""What is struck when follows from the seed."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from tests.soak.plan import Kind, hits, naps, strikes


def test_a_seed_gives_the_same_strikes_and_jobs_again() -> None:
    assert list(islice(strikes(7), 500)) == list(islice(strikes(7), 500))
    assert list(islice(strikes(7), 500)) != list(islice(strikes(8), 500))
    assert list(islice(naps(7), 500)) == list(islice(naps(7), 500))
    assert list(islice(hits(7, 2), 50)) == list(islice(hits(7, 2), 50))


def test_about_two_strikes_a_second_most_of_them_deadly() -> None:
    kinds: list[Kind] = []
    seconds = 0.0
    for strike in strikes(7):
        seconds += strike.after
        if seconds > 600:
            break
        kinds.append(strike.kind)
        assert strike.length > 1, "shorter than a lease"
    number = Counter(kinds)
    assert 1100 < len(kinds) < 1500
    assert number[Kind.KILL] > 600
    assert number[Kind.FREEZE] + number[Kind.FREEZE_AT_VERDICT] > 400


def test_each_store_is_killed_and_frozen_in_each_round() -> None:
    plan = hits(7, 2)
    rounds = [[(hit.whom, hit.kills) for hit in islice(plan, 4)] for _ in range(20)]
    assert all(len(set(each)) == 4 for each in rounds)
    assert len({tuple(each) for each in rounds}) > 5, "always in the same order"
