"""``treadle spool``, and what ``doctor`` says of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.servers import own
from treadle.records import NewJob
from treadle.spool import SpoolFile, place_of
from treadle.testing.servers import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with own(RedisServer().start) as server:
        yield server


class Stand:
    """A spool with three jobs, the second of which was refused, for a server."""

    def __init__(self, shell: Shell, url: str) -> None:
        self.file = SpoolFile(str(shell.directory / "spool.db"))
        place = place_of(url, "treadle")
        jobs = [NewJob(id=name, task="tasks.add", payload=b"") for name in ("one", "two", "three")]
        self.file.add(place, jobs, at=1_700_000_000.0, sent=None, most=100)
        self.file.refuse(2, "too large")
        self.url = url


@pytest.fixture
def stand(shell: Shell, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    server.ask("FLUSHALL")
    monkeypatch.setenv("TREADLE_SPOOL", "spool.db")
    monkeypatch.setenv("TREADLE_URL", server.url)
    stand = Stand(shell, server.url)
    yield stand
    stand.file.close()


def test_the_spool_is_listed(shell: Shell, stand: Stand) -> None:
    lines = shell("spool", "list").out.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", "one", "two", "three"]
    assert "too large" in lines[2]
    [one] = shell("spool", "list", "--refused", "--json").lines
    assert (one["id"], one["refused"], one["enqueued"]) == (
        "two", "too large", "2023-11-14T22:13:20.000Z",
    )  # fmt: skip


def test_it_is_forwarded_now(shell: Shell, stand: Stand) -> None:
    assert shell("spool", "forward").out == "2 jobs were forwarded, 0 refused\n"
    listed = shell("jobs", "list", "--json").lines
    assert sorted(one["id"] for one in listed) == ["one", "three"]
    assert shell("spool", "forward", "--json").json == {"forwarded": 0, "refused": 0}


def test_what_waits_for_a_server_that_has_moved(shell: Shell, stand: Stand) -> None:
    job = NewJob(id="four", task="tasks.add", payload=b"")
    stand.file.add(place_of("redis://old/0", "treadle"), [job], at=1.0, sent=None, most=100)
    assert shell("spool", "forward").out == "2 jobs were forwarded, 0 refused\n"
    said = shell("spool", "forward", "--from", "redis://old/0").out
    assert said == "1 jobs were forwarded, 0 refused\n"


def test_a_server_that_is_away_ends_it_with_69(
    shell: Shell, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_URL", "redis://127.0.0.1:1/0?patience=0.1")
    shell.refused("spool", "forward", status=69)
    said = shell("doctor", status=69).out
    assert "warn  spool: 2 jobs wait for" in said
    assert "fail  spool: 1 jobs were refused" in said
    assert "too large" in said


def test_what_was_refused_waits_again(shell: Shell, stand: Stand) -> None:
    assert "retry which jobs" in shell.refused("spool", "retry")
    assert shell("spool", "retry", "two", "one", status=3).out == "1 jobs wait again\n"
    assert shell("spool", "retry", "--all").out == "0 jobs wait again\n"
    assert shell("spool", "forward").out == "3 jobs were forwarded, 0 refused\n"


def test_jobs_are_removed(shell: Shell, stand: Stand) -> None:
    assert "drop which jobs" in shell.refused("spool", "drop")
    assert "would remove 3 jobs" in shell.refused("spool", "drop", "--all")
    assert shell("spool", "drop", "--refused", "--yes").out == "1 jobs were removed\n"
    assert shell("spool", "drop", "one", "two", status=3).out == "1 jobs were removed\n"
    assert shell("spool", "drop", "--all", "--yes", "--json").json == {"jobs": 1}
    assert shell("spool", "list").out == "nothing is in the spool\n"


def test_there_may_be_none(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "TREADLE_SPOOL" in shell.refused("spool", "list")
    monkeypatch.setenv("TREADLE_SPOOL", str(Path("nowhere.db")))
    assert "made when an app first uses it" in shell.refused("spool", "list")
