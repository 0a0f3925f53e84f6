"""``treadle doctor`` on a store in which nothing was made yet: it says so, and leaves it so."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.backends.postgres_support import execute
from tests.backends.rabbitmq_support import exists
from tests.backends.redis_server import client, namespace
from tests.cli.shell import Shell
from tests.servers import postgres_url, rabbitmq_url, redis_url
from treadle.backends.postgres.statements import prefix_of
from treadle.testing.servers.ports import free_port

__all__ = ["postgres_url", "rabbitmq_url", "redis_url"]


@pytest.fixture
def space(shell: Shell, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A namespace that nobody else has; it is set when the shell has forgotten the others."""
    with namespace(redis_url) as name:
        monkeypatch.setenv("TREADLE_NAMESPACE", name)
        yield name


def keys(url: str, space: str) -> list[Any]:
    with closing(client(url)) as server:
        return list(server.keys(f"*{space}*"))


def tables(url: str, space: str) -> list[str]:
    like = prefix_of(space).replace("_", r"\_") + "%"
    [rows] = execute(url, f"SELECT relname FROM pg_class WHERE relname LIKE '{like}'")
    return [row[0] for row in rows]


def found(shell: Shell, url: str) -> dict[str, dict[str, str]]:
    """What is found of a store that is as well as one can be in which there is nothing."""
    view = shell("doctor", "--json", url).json
    assert view["well"]
    return {one["check"]: one for one in view["findings"]}


def test_postgresql(shell: Shell, space: str, postgres_url: str) -> None:
    findings = found(shell, postgres_url)
    assert "answers in" in findings["store"]["says"]
    assert "durability" in findings
    assert findings["contents"]["level"] == "warn"
    assert findings["contents"]["says"] == f"there are no tables of the namespace {space!r}"
    assert "treadle db install" in findings["contents"]["action"]
    assert tables(postgres_url, space) == []


def test_postgresql_that_no_app_may_install(shell: Shell, space: str, postgres_url: str) -> None:
    findings = found(shell, f"{postgres_url}?install=never")
    assert findings["contents"]["action"].startswith("the url says install=never")
    assert tables(postgres_url, space) == []


@pytest.mark.parametrize("options", ["", "?shards=2"])
def test_redis(shell: Shell, space: str, redis_url: str, options: str) -> None:
    findings = found(shell, f"{redis_url}{options}")
    assert "answers in" in findings["store"]["says"]
    assert "durability" in findings
    assert findings["contents"]["says"] == f"there are no keys that begin with {{{space}.0}}:"
    assert keys(redis_url, space) == []


def test_rabbitmq(shell: Shell, space: str, rabbitmq_url: str) -> None:
    findings = found(shell, rabbitmq_url)
    assert "answers in" in findings["store"]["says"]
    assert f"tr.{space}.names" in findings["contents"]["says"]
    assert not asyncio.run(exists(rabbitmq_url, f"tr.{space}.names"))


def test_rabbitmq_with_a_companion(
    shell: Shell, space: str, rabbitmq_url: str, redis_url: str
) -> None:
    url = f"{rabbitmq_url}?companion={quote(redis_url, safe='')}"
    findings = found(shell, url)
    # Both are shown: the companion has the jobs, and the broker what names them.
    assert "no queues yet" in findings["broker"]["says"]
    assert "redis" in findings["versions"]["says"].lower()
    assert findings["contents"]["says"].startswith("there are no keys")
    assert keys(redis_url, space) == []
    assert not asyncio.run(exists(rabbitmq_url, f"tr.{space}/ids.names"))


def test_an_empty_file(shell: Shell) -> None:
    file = Path("empty.db")
    file.touch()
    findings = found(shell, "sqlite:///empty.db")
    assert "no tables" in findings["contents"]["says"]
    assert "treadle db install" in findings["contents"]["action"]
    assert file.stat().st_size == 0
    assert not list(Path().glob("empty.db?*"))


def test_a_file_with_tables_of_somebody_else(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.enqueue("add", "1")

    def schema(wire: sqlite3.Connection) -> list[Any]:
        return wire.execute("SELECT name FROM sqlite_master").fetchall()

    with closing(sqlite3.connect("jobs.db")) as wire:
        before = schema(wire)
    monkeypatch.setenv("TREADLE_NAMESPACE", "another")
    assert "'another'" in found(shell, "sqlite:///jobs.db")["contents"]["says"]
    with closing(sqlite3.connect("jobs.db")) as wire:
        assert schema(wire) == before


@pytest.mark.usefixtures("space")
def test_what_was_made_since_is_examined(shell: Shell, redis_url: str) -> None:
    assert "contents" in found(shell, redis_url)
    shell("queues", "pause", "mail", "--url", redis_url)
    assert "contents" not in found(shell, redis_url)


@pytest.mark.usefixtures("space")
def test_a_companion_is_shown_while_its_broker_is_away(shell: Shell, redis_url: str) -> None:
    broker = f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F?patience=1"
    url = f"{broker}&companion={quote(redis_url, safe='')}"
    for _ in range(2):
        findings = found(shell, url)
        assert findings["broker"]["level"] == "warn"
        assert "cannot be reached" in findings["broker"]["says"]
        assert "durability" in findings
        shell("queues", "pause", "mail", "--url", redis_url)
    assert "paused" in findings["queues"]["says"]
