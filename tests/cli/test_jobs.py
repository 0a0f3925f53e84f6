"""``treadle jobs``: list, show, and the verbs that change one job or many."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from treadle.records import NewJob

KEYS = {
    "id", "task", "queue", "state", "reason", "priority", "attempt", "tries", "crashes", "suspect",
    "cancel_asked", "created", "due", "expires", "started", "finished", "lease_until", "holder",
    "waits_for", "key", "unique", "flow", "parent", "tags", "meta", "progress", "skipped",
    "cause", "error",
}  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store of the first test that needs it is kept for the others."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def filled(shell: Shell, kept: Path) -> Shell:
    """Two that succeeded, two that failed, one scheduled, one queued."""
    if (kept / "jobs.db").exists():
        shutil.copy(kept / "jobs.db", shell.directory)
        return shell
    for words in (["add", "1"], ["greet", "Ann"], ["fail"], ["fail", "out of luck"]):
        shell.enqueue(*words)
    shell.drain()
    shell.enqueue("add", "2", "--delay", "1h")
    shell.enqueue("send", "bob@example.org")
    shutil.copy(shell.directory / "jobs.db", kept)
    return shell


def states(shell: Shell, *words: str) -> list[str]:
    return [one["state"] for one in shell("jobs", "list", "--json", *words).lines]


def test_list_gives_one_object_a_line_newest_first(filled: Shell) -> None:
    views = filled("jobs", "list", "--json").lines
    assert [one["task"] for one in views] == [
        "tasks.send", "tasks.add", "tasks.fail", "tasks.fail", "tasks.greet", "tasks.add",
    ]  # fmt: skip
    assert all(set(one) == KEYS for one in views)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--state", "failed"], 2),
        (["--state", "failed,queued"], 3),
        (["--state", "failed", "--state", "scheduled"], 3),
        (["--task", "tasks.add"], 2),
        (["--task", "tasks.*"], 6),
        (["--task", "mail.*"], 0),
        (["--queue", "mail"], 1),
        (["--tag", "people"], 1),
        (["--error", "out of"], 1),
        (["--error", "ValueError"], 2),
        (["--older-than", "1h"], 0),
        (["--newer-than", "1h"], 6),
        (["--limit", "4"], 4),
        (["--key", "none"], 0),
    ],
)
def test_filters_find_what_they_say(filled: Shell, words: list[str], count: int) -> None:
    assert len(filled("jobs", "list", "--json", *words).lines) == count


def test_list_in_a_pipe_is_plain_columns(filled: Shell) -> None:
    lines = filled("jobs", "list").out.splitlines()
    assert re.split(r"  +", lines[0]) == [
        "id", "state", "task", "queue", "created", "finished", "attempt", "remark",
    ]  # fmt: skip
    assert len(lines) == 7
    assert "\x1b" not in "".join(lines)
    assert not re.search(r"[─│┃━╭]", "".join(lines))
    failed = next(line for line in lines if "out of luck" in line)
    assert "ValueError: out of luck" in failed
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+", failed)


def test_list_on_a_terminal_fits_80_columns(filled: Shell) -> None:
    shown = filled.terminal("jobs", "list")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "\x1b[31mfailed" in shown
    assert max(map(len, plain.splitlines())) <= 80
    assert all(len(part) == 36 for part in re.findall(r"^[0-9a-f-]{30,}", plain, re.MULTILINE))


def test_an_empty_list_says_so(filled: Shell) -> None:
    assert filled("jobs", "list", "--task", "none").out == "no jobs found\n"
    assert filled("jobs", "list", "--task", "none", "--json").out == ""


def test_a_state_that_does_not_exist_is_refused_with_those_that_do(filled: Shell) -> None:
    message = filled.refused("jobs", "list", "--state", "dead")
    assert "there is no state 'dead'; the states are waiting, scheduled" in message


def test_show_tells_all_of_a_job(filled: Shell) -> None:
    job = filled("jobs", "list", "--error", "out of luck", "--json").json["id"]
    view = filled("jobs", "show", job, "--json").json
    assert view["arguments"] == {"reason": "out of luck"}
    assert view["error"]["type"] == "ValueError"
    assert "raise ValueError(reason)" in view["error"]["traceback"]
    assert [one["number"] for one in view["attempts"]] == [1]
    text = filled("jobs", "show", job).out
    assert "raise ValueError(reason)" in text
    assert re.search(r"^state +failed \(error\)$", text, re.MULTILINE)


def test_show_has_the_result(filled: Shell) -> None:
    job = filled("jobs", "list", "--task", "tasks.greet", "--json").json["id"]
    assert filled("jobs", "show", job, "--json").json["result"] == "Hello, Ann!"


def test_what_a_job_says_cannot_drive_a_terminal(shell: Shell) -> None:
    job = shell.enqueue("greet", "\x1b[2Jgone")
    assert "\x1b" not in shell("jobs", "show", job).out
    assert "\x1b" not in shell("jobs", "list").out


@pytest.mark.parametrize("words", [["show"], ["retry"], ["cancel"], ["delete"]])
def test_a_job_that_is_not_there_ends_with_3(filled: Shell, words: list[str]) -> None:
    result = filled("jobs", *words, "no-such-job", status=3)
    assert "no-such-job" in result.out + result.err


def test_retry_by_id_needs_no_leave(filled: Shell) -> None:
    first, second = filled("jobs", "list", "--state", "failed", "--json").lines
    assert filled("jobs", "retry", first["id"]).out == "1 retried\n"
    assert sorted(states(filled, "--task", "tasks.fail")) == ["failed", "queued"]
    result = filled("jobs", "retry", second["id"], "--json").json
    assert result == {
        "verb": "retry", "dry_run": False, "done": 1, "asked": 0, "refused": {}, "missing": [],
    }  # fmt: skip


def test_what_a_state_forbids_ends_with_1(filled: Shell) -> None:
    job = filled("jobs", "list", "--task", "tasks.greet", "--json").json["id"]
    result = filled("jobs", "cancel", job, status=1)
    assert result.out == "0 cancelled; 1 refused because they are succeeded\n"


def test_filters_need_leave_when_nobody_can_be_asked(filled: Shell) -> None:
    message = filled.refused("jobs", "retry", "--state", "failed")
    assert "2 jobs (2 failed)" in message
    assert "--yes" in message
    assert states(filled, "--task", "tasks.fail") == ["failed", "failed"]


def test_yes_is_leave(filled: Shell) -> None:
    assert filled("jobs", "retry", "--state", "failed", "--yes").out == "2 retried\n"
    assert states(filled, "--task", "tasks.fail") == ["queued", "queued"]


@pytest.mark.parametrize(
    ("typed", "status", "left"), [("y\n", 0, "queued"), ("n\n", 1, "failed"), ("\n", 1, "failed")]
)
def test_at_a_terminal_it_asks(filled: Shell, typed: str, status: int, left: str) -> None:
    shown = filled.terminal("jobs", "retry", "--state", "failed", types=typed, status=status)
    assert "Retry 2 jobs (2 failed)? [y/N]" in shown
    assert states(filled, "--task", "tasks.fail") == [left, left]


def test_a_dry_run_counts_and_changes_nothing(filled: Shell) -> None:
    before = states(filled)
    assert filled("jobs", "cancel", "--all", "--dry-run").out == "2 would be cancelled\n"
    assert filled("jobs", "delete", "--all", "--dry-run", "--json").json["done"] == 4
    assert states(filled) == before


def test_each_verb_has_the_states_it_is_for(filled: Shell) -> None:
    assert filled("jobs", "cancel", "--all", "-y").out == "2 cancelled\n"
    assert sorted(states(filled)) == ["cancelled"] * 2 + ["failed"] * 2 + ["succeeded"] * 2
    assert filled("jobs", "delete", "--state", "cancelled", "-y").out == "2 deleted\n"
    assert filled("jobs", "retry", "--all", "-y").out == "2 retried\n"
    assert filled("jobs", "delete", "--all", "-y").out == "2 deleted\n"
    assert states(filled) == ["queued", "queued"]


@pytest.mark.parametrize("verb", ["retry", "cancel", "delete"])
def test_a_verb_without_jobs_asks_which(filled: Shell, verb: str) -> None:
    message = filled.refused("jobs", verb, "--yes")
    assert f"{verb} which jobs?" in message
    assert "--all" in message


def test_more_jobs_than_a_call_takes(shell: Shell) -> None:
    jobs = [NewJob(id=f"job-{n:04}", task="tasks.add", payload=b"") for n in range(2500)]
    shell.store(lambda backend: backend.push(jobs))
    assert shell("jobs", "cancel", "--all", "--dry-run", "--json").json["done"] == 2500
    assert shell("jobs", "cancel", "--all", "--yes", "--json").json["done"] == 2500
    ids = [one["id"] for one in shell("jobs", "list", "--json", "-n", "1200").lines]
    assert ids[0] == "job-2499"
    assert shell("jobs", "delete", *ids, "--json").json["done"] == 1200
    assert len(states(shell, "-n", "5000")) == 1300
