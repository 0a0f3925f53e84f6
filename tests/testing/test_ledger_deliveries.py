"""The checker of a broker alone: what is there twice has its reason, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.testing.test_ledger import Run
from treadle.testing.ledger import Blow, Rule, check


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path / "ledgers")
    yield run
    run.close()


def well(run: Run) -> None:
    run.push("well")
    run.work("well")


def struck_after_its_effect(run: Run) -> None:
    run.push("hit")
    run.grant("hit")
    run.start("hit")
    run.effect("hit")
    run.fault("one", Blow.KILLED)


def struck_and_done_again(run: Run) -> None:
    struck_after_its_effect(run)
    run.work("hit", 2, "two")


def pushed_again(run: Run) -> None:
    run.push("twice")
    run.push("twice")
    run.work("twice", 1, "one")
    run.work("twice", 1, "two")


def ended_at_the_death_of_the_server(run: Run) -> None:
    run.push("unsaved")
    run.work("unsaved", 1, "one")
    run.fault("store", Blow.CRASHED)
    run.tick(5)
    run.work("unsaved", 2, "two")


def struck_in_the_older_of_two_messages(run: Run) -> None:
    run.push("twice")
    run.push("twice")
    run.work("twice", 3, "two")
    run.grant("twice", 2, "one")
    run.start("twice", 2, "one")
    run.fault("one", Blow.KILLED)


@pytest.mark.parametrize(
    "story",
    [
        well,
        struck_after_its_effect,
        struck_and_done_again,
        pushed_again,
        ended_at_the_death_of_the_server,
        struck_in_the_older_of_two_messages,
    ],
)
def test_what_has_an_explanation_is_no_violation(run: Run, story: Callable[[Run], None]) -> None:
    story(run)
    findings = check(run.directory, None)
    assert findings.violations == (), findings.report()


def lost(run: Run) -> None:
    run.push("lost")


def from_nowhere(run: Run) -> None:
    run.work("nobody's")


def ended_twice(run: Run) -> None:
    well(run)
    run.work("well", 1, "two")


def ended_more_often_than_pushed(run: Run) -> None:
    pushed_again(run)
    run.work("twice", 2, "two")


def ended_twice_long_before_the_death_of_the_server(run: Run) -> None:
    ended_twice(run)
    run.tick(5)
    run.fault("store", Blow.CRASHED)


def taken_away_for_nothing(run: Run) -> None:
    run.push("taken")
    run.grant("taken", 1, "two")
    run.start("taken", 1, "two")
    run.work("taken", 2, "one")


@pytest.mark.parametrize(
    ("story", "rule"),
    [
        (lost, Rule.CONSERVATION),
        (from_nowhere, Rule.CONSERVATION),
        (ended_twice, Rule.ONE_WINNER),
        (ended_more_often_than_pushed, Rule.ONE_WINNER),
        (ended_twice_long_before_the_death_of_the_server, Rule.ONE_WINNER),
        (taken_away_for_nothing, Rule.NO_UNEXPLAINED_REPEAT),
    ],
)
def test_a_planted_fault_is_found_and_explained(
    run: Run, story: Callable[[Run], None], rule: Rule
) -> None:
    story(run)
    findings = check(run.directory, None)
    assert [one.rule for one in findings.violations] == [rule], findings.report()
