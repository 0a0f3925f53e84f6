"""The breaker: failures in a row open it, one probe closes it."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from treadle.policies import Breaker, Gate
from treadle.policies.breaker import BreakerChange, BreakerPhase, BreakerState, Outcome, Pass
from treadle.testing.clock import ManualClock

OPENED, CLOSED, STOPPED = BreakerChange.OPENED, BreakerChange.CLOSED, BreakerChange.STOPPED


class Bench:
    """A breaker with its state and a time."""

    def __init__(self, breaker: Breaker) -> None:
        self.gate = Gate(breaker, clock := ManualClock())
        self.clock = clock

    def start(self) -> Pass:
        leave = self.gate.admit()
        assert isinstance(leave, Pass)
        return leave

    def run(self, outcome: Outcome, retry_after: float | None = None) -> BreakerChange | None:
        return self.gate.report(self.start(), outcome, retry_after)

    def held(self) -> float | None:
        answer = self.gate.admit()
        assert not isinstance(answer, Pass)
        return answer


def opened(threshold: int = 1, **options: float) -> Bench:
    bench = Bench(Breaker(threshold, **options))  # type: ignore[arg-type]
    for _ in range(threshold - 1):
        assert bench.run(Outcome.FAILURE) is None
    assert bench.run(Outcome.FAILURE) is OPENED
    return bench


def test_failures_in_a_row_open_it() -> None:
    bench = opened(3, pause=10)
    assert bench.gate.phase is BreakerPhase.OPEN
    assert bench.gate.trips == 1
    assert bench.held() == 10
    bench.clock.advance(4)
    assert bench.held() == 6


def test_a_success_between_sets_the_count_back() -> None:
    bench = Bench(Breaker(2))
    for outcome in (Outcome.FAILURE, Outcome.SUCCESS, Outcome.SUCCESS) * 5:
        assert bench.run(outcome) is None
    assert bench.run(Outcome.FAILURE) is None
    assert bench.run(Outcome.FAILURE) is OPENED


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.NEUTRAL])
def test_what_does_not_count_changes_nothing(outcome: Outcome) -> None:
    bench = Bench(Breaker(2))
    bench.run(Outcome.FAILURE)
    for _ in range(9):
        assert bench.run(outcome) is None
    assert bench.run(Outcome.FAILURE) is OPENED


def test_one_probe_at_a_time() -> None:
    bench = opened(pause=10)
    bench.clock.advance(10)
    assert bench.start().probe
    assert bench.gate.phase is BreakerPhase.HALF_OPEN
    assert bench.held() == math.inf
    assert bench.held() == math.inf


def test_a_probe_that_succeeds_closes_and_forgets() -> None:
    bench = opened(pause=10)
    bench.clock.advance(10)
    assert bench.run(Outcome.SUCCESS) is CLOSED
    assert bench.gate.phase is BreakerPhase.CLOSED
    assert bench.gate.trips == 0
    assert not bench.start().probe
    assert bench.run(Outcome.FAILURE) is OPENED
    assert bench.held() == 10


@pytest.mark.parametrize("outcome", [Outcome.FAILURE, Outcome.ERROR, Outcome.TRIP])
def test_a_probe_that_fails_opens_it_for_longer(outcome: Outcome) -> None:
    bench = opened(pause=10, factor=3, max_pause=60)
    pauses: list[float | None] = []
    for _ in range(4):
        pauses.append(bench.held())
        bench.clock.advance(bench.held() or 0)
        assert bench.run(outcome) is OPENED
    assert pauses == [10, 30, 60, 60]


def test_a_probe_that_says_nothing_makes_room_for_another() -> None:
    bench = opened(pause=10)
    bench.clock.advance(10)
    assert bench.run(Outcome.NEUTRAL) is None
    assert bench.gate.phase is BreakerPhase.HALF_OPEN
    assert bench.start().probe
    assert bench.held() == math.inf


def test_trip_opens_at_once_and_only_once_per_period() -> None:
    bench = Bench(Breaker(5, pause=10))
    leaves = [bench.start() for _ in range(4)]
    assert bench.gate.report(leaves[0], Outcome.TRIP) is OPENED
    for leave in leaves[1:]:
        assert bench.gate.report(leave, Outcome.TRIP) is None
    assert bench.gate.trips == 1


def test_the_service_says_how_long() -> None:
    bench = Bench(Breaker(1, pause=10, max_pause=20))
    assert bench.run(Outcome.TRIP, retry_after=45.0) is OPENED
    assert bench.held() == 45


def test_who_started_before_it_opened_neither_closes_nor_opens_it() -> None:
    bench = Bench(Breaker(2, pause=10))
    early = [bench.start() for _ in range(6)]
    report = bench.gate.report
    assert report(early[0], Outcome.FAILURE) is None
    assert report(early[1], Outcome.FAILURE) is OPENED
    assert report(early[2], Outcome.SUCCESS) is None
    assert bench.gate.phase is BreakerPhase.OPEN
    bench.clock.advance(10)
    probe = bench.start()
    assert report(early[3], Outcome.SUCCESS) is None
    assert report(early[4], Outcome.FAILURE) is None
    assert bench.gate.phase is BreakerPhase.HALF_OPEN
    assert report(probe, Outcome.SUCCESS) is CLOSED
    assert report(early[5], Outcome.FAILURE) is None
    assert bench.run(Outcome.FAILURE) is None


def test_a_late_trip_opens_what_is_half_open() -> None:
    bench = Bench(Breaker(1, pause=10))
    late = bench.start()
    bench.run(Outcome.FAILURE)
    bench.clock.advance(10)
    probe = bench.start()
    assert bench.gate.report(late, Outcome.TRIP) is OPENED
    assert bench.held() == 20
    assert bench.gate.report(probe, Outcome.SUCCESS) is None


def test_the_last_allowed_trip_stops() -> None:
    bench = opened(pause=10, trips=2)
    bench.clock.advance(10)
    assert bench.run(Outcome.FAILURE) is STOPPED
    assert bench.gate.phase is BreakerPhase.STOPPED
    bench.clock.advance(1e6)
    assert bench.held() is None
    assert bench.gate.report(Pass(period=3), Outcome.SUCCESS) is None


def test_a_success_gives_the_trips_back() -> None:
    bench = opened(pause=10, trips=2)
    bench.clock.advance(10)
    assert bench.run(Outcome.SUCCESS) is CLOSED
    assert bench.run(Outcome.FAILURE) is OPENED


def test_the_state_can_be_stored() -> None:
    state = BreakerState(phase=BreakerPhase.OPEN, trips=2, until=9.5, period=3)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=BreakerState) == state


class BreakerMachine(RuleBasedStateMachine):
    """Calls that start and end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.gate = Gate(Breaker(2, pause=10, max_pause=40), self.clock)
        self.running: list[Pass] = []
        self.probes = 0
        self.opened_at = 0.0

    @rule()
    def start(self) -> None:
        phase, answer = self.gate.phase, self.gate.admit()
        if isinstance(answer, Pass):
            self.running.append(answer)
            if phase is BreakerPhase.OPEN:
                assert self.clock.monotonic() >= self.opened_at + 10
                self.probes = 0
            self.probes += answer.probe
            assert answer.probe == (phase is not BreakerPhase.CLOSED)
        else:
            assert phase is not BreakerPhase.CLOSED
            assert answer is not None
            assert answer > 0

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99), outcome=st.sampled_from(Outcome))
    def end(self, which: int, outcome: Outcome) -> None:
        leave = self.running.pop(which % len(self.running))
        phase = self.gate.phase
        change = self.gate.report(leave, outcome)
        if leave.probe and phase is BreakerPhase.HALF_OPEN and outcome is Outcome.NEUTRAL:
            self.probes = 0
        if change is BreakerChange.OPENED:
            assert phase is not BreakerPhase.OPEN
            self.opened_at, self.probes = self.clock.monotonic(), 0
        if change is BreakerChange.CLOSED:
            assert leave.probe
            assert outcome is Outcome.SUCCESS
            self.probes = 0

    @rule(seconds=st.floats(0, 50))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def at_most_one_probe(self) -> None:
        assert self.probes <= 1


TestBreakerMachine = BreakerMachine.TestCase
