"""The checker of the ledgers finds each fault that is planted in a run without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from treadle.records import (
    Hold,
    JobRecord,
    JobState,
    Lease,
    NewJob,
    SessionInfo,
    Spend,
    Token,
    Unique,
)
from treadle.testing import ManualClock
from treadle.testing.ledger import (
    Blow,
    Dump,
    Findings,
    Ledger,
    Rule,
    check,
)


class Attempt:
    def __init__(self, job_id: str, fence: int) -> None:
        self.job_id = job_id
        self.fence = fence


class Run:
    """A run written by hand: three processes, and a store that can be made to lie."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = ManualClock()
        self.books = {
            name: Ledger(directory, name, self.clock) for name in ("driver", "one", "two")
        }
        self.records: list[JobRecord] = []
        self.sessions: list[SessionInfo] = []

    def close(self) -> None:
        for book in self.books.values():
            book.close()

    def tick(self, seconds: float = 0.01) -> None:
        self.clock.advance(seconds)

    def push(self, job: str) -> None:
        self.books["driver"].tried(job)
        self.tick()
        self.books["driver"].accepted(job)
        self.tick()

    def grant(self, job: str, fence: int = 1, who: str = "one") -> None:
        lease = Lease(
            token=Token(job, fence, 1),
            spec=NewJob(id=job, task="work", payload=b""),
            started=self.clock.now(),
        )
        self.books[who].granted(lease, self.clock.monotonic())
        self.tick()

    def start(self, job: str, fence: int = 1, who: str = "one") -> None:
        self.books[who].started(Attempt(job, fence))
        self.tick()

    def effect(self, job: str, fence: int = 1, who: str = "one") -> None:
        self.books[who].effect(Attempt(job, fence))
        self.tick()

    def settle(
        self, job: str, fence: int = 1, who: str = "one", answer: str = "ok", verdict: str = "done"
    ) -> None:
        self.books[who].answered(job, fence, verdict, answer)
        self.tick()

    def work(self, job: str, fence: int = 1, who: str = "one") -> None:
        self.grant(job, fence, who)
        self.start(job, fence, who)
        self.effect(job, fence, who)
        self.settle(job, fence, who)

    def fault(self, who: str, blow: Blow) -> None:
        self.books["driver"].fault(who, blow)
        self.tick()

    def keep(self, job: str, fence: int = 1, **fields: Any) -> None:
        spec = {name: fields.pop(name) for name in ("key", "unique", "asks") if name in fields}
        fields = {"state": JobState.SUCCEEDED, "seq": len(self.records), **fields}
        new = NewJob(id=job, task="work", payload=b"", **spec)
        self.records.append(JobRecord(spec=new, fence=fence, **fields))

    def check(self, **options: Any) -> Findings:
        store = Dump(records=tuple(self.records), sessions=tuple(self.sessions))
        return check(self.directory, store, **options)


@pytest.fixture
def run(tmp_path: Path) -> Any:
    run = Run(tmp_path / "ledgers")
    yield run
    run.close()


def healthy(run: Run) -> None:
    """One job that went well, and one whose first foreman was killed after its effect."""
    run.push("well")
    run.work("well")
    run.keep("well")
    run.push("hit")
    run.grant("hit")
    run.start("hit")
    run.effect("hit")
    run.fault("one", Blow.KILLED)
    run.tick(2)
    run.work("hit", 2, "two")
    run.keep("hit", 2, crashes=1)


def test_a_run_that_kept_every_rule_has_no_violations_and_its_figures(run: Run) -> None:
    healthy(run)
    findings = run.check(recovery=3, longest_standstill=3)
    assert findings.violations == (), findings.report()
    figures = findings.figures
    assert (figures.accepted, figures.ended, figures.effects, figures.repeats) == (2, 2, 3, 1)
    assert (figures.kills, figures.kills_with_work, figures.freezes) == (1, 1, 0)
    assert 2 < figures.recovery < 2.1
    assert "repeats 1" in findings.report()


def test_a_lease_that_nobody_lived_to_hear_of_explains_a_crash(run: Run) -> None:
    run.push("suspect")
    run.fault("one", Blow.KILLED)
    run.work("suspect", 2, "two")
    run.keep("suspect", 2, crashes=1)
    findings = run.check()
    assert findings.violations == (), findings.report()


def lost_job(run: Run) -> None:
    run.push("gone")


def unfinished(run: Run) -> None:
    run.push("stuck")
    run.keep("stuck", 0, state=JobState.QUEUED)


def stored_twice(run: Run) -> None:
    run.keep("well")


def from_nowhere(run: Run) -> None:
    run.keep("strange", 0, state=JobState.CANCELLED)


def success_without_a_run(run: Run) -> None:
    run.push("lazy")
    run.keep("lazy")


def success_that_nobody_was_told(run: Run) -> None:
    run.push("silent")
    run.grant("silent", who="two")
    run.start("silent", who="two")
    run.keep("silent")


def run_after_the_end(run: Run) -> None:
    run.grant("well", 2, "two")
    run.start("well", 2, "two")


def two_winners(run: Run) -> None:
    run.work("well", 2, "two")


def lower_fence_wins(run: Run) -> None:
    run.push("stale")
    run.grant("stale", 1, "two")
    run.start("stale", 1, "two")
    run.grant("stale", 2, "one")
    run.settle("stale", 1, "two")
    run.keep("stale", 1)


def carried_out_twice(run: Run) -> None:
    run.settle("hit", 2, "two")


def fence_given_twice(run: Run) -> None:
    run.push("shared")
    run.grant("shared", 1, "one")
    run.work("shared", 1, "two")
    run.keep("shared")


def given_twice_long_after_a_crash(run: Run) -> None:
    run.fault("store", Blow.CRASHED)
    run.tick(1.1)
    fence_given_twice(run)


def started_twice(run: Run) -> None:
    run.push("eager")
    run.grant("eager", who="two")
    run.start("eager", who="two")
    run.start("eager", who="two")
    run.settle("eager", who="two")
    run.keep("eager")


def repeat_without_a_fault(run: Run) -> None:
    run.push("twice")
    run.grant("twice", 1, "two")
    run.start("twice", 1, "two")
    run.effect("twice", 1, "two")
    run.tick(2)
    run.work("twice", 2, "two")
    run.keep("twice", 2)


def repeat_before_its_fault(run: Run) -> None:
    repeat_without_a_fault(run)
    run.fault("two", Blow.KILLED)


def two_effects_of_one_lease(run: Run) -> None:
    run.push("double")
    run.grant("double", who="two")
    run.start("double", who="two")
    run.effect("double", who="two")
    run.effect("double", who="two")
    run.settle("double", who="two")
    run.keep("double")


def slow_without_a_freeze(run: Run) -> None:
    run.push("late")
    run.grant("late", 1, "two")
    run.start("late", 1, "two")
    run.tick(3)
    run.books["two"].waited("extend", 3)
    run.work("late", 2, "two")
    run.keep("late", 2)


def blamed_for_nothing(run: Run) -> None:
    run.push("innocent")
    run.work("innocent", who="two")
    run.keep("innocent", crashes=1)


def slow_recovery(run: Run) -> None:
    run.push("forgotten")
    run.grant("forgotten", 1, "two")
    run.start("forgotten", 1, "two")
    run.fault("two", Blow.FROZEN)
    run.tick(30)
    run.fault("two", Blow.WOKEN)
    run.work("forgotten", 2, "one")
    run.keep("forgotten", 2)


def at_once(run: Run, **spec: Any) -> None:
    for job, who in (("left", "one"), ("right", "two")):
        run.push(job)
        run.grant(job, who=who)
    for job, who in (("left", "one"), ("right", "two")):
        run.start(job, who=who)
    for job, who in (("left", "one"), ("right", "two")):
        run.effect(job, who=who)
        run.settle(job, who=who)
        run.keep(job, **spec)


def key_shared(run: Run) -> None:
    at_once(run, key="account")


def slots_overrun(run: Run) -> None:
    at_once(run, asks=(Hold(key="gpu", slots=3, units=2),))


def unique_key_shared(run: Run) -> None:
    at_once(run, unique=Unique(key="report"))


def rate_overdrawn(run: Run) -> None:
    for number in range(3):
        run.push(f"fast-{number}")
        run.work(f"fast-{number}", who="two")
        run.keep(f"fast-{number}", asks=(Spend(key="api", count=1, per=60),))


def guarded_write_goes_back(run: Run) -> None:
    run.books["one"].passed("file", 2)
    run.tick()
    run.books["two"].passed("file", 1)


def nothing_ends(run: Run) -> None:
    run.push("slow")
    run.tick(60)
    run.work("slow", who="two")
    run.keep("slow")


def ghost(run: Run) -> None:
    run.sessions.append(SessionInfo(name="one", pid=7))


def lease_left_behind(run: Run) -> None:
    run.push("held")
    run.work("held", who="two")
    run.keep("held", lease_until=99.0)


def refused_in_silence(run: Run) -> None:
    run.push("quiet")
    run.grant("quiet", 1, "two")
    run.start("quiet", 1, "two")
    run.fault("two", Blow.FROZEN)
    run.tick(3)
    run.grant("quiet", 2, "one")
    run.fault("two", Blow.WOKEN)
    run.settle("quiet", 1, "two", answer="lost")
    run.start("quiet", 2, "one")
    run.settle("quiet", 2, "one")
    run.keep("quiet", 2)


@pytest.mark.parametrize(
    ("plant", "rule", "word"),
    [
        (lost_job, Rule.CONSERVATION, "lost"),
        (unfinished, Rule.CONSERVATION, "not ended"),
        (stored_twice, Rule.CONSERVATION, "2 times"),
        (from_nowhere, Rule.CONSERVATION, "nobody pushed"),
        (success_without_a_run, Rule.CONSERVATION, "never started"),
        (success_that_nobody_was_told, Rule.CONSERVATION, "never answered"),
        (run_after_the_end, Rule.NO_RUN_AFTER_END, "after the end"),
        (two_winners, Rule.ONE_WINNER, "ended 2 times"),
        (lower_fence_wins, Rule.ONE_WINNER, "although fence 2"),
        (carried_out_twice, Rule.ONE_WINNER, "carried out 2 times"),
        (fence_given_twice, Rule.FENCES_GROW, "same fence"),
        (given_twice_long_after_a_crash, Rule.FENCES_GROW, "same fence"),
        (started_twice, Rule.FENCES_GROW, "started 2 times"),
        (repeat_without_a_fault, Rule.NO_UNEXPLAINED_REPEAT, "nothing was done"),
        (repeat_before_its_fault, Rule.NO_UNEXPLAINED_REPEAT, "nothing was done"),
        (two_effects_of_one_lease, Rule.NO_UNEXPLAINED_REPEAT, "2 times"),
        (slow_without_a_freeze, Rule.NO_UNEXPLAINED_REPEAT, "nothing was done"),
        (slow_recovery, Rule.BOUNDED_RECOVERY, "the bound is 3 s"),
        (key_shared, Rule.MUTUAL_EXCLUSION, "key account has 1 slots, and 2"),
        (slots_overrun, Rule.MUTUAL_EXCLUSION, "limit gpu has 3 slots, and 4"),
        (guarded_write_goes_back, Rule.MUTUAL_EXCLUSION, "file took a write"),
        (unique_key_shared, Rule.UNIQUENESS, "'report'"),
        (rate_overdrawn, Rule.LIMITS_HOLD, "api"),
        (nothing_ends, Rule.LIVENESS, "no job ended"),
        (ghost, Rule.NO_RESIDUE, "still said to be present"),
        (lease_left_behind, Rule.NO_RESIDUE, "its lease goes on"),
        (blamed_for_nothing, Rule.OTHERS_UNHARMED, "1 crashes"),
        (refused_in_silence, Rule.SAID_ALOUD, "no event job.lost"),
    ],
)
def test_a_planted_fault_is_found_and_explained(
    run: Run, plant: Callable[[Run], None], rule: Rule, word: str
) -> None:
    healthy(run)
    plant(run)
    findings = run.check(recovery=3, longest_standstill=20)
    found = [one for one in findings.violations if one.rule is rule]
    assert any(word in one.text for one in found), findings.report()


def excused_by_a_freeze(run: Run) -> None:
    refused_in_silence(run)
    run.books["two"].said("job.lost", "quiet")


def excused_by_a_frozen_neighbour(run: Run) -> None:
    run.push("blocked")
    run.grant("blocked", 1, "two")
    run.start("blocked", 1, "two")
    run.fault("three", Blow.FROZEN)
    run.tick(3)
    run.fault("three", Blow.WOKEN)
    run.books["two"].waited("extend", 3)
    run.work("blocked", 2, "two")
    run.keep("blocked", 2)


def asleep_before_the_start(run: Run) -> None:
    run.push("sleepy")
    run.grant("sleepy", 1, "two")
    run.fault("two", Blow.FROZEN)
    run.tick(2)
    run.grant("sleepy", 2, "four")
    run.start("sleepy", 2, "four")
    run.settle("sleepy", 2, "four")
    run.fault("two", Blow.WOKEN)
    run.start("sleepy", 1, "two")
    run.keep("sleepy", 2)


def wanted_again(run: Run) -> None:
    run.books["driver"].retried("well")
    run.tick()
    run.work("well", 2, "two")
    run.records = [one for one in run.records if one.id != "well"]
    run.keep("well", 2)


def forgotten_in_a_crash(run: Run) -> None:
    run.push("shared")
    run.grant("shared", 1, "two")
    run.start("shared", 1, "two")
    run.fault("two", Blow.FROZEN)
    run.fault("store", Blow.CRASHED)
    run.tick(0.9)
    run.fault("two", Blow.WOKEN)
    run.work("shared", 1, "one")
    run.keep("shared")


def forgotten_in_a_crash_and_given_to_the_same(run: Run) -> None:
    run.push("shared")
    run.grant("shared", 1, "two")
    run.start("shared", 1, "two")
    run.effect("shared", 1, "two")
    run.fault("store", Blow.CRASHED)
    run.tick(0.9)
    run.work("shared", 1, "two")
    run.keep("shared")


def killed_while_its_verdict_is_carried_out(run: Run) -> None:
    run.push("again")
    run.grant("again", 1, "four")
    run.start("again", 1, "four")
    run.books["four"].sent("again", 1, "again")
    run.work("again", 2, "two")
    run.fault("four", Blow.KILLED)
    run.keep("again", 2, tries=1)


def to_be_repeated(run: Run) -> None:
    run.push("flaky")
    run.grant("flaky", 1, "two")
    run.start("flaky", 1, "two")
    run.effect("flaky", 1, "two")
    run.settle("flaky", 1, "two", verdict="again")
    run.work("flaky", 2, "two")
    run.keep("flaky", 2, tries=1)


@pytest.mark.parametrize(
    "story",
    [
        excused_by_a_freeze,
        excused_by_a_frozen_neighbour,
        asleep_before_the_start,
        wanted_again,
        forgotten_in_a_crash,
        forgotten_in_a_crash_and_given_to_the_same,
        killed_while_its_verdict_is_carried_out,
        to_be_repeated,
    ],
)
def test_what_has_an_explanation_is_no_violation(run: Run, story: Callable[[Run], None]) -> None:
    run.books["four"] = Ledger(run.directory, "four", run.clock)
    healthy(run)
    story(run)
    findings = run.check(recovery=5, longest_standstill=20)
    assert findings.violations == (), findings.report()


def test_a_late_answer_is_an_excuse_only_where_the_machine_may_be_busy(run: Run) -> None:
    healthy(run)
    slow_without_a_freeze(run)
    [strict] = run.check().violations
    assert strict.rule is Rule.NO_UNEXPLAINED_REPEAT
    findings = run.check(slow=3)
    assert findings.violations == (), findings.report()
    assert findings.figures.slow == 1
    assert [one.rule for one in run.check(slow=3.1).violations] == [strict.rule]


def test_half_a_last_line_of_a_killed_process_is_not_a_fact(run: Run) -> None:
    healthy(run)
    with (run.directory / "one.ledger").open("ab") as file:
        file.write(b'["started",1.0,"we')
    assert run.check().violations == ()


def test_a_line_that_cannot_be_read_is_named(run: Run) -> None:
    healthy(run)
    with (run.directory / "two.ledger").open("ab") as file:
        file.write(b'["begun",1.0]\n')
    with pytest.raises(ValueError, match=r"two\.ledger, line 5"):
        run.check()
