"""What ends by itself in a store has to be said aloud, or the ledgers find it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.test_ledger import Run
from treadle import JobState, Treadle
from treadle.clock import SystemClock
from treadle.records import Cause
from treadle.testing.ledger import Blow, Ledger, Rule, check, dump, witnessed


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path / "ledgers")
    run.push("late")
    run.keep("late", 0, state=JobState.FAILED, cause=Cause.EXPIRED)
    yield run
    run.close()


def test_an_end_that_a_process_knew_and_kept_to_itself(run: Run) -> None:
    run.books["two"].fated("late", "job.failed")
    [found] = run.check().violations
    assert found.rule is Rule.SAID_ALOUD
    assert "no event job.failed says so" in found.text
    run.books["two"].said("job.failed", "late")
    assert run.check().violations == ()


def test_a_process_that_was_killed_has_nothing_to_say(run: Run) -> None:
    run.books["two"].fated("late", "job.failed")
    run.fault("two", Blow.KILLED)
    assert run.check().violations == ()


def test_an_end_that_nobody_was_told_of(run: Run) -> None:
    [found] = run.check().violations
    assert found.rule is Rule.SAID_ALOUD
    assert "no answer of the store said so" in found.text
    # Who was struck may have had the answer.
    run.fault("one", Blow.FROZEN)
    run.fault("one", Blow.WOKEN)
    assert run.check().violations == ()


async def test_an_app_that_is_witnessed_says_what_it_was_told(tmp_path: Path) -> None:
    app, ledger = Treadle("memory://"), Ledger(tmp_path, "one", SystemClock())
    undo = witnessed(app, ledger)

    @app.task(name="fails", keep=None)
    async def fails() -> None:
        raise ValueError("no luck")

    @app.task(name="waits", keep=None)
    async def waits() -> None: ...

    async with app, app.foreman():
        first = await fails.options(delay=0.1).aenqueue()
        last = await waits.options(after=[first]).aenqueue()
        assert (await last.await_for(timeout=10)).state is JobState.FAILED
        store = await dump(await app.core.ready())
    undo()
    ledger.close()
    assert check(tmp_path, store, drained=False).violations == ()
    assert b'"fated"' in (tmp_path / "one.ledger").read_bytes()
