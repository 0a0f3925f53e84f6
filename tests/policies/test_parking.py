"""A breaker that a fleet shares, as a pure decision: its cell, and the rule of its queue."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.policies.breaker import Breaker, BreakerChange, BreakerPhase, Outcome
from treadle.policies.parking import BREAKER, AttemptReport, Parked, judge
from treadle.ports import QueueRule

NOW = 1000.0
BREAKER_OF_TWO = Breaker(2, pause=10, factor=2, trips=3)
FREE = QueueRule()


class Queue:
    """A queue with its breaker, and the time."""

    def __init__(self, rule: QueueRule = FREE, breaker: Breaker = BREAKER_OF_TWO) -> None:
        self.now = NOW
        self.breaker = breaker
        self.parked = Parked()
        self.rule = rule

    def ends(
        self, outcome: Outcome, *, began: float | None = None, retry_after: float | None = None
    ) -> BreakerChange | None:
        """An attempt ends, which began just now."""
        report = AttemptReport(
            outcome=outcome, began=self.now if began is None else began, retry_after=retry_after
        )
        change, self.parked, self.rule = judge(
            self.breaker, self.parked, self.rule, report, self.now
        )
        return change

    def open(self) -> None:
        """Two failures in a row."""
        assert self.ends(Outcome.FAILURE) is None
        assert self.ends(Outcome.FAILURE) is BreakerChange.OPENED


def test_failures_in_a_row_park_the_queue() -> None:
    queue = Queue()
    assert queue.ends(Outcome.FAILURE) is None
    assert queue.ends(Outcome.ERROR) is None
    assert queue.ends(Outcome.SUCCESS) is None
    assert (queue.parked, queue.rule) == (Parked(), FREE)
    queue.open()
    assert queue.rule == QueueRule(
        paused=True,
        reason="its breaker has opened once",
        by=BREAKER,
        since=NOW,
        until=NOW + 10,
        max_running=1,
    )


def test_what_was_under_way_changes_nothing_any_more() -> None:
    queue = Queue()
    queue.open()
    before = queue.parked, queue.rule
    queue.now += 20
    for outcome in Outcome:
        assert queue.ends(outcome, began=NOW - 1) is None
        assert queue.ends(outcome, began=NOW + 4) is None  # by a clock that is four seconds ahead
    assert (queue.parked, queue.rule) == before


def test_a_probe_that_succeeds_frees_it() -> None:
    queue = Queue(QueueRule(max_running=7))
    queue.open()
    queue.now += 10
    assert queue.ends(Outcome.SUCCESS, began=NOW + 9) is BreakerChange.CLOSED
    assert queue.rule == QueueRule(max_running=7)
    assert queue.parked.state.phase is BreakerPhase.CLOSED
    assert queue.ends(Outcome.FAILURE) is None


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.FAILURE, Outcome.TRIP])
def test_a_probe_that_fails_parks_it_for_longer(outcome: Outcome) -> None:
    queue = Queue(QueueRule(max_running=7))
    queue.open()
    queue.now += 10
    assert queue.ends(outcome) is BreakerChange.OPENED
    assert queue.rule.until == queue.now + 20
    assert queue.rule.reason == "its breaker has opened 2 times without a success between"
    queue.now += 20
    assert queue.ends(Outcome.SUCCESS) is BreakerChange.CLOSED
    assert queue.rule == QueueRule(max_running=7)


def test_a_probe_that_says_nothing_leaves_the_next_one() -> None:
    queue = Queue()
    queue.open()
    queue.now += 10
    assert queue.ends(Outcome.NEUTRAL) is None
    assert queue.ends(Outcome.SUCCESS) is BreakerChange.CLOSED


def test_the_service_says_how_long() -> None:
    queue = Queue()
    assert queue.ends(Outcome.TRIP, retry_after=77) is BreakerChange.OPENED
    assert queue.rule.until == NOW + 77


def test_the_last_trip_parks_it_until_somebody_resumes_it() -> None:
    queue = Queue()
    queue.open()
    for change in (BreakerChange.OPENED, BreakerChange.STOPPED):
        queue.now += 100
        assert queue.ends(Outcome.FAILURE) is change
    assert queue.rule.paused
    assert queue.rule.until is None
    assert "resume the queue" in queue.rule.reason
    queue.now += 1e6
    queue.rule = QueueRule(max_running=1)
    assert queue.ends(Outcome.SUCCESS) is BreakerChange.CLOSED
    assert queue.rule == FREE


def test_resumed_by_hand_the_next_is_a_probe_at_once() -> None:
    queue = Queue()
    queue.open()
    queue.rule = msgspec.structs.replace(queue.rule, paused=False, by="", until=None)
    assert queue.ends(Outcome.SUCCESS) is BreakerChange.CLOSED
    assert not queue.rule.paused


@pytest.mark.parametrize(
    ("until", "stays"), [(None, True), (NOW + 60, True), (NOW + 5, False)], ids=str
)
def test_a_longer_pause_by_hand_stays(until: float | None, stays: bool) -> None:
    queue = Queue(QueueRule(paused=True, by="ada", reason="audit", until=until))
    queue.open()
    assert (queue.rule.by == "ada") is stays
    assert queue.rule.max_running == 1
    queue.now += 10
    assert queue.ends(Outcome.SUCCESS) is BreakerChange.CLOSED
    assert queue.rule.paused is stays
    assert queue.rule.max_running is None


def test_a_last_trip_outlasts_a_pause_by_hand() -> None:
    queue = Queue(QueueRule(paused=True, by="ada", until=NOW + 1e9), Breaker(1, pause=10, trips=1))
    assert queue.ends(Outcome.FAILURE) is BreakerChange.STOPPED
    assert queue.rule.until is None


def test_a_bound_that_was_set_meanwhile_stays() -> None:
    queue = Queue()
    queue.open()
    queue.rule = msgspec.structs.replace(queue.rule, max_running=4)
    queue.now += 10
    assert queue.ends(Outcome.SUCCESS) is BreakerChange.CLOSED
    assert queue.rule == QueueRule(max_running=4)


@given(st.lists(st.tuples(st.sampled_from(Outcome), st.sampled_from((0.0, 1.0, 12.0, 700.0)))))
def test_whatever_happens_an_open_breaker_parks_and_a_closed_one_does_not(
    history: list[tuple[Outcome, float]],
) -> None:
    queue = Queue(QueueRule(max_running=7))
    for outcome, later in history:
        queue.now += later
        queue.ends(outcome)
        is_open = queue.parked.state.phase is not BreakerPhase.CLOSED
        assert queue.rule.paused is is_open
        assert queue.rule.max_running == (1 if is_open else 7)
        assert queue.rule.by == (BREAKER if is_open else "")
