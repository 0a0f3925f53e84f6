"""The guard under random calls: both drivers do the same, and what is taken is given back."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.policies.hosts import ASKS, Bench, Interrupted, arun, policies, run
from treadle.errors import AttemptTimeout, Fail, Quit, RetryLater, Skip, Trip
from treadle.policies import Breaker, Retry, Timeout
from treadle.policies.guard import Policies

errors = st.builds(
    lambda make: make(),
    st.sampled_from(
        [
            lambda: ValueError("v"),
            lambda: ConnectionError("c"),
            lambda: AttemptTimeout("late"),
            lambda: SystemExit(1),
            lambda: RetryLater("r", delay=3),
            lambda: RetryLater("r", restart_worker=True),
            lambda: Skip("s"),
            lambda: Fail("f"),
            lambda: Trip("t"),
            lambda: Quit("q"),
            lambda: Interrupted(),
        ]
    ),
)
ends = st.lists(st.one_of(errors, st.sampled_from(["", "value"])), min_size=1, max_size=8)
scripts = st.fixed_dictionaries(
    {
        "waits": st.lists(st.floats(0.1, 20), max_size=4),
        "takes": st.floats(0, 9),
        "breaker": st.builds(Breaker, st.integers(1, 3), trips=st.sampled_from([None, 1, 2])),
        "fails": st.one_of(
            st.just({}),
            st.builds(
                lambda name: {name: OSError("away")},
                st.sampled_from(["acquire", "release", "report", "pause", "turn", "withdraw"]),
            ),
        ),
    }
)
calls = st.builds(
    policies,
    st.builds(
        Retry,
        st.sampled_from([0, 1, 3]),
        on=st.sampled_from([(), OSError]),
        until=st.sampled_from([(), bool]),
        backoff=st.sampled_from([2.0, 9.0]),
    ),
    st.sampled_from([None, Timeout(5), Timeout(total=30), Timeout(5, total=60)]),
    asks=st.sampled_from([(), ASKS]),
    breaker=st.booleans(),
)


def outcome(run_it: Any) -> tuple[str, object]:
    try:
        return ("value", run_it())
    except BaseException as error:  # noqa: BLE001 - compared
        return ("error", (type(error), str(error)))


@given(calls, ends, scripts)
def test_both_drivers_do_the_same(what: Policies, ends: list[Any], script: dict[str, Any]) -> None:
    one, two = Bench(*ends, **script), Bench(*ends, **script)
    assert outcome(lambda: run(what, one)) == outcome(lambda: asyncio.run(arun(what, two)))
    assert one.trace == two.trace
    assert one.clock.monotonic() == two.clock.monotonic()


@given(calls, ends, scripts)
def test_everything_taken_is_given_back(
    what: Policies, ends: list[Any], script: dict[str, Any]
) -> None:
    script = {**script, "fails": {}}
    bench = Bench(*ends, **script)
    outcome(lambda: run(what, bench))
    held = left = 0
    for line in bench.trace:
        left += line in ("admit pass", "admit probe")
        left -= line.startswith("report")
        held += line.startswith("invoke") and bool(what.asks)
        held -= line == "release"
        assert held in (0, 1)
    assert held == 0
    # A second leave replaces the first one of a call that stood in line.
    assert left == sum(line == "admit pass" for line in again(bench.trace))


def again(trace: list[str]) -> list[str]:
    """Leaves that were asked for while one was held."""
    return [
        line
        for before, line in pairwise(trace)
        if line == "admit pass" and before.startswith("acquire")
    ]
