"""The size gate counts code and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parent.parent / "tools" / "check_sizes.py"


def _check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), str(folder)], capture_output=True, text=True, check=False
    )


def _function(lines: int, name: str = "f") -> str:
    return "\n".join([f"def {name}():"] + ["    x = 1"] * (lines - 1)) + "\n"


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        ("x = 1\n" * 300, 0, ""),
        ("x = 1\n" * 301, 0, "large"),
        ("x = 1\n" * 400, 0, "large"),
        ("x = 1\n" * 401, 1, "401 lines of code"),
        (_function(40), 0, ""),
        (_function(41), 0, "f has 41"),
        (_function(60), 0, "large"),
        (_function(61), 1, "f has 61"),
        ("def f(a, b, c, d, e): ...\n", 0, ""),
        ("def f(a, b, c, d, e, g): ...\n", 1, "6 positional"),
        ("def f(a, b, c, d, e, *, g, h): ...\n", 0, ""),
        ("@command\ndef f(a, b, c, d, e, g): ...\n", 0, ""),
        ("def test_f(a, b, c, d, e, g): ...\n", 0, ""),
        ("class C:\n    def f(self, a, b, c, d, e): ...\n", 0, ""),
    ],
)
def test_limits(tmp_path: Path, source: str, code: int, says: str) -> None:
    (tmp_path / "module.py").write_text(source)
    done = _check(tmp_path)
    assert done.returncode == code, done.stdout
    assert says in done.stdout
    assert bool(done.stdout) == bool(says)


def test_blank_lines_comments_and_docstrings_do_not_count(tmp_path: Path) -> None:
    text = '"""' + "Word.\n" * 500 + '"""\n' + "\n# A reason.\n" * 500 + "x = 1\n" * 300
    (tmp_path / "module.py").write_text(text)
    assert _check(tmp_path).stdout == ""


def test_a_long_string_counts_by_its_lines(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text('x = """' + "word\n" * 401 + '"""\n')
    assert _check(tmp_path).returncode == 1
