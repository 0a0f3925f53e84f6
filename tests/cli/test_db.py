"""``treadle db``: the tables of a store."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.cli.shell import Shell


def test_tables_are_made_checked_and_left_alone(shell: Shell) -> None:
    assert "there are no tables" in shell("db", "verify", status=1).out
    made = shell("db", "install").out
    assert made.endswith("jobs.db: the tables are made, version 1; code from version 1 on works\n")
    assert "of version 1 already" in shell("db", "install").out
    assert shell("db", "upgrade", "--json").json == {"before": 1, "version": 1, "min_reader": 1}
    assert "as they should be" in shell("db", "verify").out
    assert shell("db", "verify", "--json").json == {"well": True, "findings": []}


def test_what_is_wrong_ends_with_1(shell: Shell) -> None:
    shell("db", "install")
    with closing(sqlite3.connect(shell.directory / "jobs.db")) as connection:
        connection.execute("DROP TABLE treadle_cell")
    assert "table treadle_cell is missing" in shell("db", "verify", status=1).out
    view = shell("db", "verify", "--json", status=1).json
    assert view["well"] is False
    assert view["findings"][0] == "table treadle_cell is missing"


def test_nothing_is_upgraded_that_is_not_there(shell: Shell) -> None:
    assert "'treadle db install'" in shell.refused("db", "upgrade", status=1)


def test_the_statements_are_printed_for_somebody_else(shell: Shell) -> None:
    text = shell("db", "sql", "--app", "tasks:app").out
    assert text.startswith("BEGIN;\n")
    assert not (shell.directory / "jobs.db").exists()
    with closing(sqlite3.connect(shell.directory / "jobs.db")) as connection:
        connection.executescript(text)
    assert "as they should be" in shell("db", "verify").out
    text = shell("db", "sql", "--url", "postgresql://u:s3cret@nowhere/x", "--role", "my app").out
    assert 'GRANT SELECT, INSERT, UPDATE, DELETE ON "treadle_job" TO "my app";' in text
    assert 'GRANT SELECT ON "treadle_meta" TO "my app";' in text
    assert "s3cret" not in text
    since = shell("db", "sql", "--url", "postgresql://u@nowhere/x", "--from", "1").out
    assert "CREATE TABLE" not in since


def test_what_has_no_tables_is_refused(shell: Shell) -> None:
    assert "nothing to install" in shell.refused("db", "install", "--url", "memory://")
    assert "no roles" in shell.refused("db", "sql", "--role", "app")
