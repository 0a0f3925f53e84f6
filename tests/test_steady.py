"""What tells tests that fail from those that are unsteady."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "steady.py"
STEADY = "def test_steady():\n    pass\n"
# Passes from the second time on.
UNSTEADY = """
from pathlib import Path

def test_unsteady():
    seen = Path(__file__).with_suffix(".seen")
    before = seen.exists()
    seen.touch()
    assert before
"""
# As strict as those of the project: an option that one run lacks would fail it.
SETTINGS = "[pytest]\ncache_dir = cache\naddopts = --strict-config --strict-markers\n"
FAILING = "def test_failing():\n    assert False\n"


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(code)
    (folder / "pytest.ini").write_text(SETTINGS)
    return subprocess.run(
        [sys.executable, TOOL, "-q", "-n", "2"],
        cwd=folder, check=False, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "status", "named"),
    [
        pytest.param(STEADY, 0, 0, id="steady"),
        pytest.param(STEADY + UNSTEADY, 0, 1, id="unsteady"),
        pytest.param(UNSTEADY + FAILING, 1, 0, id="failing"),
        pytest.param("import nothing_of_the_kind\n", 1, 0, id="broken"),
        pytest.param("", 5, 0, id="none"),
    ],
)
def test_what_fails_by_itself_fails_the_run(
    tmp_path: Path, code: str, status: int, named: int
) -> None:
    ran = run(tmp_path, code)
    assert ran.returncode == status, ran.stdout
    assert ran.stdout.count("UNSTEADY test_it.py::test_unsteady") == named


@pytest.mark.slow
def test_many_failures_are_failures(tmp_path: Path) -> None:
    parts = [UNSTEADY.replace("unsteady", f"no_{n}").replace(".seen", f".{n}") for n in range(6)]
    ran = run(tmp_path, "".join(parts))
    assert ran.returncode == 1
    assert "by itself" not in ran.stdout
