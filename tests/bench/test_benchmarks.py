"""The benchmarks run, and say what they measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from benchmarks import __main__ as program
from benchmarks import peer, report
from benchmarks.figure import Aim, Figure, percentiles
from treadle.loopthread import background
from treadle.testing.servers.waiting import until

_FIGURES = [
    Figure(
        "drain",
        "embedded",
        "memory",
        200.0,
        "jobs/s",
        floor=400.0,
        peers={"slow": 50.0, "fast": 100.0},
    ),
    Figure(
        "trip", "to result", "sqlite full", 2.0, "ms", floor=1.0, peers={"far": None, "near": 8.0}
    ),
]


@pytest.mark.parametrize(
    ("figure", "floor", "other"), [(_FIGURES[0], 0.5, 2.0), (_FIGURES[1], 0.5, 4.0)]
)
def test_a_ratio_says_how_many_times_as_good(figure: Figure, floor: float, other: float) -> None:
    assert figure.over(figure.floor) == floor
    assert figure.over(figure.peer) == other
    assert figure.over(None) is None


@pytest.mark.parametrize(
    ("figure", "aim", "reached"),
    [
        (_FIGURES[0], Aim("peer", 2.0), True),
        (_FIGURES[0], Aim("floor", 0.6), False),
        (_FIGURES[0], Aim("value", 200.0), True),
        (_FIGURES[1], Aim("peer", 5.0), False),
        (_FIGURES[1], Aim("value", 2.0), True),
        (_FIGURES[1], Aim("value", 1.9), False),
        (Figure("drain", "alone", "memory", 1.0, "jobs/s"), Aim("peer", 1.0), None),
    ],
)
def test_an_aim_is_reached_or_not_or_there_is_nothing_to_compare(
    figure: Figure, aim: Aim, reached: bool | None
) -> None:
    assert figure.reached(aim) is reached


def test_a_peer_that_cannot_be_installed_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def refused(_: peer.Peer, python: Path) -> bool:
        tried.append(python.name)
        return False

    monkeypatch.setattr(peer, "CACHE", tmp_path)
    monkeypatch.setattr(peer.Peer, "_install", refused)
    missing = peer.Peer("nowhere", ["nowhere==1"], tmp_path / "program.py", promise="none")
    assert missing.ask({}) is None
    assert missing.ask({}) is None
    assert tried == ["python"]
    assert "nowhere==1 could not be installed: its column stays empty" in capsys.readouterr().err
    assert missing.note().startswith("**nowhere 1**: none. It could not be installed on")


def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> peer.Peer:
    """A peer whose environment is that of the tests."""
    file = tmp_path / "program.py"
    file.write_text(program)
    here = peer.Peer("here", ["here==1", "other==2"], file, words=["with_it"])
    monkeypatch.setattr(here, "_python", lambda: Path(sys.executable))
    return here


def test_a_peer_gets_its_words_and_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
        import json, os, sys
        print("talks")
        print(json.dumps([*sys.argv[1:], os.environ["A"]]))
    """
    here = _here(tmp_path, monkeypatch, dedent(program))
    assert here.ask({"part": "drain"}, {"A": "7"}) == ["with_it", '{"part": "drain"}', "7"]
    assert here.beside(2.0) == {"here": 2.0}
    assert here.note() == "**here 1**."


def test_a_peer_that_fails_leaves_its_place_empty_and_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = _here(tmp_path, monkeypatch, "raise SystemExit('no server')")
    assert here.ask({"part": "drain"}) is None
    assert "no server" in capsys.readouterr().err
    assert here.note() == "**here 1**. It failed at drain: there it is empty."


def test_what_a_peer_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = """
        import subprocess, sys
        line = [sys.executable, "-c", "import signal; signal.pause()"]
        print(subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)
    """
    pid = _here(tmp_path, monkeypatch, dedent(program)).ask({})
    ended = Path(f"/proc/{pid}/stat")
    assert until(lambda: not ended.exists() or ended.read_text().split()[2] == "Z", 30)


def test_aims_have_a_column_where_there_are_any() -> None:
    aimed = Figure("workers", "calls", "thread", 20.0, "calls/s", 10.0, {},
                   (Aim("floor", 3), Aim("peer", 5)))  # fmt: skip
    text = report.tables([_FIGURES[0], aimed], {"workers": ["said"]})
    assert "| embedded | 200 | jobs/s | 400 | 0.5 | 50 | 100 | 2 |\n" in text
    assert "| calls | 20 | calls/s | 10 | 2 | 3 × floor: missed; 5 × peer: not compared |" in text
    assert text.endswith("|\n\n- said\n")


def test_stores_have_a_column_where_there_are_several() -> None:
    other = Figure("drain", "embedded", "sqlite full", 20.0, "jobs/s")
    text = report.tables([_FIGURES[0], other], {})
    assert "| what | store | Treadle | unit | floor | × floor | slow | fast | × best |\n" in text
    assert "| embedded | sqlite full | 20 | jobs/s | – | – | – | – | – |\n" in text


def test_the_screen_has_the_best_peer_with_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    report.show(_FIGURES, {"trip": ["**near** is `near` 1"]})
    shown = capsys.readouterr().out
    assert "100 fast" in shown
    assert "8 near" in shown
    assert "near is near 1" in shown
    assert "50" not in shown


def test_percentiles_of_few_and_many() -> None:
    assert percentiles([3.0]) == (3.0, 3.0)
    assert percentiles([float(n) for n in range(1000)]) == (500.0, 990.0)


def test_the_page_is_written_between_its_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "PAGE", page)
    for _ in range(2):
        report.write_page(_FIGURES, {}, ["drain", "trip"])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text
    assert text.count("| embedded | 200 | jobs/s | 400 | 0.5 | 50 | 100 | 2 |") == 1
    assert text.count("### Trip") == 1


def test_parts_that_were_not_run_stay_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{report.BEGIN}\n\n### Gone\n\nx\n{report.END}\n")
    monkeypatch.setattr(report, "PAGE", page)
    order = ["drain", "redis", "trip"]
    report.write_page(_FIGURES[1:], {"trip": ["of the trip"]}, order)
    report.write_page(_FIGURES[:1], {"drain": ["of the drain"]}, order)
    both = page.read_text()
    report.write_page([], {"redis": ["no server"]}, order)
    assert page.read_text() == both
    assert "Gone" not in both
    assert both.index("### Drain") < both.index("- of the drain") < both.index("### Trip")
    assert both.endswith(f"- of the trip\n\n{report.END}\n")


def test_a_page_without_marks_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n")
    monkeypatch.setattr(report, "PAGE", page)
    with pytest.raises(SystemExit, match="lacks the marks"):
        report.write_page(_FIGURES, {}, ["drain", "trip"])
    assert page.read_text() == "text\n"


def test_the_page_of_the_documentation_has_the_marks() -> None:
    text = report.PAGE.read_text()
    assert text.index(report.BEGIN) < text.index(report.END)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", program.PARTS)
def test_each_part_runs_without_the_peer(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(peer.Peer, "ask", missing)
    kept = tmp_path / "figures.json"
    try:
        assert program.main(["--scale", "0.01", "--only", part, "--json", str(kept)]) == 0
    finally:
        background().close()  # workers of plain code may have begun it; it stays for the next ones
    figures = json.loads(kept.read_text())["figures"]
    assert {figure["part"] for figure in figures} == {part}
    assert all(figure["value"] > 0 for figure in figures)
    assert not any(value for figure in figures for value in figure["peers"].values())
    shown = capsys.readouterr().out
    assert all(figure["what"][:12] in shown for figure in figures)
