"""Naming an app: each way it works, and each mistake with its way out."""

from __future__ import annotations

import pytest

from tests.cli.shell import Shell


def test_an_app_is_a_module_and_an_attribute(shell: Shell) -> None:
    assert shell("enqueue", "tasks:app", "add", "1").out


def test_an_app_may_be_a_file(shell: Shell) -> None:
    (shell.directory / "sub").mkdir()
    shell.tasks.rename(shell.directory / "sub" / "other.py")
    assert shell("enqueue", "sub/other.py:app", "add", "1").out


def test_the_attribute_may_be_left_out_of_a_file(shell: Shell) -> None:
    assert shell("enqueue", "tasks.py", "add", "1").out


def test_an_app_may_be_configured(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (shell.directory / "treadle.toml").write_text('app = "tasks:app"\n')
    job = shell("enqueue", "add", "1").out.strip()
    assert shell("jobs", "show", job, "--json").json["task"] == "tasks.add"
    inner = shell.directory / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert shell("enqueue", "add", "1").out


def test_an_app_may_be_in_the_environment(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_APP", "tasks:app")
    shell("run", "--burst", "--log-level", "critical")


@pytest.mark.parametrize(
    ("app", "says"),
    [
        ("tesks:app", ["no module 'tesks'", "modules here: tasks"]),
        ("tasks:ap", ["no attribute 'ap'", "tasks:app"]),
        ("tasks:date", ["it is a type, not a Treadle app"]),
        ("nowhere.py:app", ["there is no file", "nowhere.py"]),
        ("sub/tasks:app", ["a path must end in .py"]),
    ],
)
def test_a_wrong_name_says_what_is_there(shell: Shell, app: str, says: list[str]) -> None:
    message = shell.refused("run", app)
    assert message.startswith("error: ")
    for part in says:
        assert part in message


@pytest.mark.parametrize("command", ["run", "dev"])
def test_without_a_name_it_says_how_to_give_one(shell: Shell, command: str) -> None:
    message = shell.refused(command)
    assert "tasks:app" in message
    assert "treadle.toml" in message
    assert "TREADLE_APP" in message


def test_an_error_inside_the_module_is_shown_with_its_traceback_alone(shell: Shell) -> None:
    shell.tasks.write_text("import os\n\n\ndef broken():\n    return 1 / 0\n\n\nbroken()\n")
    result = shell("run", "tasks:app", status=2)
    assert 'tasks.py", line 5, in broken' in result.err
    assert "error: app 'tasks:app': its module cannot be imported" in result.err
    assert "ZeroDivisionError: division by zero" in result.err
    assert "treadle/target.py" not in result.err
    assert "importlib" not in result.err


def test_a_syntax_error_is_shown_where_it_is(shell: Shell) -> None:
    shell.tasks.write_text("x = (\n")
    result = shell("run", "tasks:app", status=2)
    assert 'tasks.py", line 1' in result.err
    assert "SyntaxError" in result.err


def test_a_missing_import_of_the_module_is_its_own(shell: Shell) -> None:
    shell.tasks.write_text("import not_installed_anywhere\n")
    result = shell("run", "tasks:app", status=2)
    assert "No module named 'not_installed_anywhere'" in result.err


def test_a_module_that_exits_is_an_error_too(shell: Shell) -> None:
    shell.tasks.write_text("raise SystemExit(7)\n")
    assert "SystemExit: 7" in shell("run", "tasks:app", status=2).err


def test_debug_shows_the_traceback_of_a_user_error(shell: Shell) -> None:
    plain = shell("run", "tesks:app", status=2)
    debug = shell("--debug", "run", "tesks:app", status=2)
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err


def test_a_store_inside_a_process_is_refused_where_nobody_could_enqueue(shell: Shell) -> None:
    shell.tasks.write_text('from treadle import Treadle\napp = Treadle("memory://")\n')
    message = shell.refused("run", "tasks:app")
    assert "inside one process" in message
    assert "sqlite:///jobs.db" in message


@pytest.mark.parametrize("waits", [[], ["--wait"]])
def test_a_job_that_would_end_with_its_command_is_refused(shell: Shell, waits: list[str]) -> None:
    shell.tasks.write_text(shell.tasks.read_text().replace("sqlite:///jobs.db", "memory://"))
    message = shell.refused("enqueue", "tasks:app", "add", "1", *waits)
    assert "the job would end with this command" in message
    assert "--url sqlite:///jobs.db" in message
    assert shell("enqueue", "tasks:app", "add", "1", "--url", "sqlite:///jobs.db").out.strip()


def test_an_eager_app_runs_the_job_of_the_command(shell: Shell) -> None:
    tasks = shell.tasks.read_text()
    shell.tasks.write_text(tasks.replace('Treadle("sqlite:///jobs.db")', "Treadle(eager=True)"))
    assert shell("enqueue", "tasks:app", "add", "1", "2", "--wait").out == "3\n"


def test_an_app_without_tasks_is_warned_of(shell: Shell) -> None:
    shell.tasks.write_text('from treadle import Treadle\napp = Treadle("sqlite:///jobs.db")\n')
    result = shell("run", "tasks:app", "--burst", "--log-level", "critical")
    assert "has no tasks" in result.err
