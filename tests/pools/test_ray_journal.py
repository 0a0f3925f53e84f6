"""What an actor has begun and ended, read after its death."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle.pools.places.ray import host as hosts
from treadle.pools.places.ray import journal as journals
from treadle.pools.places.ray.host import Order
from treadle.pools.places.ray.journal import ERROR, VALUE, Findings, Journal, Report, exhumed


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(journals, "_folder", lambda: str(tmp_path))
    return tmp_path


@pytest.fixture
def journal() -> Iterator[Journal]:
    made = Journal(slack=0)
    yield made
    os.close(made._descriptor)


def ended(number: int, body: bytes = b"value") -> Report:
    return Report(number, VALUE, 0.25, body)


def test_what_has_begun_and_what_has_ended_is_found(journal: Journal) -> None:
    for number in (1, 2):
        journal.begin(number)
        journal.end(ended(number))
    journal.begin(3)
    journal.end(Report(3, ERROR, 1.5, b"trouble"))
    journal.begin(4)
    found = exhumed(journal.path)
    assert found is not None
    assert found.begun == {1, 2, 3, 4}
    assert found.ended == {1: ended(1), 2: ended(2), 3: Report(3, ERROR, 1.5, b"trouble")}


def test_it_is_read_once(journal: Journal) -> None:
    assert exhumed(journal.path) is not None
    assert exhumed(journal.path) is None


def test_what_is_known_is_forgotten(journal: Journal) -> None:
    journal.begin(1)
    journal.end(ended(1))
    journal.begin(2)
    journal.end(ended(2))
    journal.begin(3)
    journal.forget([1])
    journal.end(ended(3))
    found = exhumed(journal.path)
    assert found is not None
    assert found.begun == {2, 3}
    assert set(found.ended) == {2, 3}


def test_it_does_not_grow_with_the_calls(journal: Journal) -> None:
    for number in range(1, 1001):
        journal.begin(number)
        journal.end(ended(number))
        journal.forget([number])
    assert Path(journal.path).stat().st_size == 0


def test_it_is_made_anew_now_and_then(folder: Path) -> None:
    journal = Journal(slack=1000)
    made = set[int]()
    for number in range(1, 1001):
        journal.begin(number)
        journal.end(ended(number))
        journal.forget([number])
        made.add(Path(journal.path).stat().st_ino)
        assert Path(journal.path).stat().st_size <= 1100
    os.close(journal._descriptor)
    assert 1 < len(made) < 100
    assert [Path(journal.path)] == list(folder.iterdir())


def test_one_that_was_removed_does_not_come_back(journal: Journal, folder: Path) -> None:
    journal.begin(1)
    journal.end(ended(1))
    journal.remove()
    journal.forget([1])
    assert list(folder.iterdir()) == []


FORGETFUL = """
import os, signal, sys
from treadle.pools.places.ray import journal as journals
folder, step, moment = sys.argv[1:]
journals._folder = lambda: folder
journal = journals.Journal(slack=0)
for number in (1, 2):
    journal.begin(number)
    journal.end(journals.Report(number, journals.VALUE, 0.25, b"value"))
journal.begin(3)
real = getattr(os, step)
def die(*args):
    if moment == "after":
        real(*args)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, step, die)
print(journal.path, flush=True)
journal.forget([1])
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["ftruncate", "replace"])
def test_a_death_while_it_forgets_costs_nothing_that_is_not_known(
    folder: Path, step: str, moment: str
) -> None:
    """Whether it empties its file or replaces it."""
    dead = subprocess.run(
        [sys.executable, "-c", FORGETFUL, folder, step, moment],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    found = exhumed(dead.stdout.strip())
    assert found is not None
    assert found.begun >= {2, 3}
    assert found.ended[2] == ended(2)
    os.close(Journal()._descriptor)
    assert len(list(folder.iterdir())) == 1, "what the dead one had begun to write is removed"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_while_an_answer_is_heard_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The place says that it knows the first end just when the third call has ended."""
    found: list[Findings | None] = []
    over = threading.Event()

    class Watched(Journal):
        def __init__(self) -> None:
            super().__init__(slack=0)

        def begin(self, number: int) -> None:
            if number == 4:
                found.append(exhumed(self.path))
                os.close(self._descriptor)
                over.set()
                raise SystemExit  # the end of the thread
            super().begin(number)

        def end(self, report: Report) -> None:
            super().end(report)
            if report.number == 3:
                # The answer to this is lost.
                host.collect(1)

    monkeypatch.setattr(hosts, "Journal", Watched)
    host = hosts.Host("diary", b"", (), logging.WARNING)
    host.deliver(0, [Order(number, False, "write", b"", ()) for number in range(1, 5)])
    assert over.wait(30)
    assert found[0] is not None
    assert set(found[0].ended) == {2, 3}


@pytest.mark.parametrize("cut", [1, 10, 21, 24])
def test_a_last_entry_that_was_cut_off_counts_as_not_written(journal: Journal, cut: int) -> None:
    journal.begin(1)
    journal.end(ended(1))
    whole = Path(journal.path).read_bytes()
    Path(journal.path).write_bytes(whole[:-cut])
    found = exhumed(journal.path)
    assert found is not None
    assert (found.begun, found.ended) == ({1}, {})


def test_large_results_are_known_to_have_begun_alone(journal: Journal) -> None:
    journal.begin(1)
    journal.end(ended(1, b"x" * (1 << 20)))
    assert Path(journal.path).stat().st_size < 1000
    found = exhumed(journal.path)
    assert found is not None
    assert (found.begun, found.ended) == ({1}, {})


def test_others_cannot_read_it(journal: Journal) -> None:
    assert Path(journal.path).stat().st_mode & 0o077 == 0


def test_those_of_the_dead_are_removed_and_those_of_the_living_stay(folder: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    orphan = folder / f"treadle-journal-{gone.pid}-x"
    living = folder / f"treadle-journal-{os.getpid()}-x"
    foreign = folder / "treadle-journal-of-somebody"
    for file in (orphan, living, foreign):
        file.touch()
    made = Journal()
    os.close(made._descriptor)
    assert [file.exists() for file in (orphan, living, foreign)] == [False, True, True]
