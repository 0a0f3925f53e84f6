"""``treadle enqueue``: words become typed arguments, options go with the job, results come back."""

from __future__ import annotations

import threading

import pytest

from tests.cli.shell import Shell


def shown(shell: Shell, job: str) -> dict[str, object]:
    return dict(shell("jobs", "show", job, "--json").json)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["add", "1"], {"a": 1}),
        (["add", "1", "2"], {"a": 1, "b": 2}),
        (["add", "a=1", "b=2"], {"a": 1, "b": 2}),
        (["add", "--kwargs", '{"a": 1, "b": 2}'], {"a": 1, "b": 2}),
        (["add", "--kwargs", '{"a": 1, "b": 2}', "b=3"], {"a": 1, "b": 3}),
        (["greet", "Ann"], {"name": "Ann"}),
        (["greet", '"Ann"'], {"name": "Ann"}),
        (["greet", "5"], {"name": "5"}),
        (["greet", "name=5"], {"name": "5"}),
        (["greet", "x=1"], {"name": "x=1"}),
        (["greet", "name=a=b"], {"name": "a=b"}),
        (["plan", "2030-01-31", '["a.txt"]'], {"day": "2030-01-31", "files": ["a.txt"]}),
    ],
)
def test_words_become_what_the_task_wants(
    shell: Shell, words: list[str], arguments: dict[str, object]
) -> None:
    assert shown(shell, shell.enqueue(*words))["arguments"] == arguments


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["add"], "a"),
        (["add", "one"], "a: expected int, got str 'one'"),
        (["add", "1", "2", "3"], "3"),
        (["add", "1", "c=2"], "'tasks.add' has no parameter 'c'; it takes (a, b)"),
        (["add", "1", "2", "c=3"], "has no parameter 'c'"),
        (["greet", "naem=Ann", "x"], "has no parameter 'naem' (did you mean 'name'?)"),
        (["add", "--kwargs", "[1]"], "--kwargs must be a JSON object"),
        (["add", "1", "--delay", "soon"], "'soon' is not a duration"),
        (["add", "1", "--run-at", "noon"], "'noon' is not a time such as"),
        (["add", "1", "--queue", "a b"], "a b"),
        (["plan", "yesterday", "[]"], "day"),
    ],
)
def test_words_that_do_not_fit_are_refused(shell: Shell, words: list[str], says: str) -> None:
    result = shell("enqueue", "tasks:app", *words, status=2)
    assert result.err.startswith("error: ")
    assert says in result.err


def test_an_unknown_task_is_answered_with_the_nearest(shell: Shell) -> None:
    message = shell.refused("enqueue", "tasks:app", "tasks.greeet", "Ann", status=3)
    assert "did you mean 'tasks.greet'?" in message


def test_an_app_without_a_task_is_asked_for_it(shell: Shell) -> None:
    assert "which task?" in shell.refused("enqueue", "tasks:app")


def test_the_full_name_of_a_task_is_one_too(shell: Shell) -> None:
    assert shown(shell, shell.enqueue("tasks.add", "1"))["task"] == "tasks.add"


def test_options_go_with_the_job(shell: Shell) -> None:
    job = shell.enqueue(
        *("add", "1", "--queue", "slow", "--priority", "7", "--delay", "1h"),
        *("--tag", "a", "--tag", "b", "--key", "k", "--id", "my-job"),
    )
    view = shown(shell, job)
    assert job == "my-job"
    assert (view["queue"], view["priority"], view["state"]) == ("slow", 7, "scheduled")
    assert (view["tags"], view["key"]) == (["a", "b"], "k")


def test_json_tells_the_job(shell: Shell) -> None:
    view = shell("enqueue", "tasks:app", "add", "1", "--json").json
    assert set(view) == {"id", "task", "created", "duplicate_of"}
    assert view["created"] is True


@pytest.mark.parametrize(
    ("words", "out"),
    [(["add", "1", "2"], "3\n"), (["greet", "Ann"], "Hello, Ann!\n"), (["skip"], "null\n")],
)
def test_wait_prints_the_result(shell: Shell, words: list[str], out: str) -> None:
    with shell.program("run", "tasks:app", "--log-level", "critical") as foreman:
        assert shell("enqueue", "tasks:app", *words, "--wait").out == out
        foreman.terminate()


def test_wait_for_a_failure_prints_it_and_ends_with_1(shell: Shell) -> None:
    with shell.program("run", "tasks:app", "--log-level", "critical") as foreman:
        result = shell("enqueue", "tasks:app", "fail", "--wait", status=1)
        foreman.terminate()
    assert "ValueError: no luck" in result.err
    assert "raise ValueError(reason)" in result.err
    assert "treadle/cli" not in result.err


def test_a_wait_that_takes_too_long_ends_with_75(shell: Shell) -> None:
    threads = threading.active_count()
    message = shell.refused(
        *("enqueue", "tasks:app", "add", "1", "--wait", "--wait-timeout", "10ms"), status=75
    )
    assert message.startswith("error: ")
    assert threading.active_count() == threads


def test_a_wait_that_nobody_can_end_says_so(shell: Shell) -> None:
    message = shell.refused(
        *("enqueue", "tasks:app", "add", "1", "--wait", "--wait-timeout", "1s"), status=75
    )
    assert "no foreman serves queue 'default': none is running; start one: treadle run" in message
