"""Which store a command works on, ``config`` and ``doctor``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from tests.cli.shell import Shell
from treadle.cli import checks
from treadle.ports import QUEUE_CELL, QueueRule, Write
from treadle.records import NewJob, SessionInfo


def found(shell: Shell, *words: str, status: int = 0) -> dict[str, tuple[str, str]]:
    """The last finding of each check."""
    view = shell("doctor", "--json", *words, status=status).json
    assert view["well"] is (status == 0)
    return {one["check"]: (one["level"], one["says"]) for one in view["findings"]}


def test_a_store_that_does_not_exist_is_not_made(shell: Shell) -> None:
    message = shell.refused("jobs", "list", "--url", "sqlite:///nowhere.db")
    assert "there is no store at" in message
    assert "(sqlite:///nowhere.db, from argument)" in message
    assert not Path("nowhere.db").exists()


def test_the_default_that_does_not_exist_hints_at_what_is_here(shell: Shell) -> None:
    shell.enqueue("add", "1")
    (shell.directory / "treadle.toml").unlink()
    assert "--url sqlite:///jobs.db would be the file that is here" in shell.refused("jobs", "list")


def test_the_store_of_an_app(shell: Shell) -> None:
    shell.enqueue("add", "1")
    (shell.directory / "treadle.toml").write_text("")
    assert len(shell("jobs", "list", "--json", "--app", "tasks:app").lines) == 1
    (shell.directory / "treadle.toml").write_text('app = "tasks:app"\n')
    assert len(shell("jobs", "list", "--json").lines) == 1


def test_the_store_of_the_environment(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.enqueue("add", "1")
    (shell.directory / "jobs.db").rename(shell.directory / "elsewhere.db")
    monkeypatch.setenv("TREADLE_URL", "sqlite:///elsewhere.db")
    assert len(shell("jobs", "list", "--json").lines) == 1


@pytest.mark.parametrize(
    ("url", "says", "status"),
    [
        ("memory://", "lives inside the process of its app", 2),
        ("jobs.db", "but must be a URL like 'sqlite:///jobs.db'", 2),
        ("mongodb://host", "mongodb", 2),
        ("sqlite://jobs.db", "sqlite:///jobs.db", 2),
    ],
)
def test_a_url_that_cannot_be_is_refused(shell: Shell, url: str, says: str, status: int) -> None:
    assert says in shell.refused("jobs", "list", "--url", url, status=status)


def test_a_file_of_another_program_is_refused(shell: Shell) -> None:
    Path("other.db").write_text("this is not a database, but long enough to look at\n" * 20)
    message = shell.refused("jobs", "list", "--url", "sqlite:///other.db", status=1)
    assert "other.db" in message


def test_config_prints_each_value_with_its_origin(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_FOREMAN__CONCURRENCY", "50")
    lines = [re.split(r"  +", line) for line in shell("config").out.splitlines()]
    assert lines[0] == ["setting", "value", "origin"]
    assert ["foreman.concurrency", "50", "environment TREADLE_FOREMAN__CONCURRENCY"] in lines
    assert ["foreman.lease", "30", "default"] in lines
    view = shell("config", "--json", "--url", "redis://:s3cret@host").json
    assert view["url"] == {"value": "redis://:***@host", "origin": "argument"}
    assert view["foreman.concurrency"]["value"] == 50


def test_a_wrong_setting_ends_with_2(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_FOREMAN__CONCURENCY", "50")
    assert "Did you mean 'TREADLE_FOREMAN__CONCURRENCY'?" in shell.refused("config")


def test_doctor_of_a_store_that_is_well(shell: Shell) -> None:
    shell.enqueue("add", "1")
    shell.drain()
    findings = found(shell)
    url = f"sqlite:///{quote(str(shell.directory))}/jobs.db"
    assert findings["store"][1].startswith(f"{url} answers in ")
    for check in ("versions", "durability", "file", "disk", "write-ahead log", "clocks", "jobs"):
        assert findings[check][0] == "ok", findings
    assert findings["foremen"] == ("warn", "none is running")
    assert findings["jobs"][1] == "1, none failed"
    text = shell("doctor").out
    assert re.search(r"^warn  foremen: none is running\n      → start one: ", text, re.MULTILINE)


def test_doctor_takes_the_url_as_an_argument_too(shell: Shell) -> None:
    shell.enqueue("add", "1")
    shell.drain()
    assert "answers" in found(shell, "sqlite:///jobs.db")["store"][1]


def test_doctor_finds_what_is_not_served_and_who_cannot(shell: Shell) -> None:
    shell.enqueue("fail")
    shell.drain()

    async def break_things(backend: Any) -> None:
        info = SessionInfo(name="ann", queues=("mail",), tasks=("tasks.send",), version="0.0.1")
        await backend.open_session(info)
        await backend.push(
            [
                NewJob(id="a", task="tasks.gone", payload=b"", queue="mail"),
                NewJob(id="b", task="tasks.send", payload=b"", queue="reports"),
            ]
        )
        rule = msgspec.msgpack.encode(QueueRule(paused=True, by="eve", reason="lunch"))
        await backend.write([Write(key=QUEUE_CELL + "mail", value=rule)])

    shell.store(break_things)
    view = shell("doctor", "--json", status=1).json
    bad = {(one["level"], one["says"]) for one in view["findings"] if one["level"] != "ok"}
    assert bad == {
        ("warn", "foreman ann runs treadle 0.0.1"),
        ("fail", "1 jobs of queue 'reports' are served by no foreman"),
        ("fail", "no foreman knows the task 'tasks.gone' of 1 waiting jobs"),
        ("warn", "'mail' is paused by eve: lunch"),
        ("warn", "1 of 3 failed"),
    }
    assert all(one["action"] for one in view["findings"] if one["level"] != "ok")


def test_doctor_sees_a_disk_that_fills_up(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.enqueue("add", "1")
    shell.drain()
    monkeypatch.setattr(checks, "_TIGHT", 1 << 62)
    assert found(shell)["disk"][0] == "warn"
    monkeypatch.setattr(checks, "_FULL", 1 << 62)
    assert found(shell, status=1)["disk"][0] == "fail"


def test_doctor_of_a_store_that_is_not_there(shell: Shell) -> None:
    findings = found(shell, "sqlite:///nowhere.db", status=2)
    assert findings["store"][0] == "fail"
    assert "there is no store at" in findings["store"][1]


def test_doctor_of_a_directory_that_is_not_there_ends_with_2(shell: Shell) -> None:
    assert "nowhere" in shell("doctor", "sqlite:///nowhere/jobs.db", status=2).out
