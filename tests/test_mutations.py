"""The list of defects follows the code, and the tool that plants them sees what becomes of each."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TOOL = ROOT / "tools" / "mutate.py"
LISTS = sorted((ROOT / "tests" / "mutations").glob("*.toml"))
CODE = """
def twice(number: int) -> int:
    return number * 2
"""
TESTS = """
from __future__ import annotations

import threading

import pytest
from shop import twice


@pytest.fixture
def four() -> int:
    return 8 // twice(1)


def test_twice() -> None:
    assert twice(3) == 6


def test_of_nothing() -> None:
    assert twice(0) == 0


def test_with_a_fixture(four: int) -> None:
    assert four
"""


def entries() -> list[dict[str, str]]:
    found = [tomllib.loads(path.read_text("utf-8"))["mutation"] for path in LISTS]
    return [entry for part in found for entry in part]


def definitions() -> str:
    """All tests, those that backends inherit too."""
    folders = (ROOT / "tests", ROOT / "src" / "treadle" / "testing" / "contract")
    return "\n".join(path.read_text("utf-8") for one in folders for path in one.rglob("*.py"))


def test_each_mutation_is_of_code_that_is_there() -> None:
    """Else it would plant nothing."""
    lost = [
        (entry["file"], entry["what"])
        for entry in entries()
        if (ROOT / entry["file"]).read_text("utf-8").count(entry["old"]) != 1
    ]
    assert lost == []


def test_each_mutation_is_code() -> None:
    for entry in entries():
        if entry["file"].endswith(".py"):
            text = (ROOT / entry["file"]).read_text("utf-8")
            assert entry["new"] != entry["old"], entry["what"]
            compile(text.replace(entry["old"], entry["new"]), entry["what"], "exec")


def test_each_test_that_is_named_exists() -> None:
    text = definitions()
    names = {entry["test"].rpartition("::")[2].partition("[")[0] for entry in entries()}
    assert [name for name in names if not re.search(rf"\bdef {name}\(", text)] == []
    files = {entry["test"].partition("::")[0] for entry in entries()}
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_every_part_of_the_protocol_has_its_mutations() -> None:
    parts = {path.stem for path in LISTS}
    assert parts >= {"codec", "foreman", "memory", "policies", "redis_network", "sqlite"}
    assert len(entries()) >= 150


# ---------------------------------------------------------------- the tool


class Project:
    """A small tree with a list of mutations."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.list = root / "tests" / "mutations" / "all.toml"
        self.list.parent.mkdir(parents=True)
        (root / "src" / "shop").mkdir(parents=True)
        (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
        self.code = root / "src" / "shop" / "__init__.py"
        self.code.write_text(CODE)
        (root / "tests" / "test_shop.py").write_text(TESTS)

    def add(
        self, what: str, test: str, *, old: str = "number * 2", new: str = "number + 2"
    ) -> None:
        values = {"what": what, "file": "src/shop/__init__.py", "old": old, "new": new}
        values["test"] = f"tests/test_shop.py::{test}"
        lines = [f'{key} = "{value}"' for key, value in values.items()]
        with self.list.open("a") as file:
            print("[[mutation]]", *lines, sep="\n", file=file)

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=one", "-c", "user.email=one@example.org")
        subprocess.run(("git", *who, *words), cwd=self.root, check=True, capture_output=True)

    def run(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            (sys.executable, str(TOOL), "--root", str(self.root), *words),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "shop")


@pytest.mark.slow
def test_what_a_test_notices_and_what_none_does(project: Project) -> None:
    project.add("a sum", "test_twice")
    project.add("a half", "test_of_nothing", new="number // 2")
    project.add("an error before the test", "test_with_a_fixture", new="number // 0")
    status, says = project.run("--jobs", "1")
    assert status == 1
    assert re.search(r"^noticed .* a sum$", says, re.MULTILINE)
    assert re.search(r"^SURVIVED .* a half$", says, re.MULTILINE)
    assert re.search(r"^BREAKS .* an error before the test$", says, re.MULTILINE)
    assert "1 of 3 mutations noticed" in says
    assert project.code.read_text() == CODE
    status, says = project.run("sum")
    assert (status, "1 of 1 mutations noticed" in says) == (0, True)
    status, says = project.run("sum", "--minutes", "0")
    assert (status, "1 were left out" in says) == (0, True)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"old": "number * 3"}, "its text is 0 times in src/shop/__init__.py"),
        ({"old": "number"}, "its text is 2 times in src/shop/__init__.py"),
        ({"new": "number * 2"}, "it changes nothing"),
        ({"test": "test_that_is_not_there"}, "do not pass without any defect"),
    ],
    ids=["gone", "twice", "the same", "no test"],
)
def test_a_list_that_has_not_followed_the_code_is_refused(
    project: Project, entry: dict[str, Any], says: str
) -> None:
    project.add("one", **{"test": "test_twice", **entry})
    status, told = project.run()
    assert status == 2
    assert says in told


def test_tests_that_fail_anyhow_show_nothing(project: Project) -> None:
    project.add("a sum", "test_twice", old="number + 1", new="number * 2")
    project.code.write_text(CODE.replace("number * 2", "number + 1"))
    status, says = project.run()
    assert status == 2
    assert "do not pass without any defect" in says


def test_a_change_chooses_its_mutations(project: Project) -> None:
    """By their files and their tests; without anything to compare with, a share of all."""
    project.add("a sum", "test_twice")
    for number in range(11):
        project.add(f"number {number}", "test_twice")
    project.git("init", "--initial-branch", "main")
    project.git("add", ".")
    project.git("commit", "-m", "one")
    status, says = project.run("--changed", "--list")
    assert status == 0
    assert re.match(r"[12] of 12 mutations: one of 8 shares, by the seed \d+\n", says)
    assert project.run("--seed", "7", "--list")[1].endswith("src/shop/__init__.py: number 6\n")
    project.git("switch", "-c", "change")
    (project.root / "other.py").write_text("")
    project.git("add", ".")
    project.git("commit", "-m", "two")
    status, says = project.run("--changed")  # and there is nothing to try
    assert (status, says.startswith("0 of 12 mutations: what has changed since")) == (0, True)
    (project.root / "tests" / "test_shop.py").write_text(TESTS + "\n")
    assert project.run("--changed", "--list")[1].startswith("12 of 12 mutations")
    assert project.run("--changed", "--list", "sum")[1].endswith("a sum\n")
    assert project.run("--since", "nothing")[0] == 2
