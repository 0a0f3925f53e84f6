"""``treadle run`` and ``treadle dev``, as people start and stop them; the program as a whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cli.shell import Shell
from treadle import __version__
from treadle.cli import program
from treadle.cli.reload import Reloader, watched_files
from treadle.testing import ManualClock


def lines_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """What the process writes to standard error, up to a line with the word."""
    lines: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if word in line:
            return lines
    raise AssertionError(f"{word!r} was never written: {''.join(lines)}")


def test_a_burst_runs_what_there_is(shell: Shell) -> None:
    job = shell.enqueue("add", "1", "2")
    shell.drain()
    assert shell("jobs", "show", job, "--json").json["result"] == 3


def test_the_queues_that_are_served(shell: Shell) -> None:
    mail = shell.enqueue("send", "bob")
    other = shell.enqueue("add", "1", "--queue", "other")
    plain = shell.enqueue("add", "1")
    shell.drain("-q", "default,mail", "-x", "mail.acme")
    states = [shell("jobs", "show", one, "--json").json["state"] for one in (mail, other, plain)]
    assert states == ["queued", "queued", "succeeded"]


def test_another_url_than_the_app_s(shell: Shell) -> None:
    shell.enqueue("add", "1", "--url", "sqlite:///other.db")
    shell.drain("--url", "sqlite:///other.db")
    url = ("--url", "sqlite:///other.db")
    assert shell("jobs", "list", "--json", *url).json["state"] == "succeeded"
    assert not (shell.directory / "jobs.db").exists()


def test_quit_ends_with_75(shell: Shell) -> None:
    shell.enqueue("quit")
    shell.drain(status=75)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--concurrency", "0"], "foreman.concurrency is 0, but must be a whole number from 1"),
        (["--lease", "soon"], "foreman.lease is 'soon', but must be seconds above 0"),
        (["--max-rss", "much"], "foreman.max_rss is 'much', but must be bytes"),
        (["--log-level", "loud"], "log.level is 'loud', but must be one of 'debug'"),
        (["--queues", "mail:0"], "'mail:0' has the weight 0"),
    ],
)
def test_an_option_that_cannot_work_is_refused(shell: Shell, words: list[str], says: str) -> None:
    assert says in shell.refused("run", "tasks:app", "--burst", *words)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_good_order(shell: Shell, stop: signal.Signals) -> None:
    with shell.program("run", "tasks:app") as process:
        # It listens to signals when it runs jobs.
        assert shell("enqueue", "tasks:app", "add", "1", "--wait").out == "2\n"
        process.send_signal(stop)
        lines_until(process, "foreman.stopped")
    assert process.returncode == 0


def test_several_processes_and_json_logs(shell: Shell) -> None:
    jobs = [shell.enqueue("add", str(number)) for number in range(3)]
    words = ("run", "tasks:app", "--processes", "2", "--burst", "--log-format", "json")
    with shell.program(*words) as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (0, "")
    events = [json.loads(line) for line in err.splitlines()]
    assert len({one["name"] for one in events if one["event"] == "foreman.started"}) == 2
    assert {shell("jobs", "show", job, "--json").json["state"] for job in jobs} == {"succeeded"}


def test_dev_takes_the_new_code(shell: Shell) -> None:
    with shell.program("dev", "tasks:app") as process:
        lines_until(process, "foreman.started")
        shell.tasks.write_text(shell.tasks.read_text().replace("Hello", "Welcome"))
        lines_until(process, "tasks.py changed, starting again")
        lines_until(process, "foreman.started")
        assert shell("enqueue", "tasks:app", "greet", "Ann", "--wait").out == "Welcome, Ann!\n"
        process.terminate()
        process.communicate()
    assert process.returncode == 0


def test_dev_shows_each_failure_where_it_happened(shell: Shell) -> None:
    shell.tasks.write_text(
        shell.tasks.read_text().replace("@app.task\ndef fail", "@app.task(retry=1)\ndef fail")
    )
    with shell.program("dev", "tasks:app", "--no-reload") as process:
        shell.enqueue("fail")
        for event in ("job.retrying", "raise ValueError(reason)"):
            lines_until(process, event)
        process.terminate()
        process.communicate()


def test_dev_waits_for_code_that_works(shell: Shell) -> None:
    good = shell.tasks.read_text()
    shell.tasks.write_text("import nothing_of_that_name\n")
    with shell.program("dev", "tasks:app") as process:
        assert "No module named" in "".join(lines_until(process, "waiting for a change"))
        shell.tasks.write_text(good)
        assert shell("enqueue", "tasks:app", "add", "1", "--wait").out == "2\n"
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 0


def test_dev_runs_what_lives_in_memory(shell: Shell) -> None:
    shell.tasks.write_text(shell.tasks.read_text().replace("sqlite:///jobs.db", "memory://"))
    with shell.program("dev", "tasks:app", "--no-reload") as process:
        assert "memory://" in lines_until(process, "foreman.started")[-1]
        process.kill()


class Watched:
    """A reloader and what it saw."""

    def __init__(self, shell: Shell) -> None:
        self.seen: list[str] = []
        self.clock = ManualClock(start=shell.tasks.stat().st_mtime + 1)
        self.reloader = Reloader(self.clock, lambda path: self.seen.append(path.name))

    def look(self) -> list[str]:
        path = self.reloader._look()
        return [] if path is None else [path.name]


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda shell: None, []),
        (lambda shell: os.utime(shell.tasks, (1, 1)), ["tasks.py"]),
        (lambda shell: shell.tasks.unlink(), ["tasks.py"]),
        (lambda shell: (shell.directory / "new.py").write_text("x = 1"), ["new.py"]),
        (lambda shell: (shell.directory / "treadle.toml").write_text("#"), ["treadle.toml"]),
        (lambda shell: (shell.directory / ".new.py").write_text("x = 1"), []),
        (lambda shell: (shell.directory / "notes.txt").write_text("x"), []),
    ],
)
def test_what_counts_as_a_change(
    shell: Shell, change: Callable[[Shell], object], seen: list[str]
) -> None:
    os.utime(shell.directory / "treadle.toml", (2, 2))
    watched = Watched(shell)
    assert watched.look() == []
    change(shell)
    for path in (shell.directory / "new.py", shell.directory / "treadle.toml"):
        if path.exists() and path.name in seen:
            os.utime(path, (watched.clock.now() + 5, watched.clock.now() + 5))
    assert watched.look() == seen


def test_installed_packages_are_not_watched(shell: Shell) -> None:
    files = watched_files()
    assert shell.tasks in files
    assert not any(str(file).startswith(sys.base_prefix) for file in files)


def test_the_version(shell: Shell) -> None:
    assert shell("--version").out == f"treadle {__version__}\n"


def test_help_in_a_pipe_has_no_boxes(shell: Shell) -> None:
    for words in ([], ["run"], ["jobs"], ["jobs", "retry"]):
        text = shell(*words, "--help").out
        assert "Usage: treadle" in text
        assert not any(sign in text for sign in "─│╭\x1b")


@pytest.mark.parametrize("words", [["rum"], ["jobs", "lost"], ["run", "--concurency", "5"]])
def test_a_misspelt_command_or_option_ends_with_2(shell: Shell, words: list[str]) -> None:
    message = shell.refused(*words)
    assert words[-1] in message or words[1] in message


def test_a_reader_that_has_seen_enough_is_no_error(shell: Shell) -> None:
    with shell.program("config") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("there", "found", "name"),
    [
        ("my bin/treadle", "my bin/treadle", "treadle"),
        ("my bin/treadle", None, "'my bin/treadle'"),
        ("my bin/treadle", "elsewhere/treadle", "'my bin/treadle'"),
        ("my bin/treadle.exe", None, "'my bin/treadle.exe'"),
        ("my bin/other", None, "'{here}/my bin/python' -m treadle"),
    ],
)
def test_printed_commands_call_this_program(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, there: str, found: str | None, name: str
) -> None:
    for path in filter(None, (there, found)):
        (shell.directory / path).parent.mkdir(parents=True, exist_ok=True)
        (shell.directory / path).touch()
    monkeypatch.setattr(sys, "executable", str(shell.directory / "my bin" / "python"))
    monkeypatch.setattr(program.shutil, "which", lambda _: found and str(shell.directory / found))
    assert program.command("jobs", "a b") == f"{name.format(here=shell.directory)} jobs 'a b'"
