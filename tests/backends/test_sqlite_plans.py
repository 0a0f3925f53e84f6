"""No statement reads more of a table than it has to: the cost does not grow with the jobs."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import treadle.backends.sqlite as package
from treadle.backends.sqlite import statements
from treadle.backends.sqlite.address import parse
from treadle.backends.sqlite.database import connect, install

SQL = statements.load("treadle")
# Read whole on purpose: numbers of queues, tasks and sessions, not of jobs.
FEW = {"all_jobs", "counts", "failures", "sessions"}


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A database with the tables."""
    path = tmp_path_factory.mktemp("plans") / "jobs.db"
    install(parse(f"sqlite:///{path}"), "treadle")
    connection = connect(str(path))
    yield connection
    connection.close()


def plan(connection: sqlite3.Connection, name: str) -> list[str]:
    """The steps of a statement."""
    text = SQL.rows(name, 2)
    # A bound value of any type will do: it is planned, not carried out.
    numbers = [int(n) for n in re.findall(r"\?(\d+)", text)]
    values = ["1"] * (max(numbers) if numbers else text.count("?"))
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]


@pytest.mark.parametrize("name", sorted(set(SQL.texts) - FEW))
def test_nothing_is_scanned(connection: sqlite3.Connection, name: str) -> None:
    """Only a search by an index, or the first entry of one."""
    text = SQL[name]
    for step in plan(connection, name):
        # All jobs of a state are too many, but for those that run.
        assert "treadle_job_place (state=?)" not in step or name == "running_of", f"{name}: {step}"
        if not step.startswith("SCAN") or "json_each" in step or "CONSTANT ROW" in step:
            continue
        # The first entry of an index or table, or as many as are asked for, in its order.
        assert "LIMIT" in text or "SELECT min(" in text, f"{name}: {step}\n{text}"
        assert not step.startswith("SCAN treadle_job") or " USING " in step, f"{name}: {step}"


def test_the_horizon_reads_the_first_entry_of_each_index(connection: sqlite3.Connection) -> None:
    """Each instant comes from the index made for it, in which it is the first."""
    steps = plan(connection, "horizon")
    for index in ("due", "until", "expires", "keep"):
        [step] = [step for step in steps if f"treadle_job_{index}" in step]
        assert step.startswith(("SCAN", "SEARCH"))
    assert not [step for step in steps if "treadle_job_place" in step]


@pytest.mark.parametrize(
    "name", ["candidates", "due", "lapsed", "expired", "oldest_failed", "line"]
)
def test_nothing_is_sorted(connection: sqlite3.Connection, name: str) -> None:
    """The index gives the order; a sort would read all to find the first."""
    assert not [step for step in plan(connection, name) if "TEMP B-TREE" in step]


def test_every_statement_is_used() -> None:
    """A statement that nobody names is dead."""
    sources = "".join(path.read_text() for path in Path(package.__file__).parent.glob("*.py"))
    composed = {
        f"{stem}_{way}" for stem in ("seqs", "flow", "failed", "place") for way in ("up", "down")
    }
    unused = [name for name in set(SQL.texts) - composed if f'"{name}"' not in sources]
    assert unused == []


def test_namespaces_have_tables_of_their_own() -> None:
    """The prefix is the namespace, also where SQLite would not tell two of them apart."""
    assert '"mine_job"' in statements.load("mine")["body"].replace("_body", "_job")
    assert statements.prefix_of("App") != statements.prefix_of("app")


def test_rows_are_made_of_a_few_sizes() -> None:
    """So that the texts stay in the cache of prepared statements."""
    assert statements.sizes(100) == (64, 32, 4)
    assert statements.sizes(1) == (1,)
    assert sum(statements.sizes(1000)) == 1000
    assert SQL.rows("insert_body", 3).count("(?, ?)") == 3
