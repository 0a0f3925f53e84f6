"""What a job and a call cost does not grow unnoticed: its work is counted and held to a budget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.work import BUDGET, CALLS, OPERATIONS, STORES, version

_ROOT = Path(__file__).parent.parent.parent
# How batches fall differs a little from run to run.
_TOLERANCE = 1.05
# In an interpreter without a budget of its own, held to that of the nearest one.
_FOREIGN = 1.25
_STATEMENTS = 0.2
_RUNS = 3


def _measured() -> dict[str, dict[str, Any]]:
    """In a process of its own, where nothing else is traced and nothing was loaded before."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.work"],
        cwd=_ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, dict[str, Any]] = json.loads(ran.stdout)
    return found


def _budget() -> tuple[dict[str, dict[str, Any]], float]:
    """What a job may cost on this interpreter, and the tolerance."""
    known = json.loads(BUDGET.read_text())
    if version() in known:
        return known[version()], _TOLERANCE
    own = sys.version_info.minor
    nearest = min(known, key=lambda name: abs(int(name.partition(".")[2]) - own))
    return known[nearest], _FOREIGN


def _over(found: dict[str, Any], budget: dict[str, Any], tolerance: float) -> list[str]:
    """What is over the budget."""
    bounds = {
        "instructions": budget["instructions"] * tolerance,
        "calls": budget["calls"] * tolerance,
        "statements": budget["statements"] + _STATEMENTS,
    }
    return [kind for kind, most in bounds.items() if found[kind] > most]


def _table(name: str, found: dict[str, Any], budget: dict[str, Any]) -> str:
    """What grew, the largest growth first."""
    lines = [f"{name}, per job:", f"{'':48}{'budget':>10}{'now':>10}{'more':>10}"]
    rows = [(kind, budget[kind], found[kind]) for kind in ("instructions", "calls", "statements")]
    before, now = budget["parts"], found["parts"]
    parts = [(file, before.get(file, 0), now.get(file, 0)) for file in {*before, *now}]
    rows += sorted(parts, key=lambda row: row[1] - row[2])[:10]
    lines += [f"{what:48}{was:10.2f}{is_:10.2f}{is_ - was:+10.2f}" for what, was, is_ in rows]
    return "\n".join(lines)


@pytest.mark.timeout(300)
def test_a_job_and_a_call_make_no_more_work_than_their_budget() -> None:
    budget, tolerance = _budget()
    grown = set(budget)
    found: dict[str, dict[str, Any]] = {}
    for _ in range(_RUNS):
        found |= {name: work for name, work in _measured().items() if name in grown}
        grown = {name for name in grown if _over(found[name], budget[name], tolerance)}
        if not grown:
            return
    tables = "\n\n".join(_table(name, found[name], budget[name]) for name in sorted(grown))
    pytest.fail(
        f"a job makes more work than its budget (instructions of the interpreter by file):\n\n"
        f"{tables}\n\nIf it is worth that, write it down: make bench-record",
        pytrace=False,
    )


def test_the_budgets_have_all_operations() -> None:
    wanted = {f"{operation}, {store}" for operation in OPERATIONS for store in STORES}
    wanted |= set(CALLS)
    assert all(set(of) == wanted for of in json.loads(BUDGET.read_text()).values())


def test_work_that_grew_is_over_its_budget_and_shown() -> None:
    budget = {
        "instructions": 100.0,
        "calls": 5.0,
        "statements": 1.0,
        "parts": {"a.py": 60, "b.py": 40},
    }
    same = {**budget, "instructions": 104.0}
    grown = {
        **budget,
        "instructions": 130.0,
        "calls": 6.0,
        "statements": 2.0,
        "parts": {"a.py": 90, "b.py": 40},
    }
    assert _over(same, budget, _TOLERANCE) == []
    assert _over(grown, budget, _TOLERANCE) == ["instructions", "calls", "statements"]
    assert "+30.00" in _table("drain", grown, budget)
