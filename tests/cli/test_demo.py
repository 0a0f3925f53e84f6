"""``treadle demo``: what it measures, that it counts each file once, that what it prints works."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from treadle.codec import Codec, KeyRing
from treadle.demo import inputs
from treadle.demo.ledger import append, read
from treadle.demo.measure import measure_source
from treadle.demo.results import collect
from treadle.demo.tasks import app, measure

SOURCE = '''
def plain(): return 1

class Shape:
    def area(self, x):
        """One way more for each of: if, elif, for, and, or."""
        if x > 1 and x < 5 or x == 9:
            return 1
        elif x:
            return 2
        for one in x:
            pass
        def inner():
            while True:
                pass
        return [y for y in x if y]

async def fetch(x):
    try:
        return 1 if x else 2
    except (ValueError, OSError):
        pass
    match x:
        case 1: pass
        case _: pass
'''


@pytest.fixture
def directories() -> Iterator[list[str]]:
    """Directories that a demo has made, removed at the end."""
    made: list[str] = []
    yield made
    for directory in made:
        shutil.rmtree(directory)


def test_functions_are_measured_each_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "shapes.py"
    file.write_text(SOURCE)
    measures = measure_source(file)
    found = {one.name: (one.branches, one.complexity) for one in measures.top}
    assert found == {
        "plain": (0, 1),
        "Shape.area": (3, 8),
        "Shape.area.inner": (1, 2),
        "fetch": (4, 5),
    }
    assert (measures.functions, measures.branches) == (4, 8)
    assert measures.lines == SOURCE.count("\n")
    assert [one.complexity for one in measures.top] == [8, 5, 2, 1]


@pytest.mark.parametrize("source", [b"def broken(:\n", b"# coding: no-such\n", b"x = '\xff'\n"])
def test_what_cannot_be_parsed_raises(tmp_path: Path, source: bytes) -> None:
    file = tmp_path / "broken.py"
    file.write_bytes(source)
    with pytest.raises((SyntaxError, UnicodeDecodeError)):
        measure_source(file)


def test_a_library_without_broken_files_gets_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "_BROKEN_ON_PURPOSE", frozenset())
    found = inputs.find(tmp_path, 20)
    assert len(found.added) == 3
    assert len(found.files) == 20
    assert "3 broken ones made for this demo" in found.describe()
    for file in found.added:
        with pytest.raises((SyntaxError, UnicodeDecodeError)):
            measure_source(file)


def test_a_small_library_is_made_up_with_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough = len(inputs.find(tmp_path).library) + 10
    monkeypatch.setattr(inputs, "ENOUGH", enough)
    found = inputs.find(tmp_path)
    assert len(found.packages) == 10
    assert "10 of installed packages" in found.describe()


def test_the_ledger_counts_starts_and_ends(tmp_path: Path) -> None:
    file = tmp_path / "ledger.txt"
    append(file, "start", "a", 1)
    append(file, "start", "a", 2)
    append(file, "end", "a", 2)
    ledger = read(file)
    assert (ledger.started["a"], ledger.ended["a"], ledger.started["b"]) == (2, 1, 0)


def test_the_demo_counts_every_file_once_and_its_commands_work(
    shell: Shell, directories: list[str]
) -> None:
    with shell.program("demo", "--files", "40") as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    lines = out.splitlines()
    directories += [line.split()[1] for line in lines if line.startswith("directory ")]
    assert "40 files, 40 jobs: every file was counted exactly once" in out
    assert "could not be parsed; they are failed jobs:" in out
    assert not any(sign in out for sign in "\x1b─│━")
    commands = lines[lines.index("To look further:") + 1 :]
    assert len(commands) == 5
    for command in commands:
        words = shlex.split(command)
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout


@pytest.mark.slow
def test_the_demo_with_crashes_counts_every_file_once(shell: Shell, directories: list[str]) -> None:
    url = ("--url", "sqlite:///demo.db")
    with shell.program("demo", "--crash", "--files", "120", "--json", *url) as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    view = json.loads(out)
    directories.append(view["directory"])
    assert view["counted_once"] is True
    assert view["measured"] + len(view["failed"]) == view["files"] == 120
    assert len(view["killed"]) >= 1
    assert all(one["started"] >= 2 for one in view["twice"])
    assert len(view["top"]) == 10


@pytest.mark.slow
def test_an_interrupt_leaves_cleanly_and_says_how_to_go_on(
    shell: Shell, directories: list[str]
) -> None:
    with shell.program("demo", "--files", "500") as process:
        assert process.stdout is not None
        head: list[str] = []
        for line in process.stdout:
            head.append(line)
            if " done " in line and " done 0/" not in line:
                break
        directories += [one.split()[1] for one in head if one.startswith("directory ")]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    run, queues = out.splitlines()[-2:]
    done = subprocess.run([*shlex.split(queues), "--json"], capture_output=True, check=True)
    (view,) = json.loads(done.stdout)
    assert view["jobs"]["running"] == 0
    assert view["foremen"] == []
    assert view["jobs"]["queued"] > 0
    assert "--burst" in run


async def test_results_are_read_from_a_store_that_signs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    codec = Codec(keys=KeyRing({"k1": b"s" * 32}), require_signature=True)
    monkeypatch.setattr(app.core, "codec", codec)
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(SOURCE)
    bad.write_text("def (")
    ledger = tmp_path / "ledger"
    with app.override(url="memory://"):
        await measure.options(queue="demo.x").aenqueue_many([(good, ledger), (bad, ledger)])
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
        results = await collect(app.core, "demo.x", (good, bad), read(ledger))
        await app.aclose()
    assert (results.succeeded, results.unfinished, results.miscounted) == (1, 0, ())
    assert [(one.path, one.error.partition(":")[0]) for one in results.failures] == [
        (bad, "SyntaxError")
    ]
