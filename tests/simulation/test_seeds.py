"""Foremen under faults that a seed decides: no promise is broken, and a seed says all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from treadle.testing.simulation import simulate

# Another start for each run of `make repeat`.
START = int(os.environ.get("TREADLE_MODEL_START", "0"))
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "200"))
MANY = max(SEEDS, 600)


@pytest.mark.random
@pytest.mark.parametrize("seed", range(START, START + SEEDS))
def test_a_seed_breaks_no_promise(seed: int) -> None:
    outcome = simulate(seed)
    assert not outcome.broken, str(outcome)


@pytest.mark.parametrize("seed", [1522044169])
def test_a_seed_that_once_broke_a_promise_does_so_no_more(seed: int) -> None:
    """Who abandons a thread at his end had its code begin after it."""
    outcome = simulate(seed)
    assert not outcome.broken, str(outcome)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("first", range(START + SEEDS, START + MANY, 50))
def test_many_seeds_break_no_promise(first: int) -> None:
    outcomes = map(simulate, range(first, min(first + 50, START + MANY)))
    broken = [str(outcome) for outcome in outcomes if outcome.broken]
    assert not broken, "\n".join(broken)


def test_seeds_differ_and_bring_all_that_can_happen() -> None:
    outcomes = [simulate(seed) for seed in range(30)]
    assert len({outcome.digest for outcome in outcomes}) == len(outcomes)
    told = "\n".join(line for outcome in outcomes for line in outcome.trace)
    for what in (
        "fate kills", "fate freezes", "fate stops", "fate cuts off", "fate sets the clock",
        "fate makes Weather", "settle", "already", "lost", "=cancel", "exists",
        "duplicate", "replaced", "acancel", "aretry", "could not begin", "enqueue",
        "Again", "Released", "Failed", "Cancelled", "Done",
    ):  # fmt: skip
        assert what in told, what


@pytest.mark.parametrize("seed", [3, 36])
def test_a_seed_is_replayed_to_the_letter(seed: int) -> None:
    first, second = simulate(seed), simulate(seed)
    assert first == second
    assert len(first.trace) > 100


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_replays_a_seed_to_the_letter(hash_seed: str) -> None:
    """Where the order of sets of text is another one."""
    done = subprocess.run(
        [sys.executable, "-m", "treadle.testing.simulation", "36", "--trace"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    outcome = simulate(36)
    assert done.stdout.splitlines() == [*outcome.trace, str(outcome), outcome.digest]
