"""Types are part of the product: both checkers see them, and refuse what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
Checker = Callable[[Path, Path], dict[int, str]]
pytestmark = pytest.mark.slow


def mypy(file: Path, cache: Path) -> dict[int, str]:
    """Errors by line."""
    command = ["mypy", "--strict", "--no-error-summary", "--hide-error-context", "--no-pretty"]
    options = ["--config-file=", f"--cache-dir={cache}", "--python-version=3.11"]
    done = _run([*command, *options, str(file)])
    found = re.findall(rf"{re.escape(file.name)}:(\d+): error: (.*)", done.stdout)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return {int(line): text for line, text in found}


def pyright(file: Path, cache: Path) -> dict[int, str]:
    """Errors by line."""
    project = cache / "pyrightconfig.json"
    settings = {
        "include": [str(file)],
        "typeCheckingMode": "strict",
        "reportUnusedExpression": "none",
        "reportUnusedCoroutine": "none",
        "extraPaths": [str(ROOT / "src")],
        "pythonVersion": "3.11",
    }
    project.write_text(json.dumps(settings))
    done = _run(["basedpyright", "--outputjson", "--project", str(project)])
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return {
        one["range"]["start"]["line"] + 1: one["message"]
        for one in json.loads(done.stdout)["generalDiagnostics"]
        if one["severity"] == "error"
    }


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True, text=True, timeout=300, check=False, cwd=HERE,
        env={"MYPYPATH": str(ROOT / "src"), "PATH": str(Path(sys.executable).parent)},
    )  # fmt: skip


CHECKERS = [
    pytest.param(
        check, id=name, marks=pytest.mark.skipif(not find_spec(name), reason=f"no {name} here")
    )
    for name, check in (("mypy", mypy), ("basedpyright", pyright))
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("typing")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("check", CHECKERS)
class TestCheckers:
    @pytest.mark.parametrize("name", ["right.py", "right_workers.py"])
    def test_what_users_write_has_its_types(self, check: Checker, cache: Path, name: str) -> None:
        assert check(HERE / name, cache) == {}

    @pytest.mark.parametrize("name", ["wrong.py", "wrong_workers.py"])
    def test_each_mistake_is_refused(self, check: Checker, cache: Path, name: str) -> None:
        file = HERE / name
        lines = enumerate(file.read_text().splitlines(), 1)
        wrong = {number for number, line in lines if line.endswith("# wrong")}
        found = check(file, cache)
        assert {line: text for line, text in found.items() if line not in wrong} == {}
        assert wrong - found.keys() == set()
