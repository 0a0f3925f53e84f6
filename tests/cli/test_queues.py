"""``treadle queues`` and ``treadle why`` on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from tests.cli.shell import Shell
from treadle.ports import Backend, Claim
from treadle.records import Lease, NewJob, SessionInfo


@pytest.fixture
def queued(shell: Shell) -> Shell:
    """One job in each of three queues."""
    jobs = [
        NewJob(id=name, task="tasks.send", payload=b"", queue=name)
        for name in ("mail", "mail.acme", "reports")
    ]
    shell.store(lambda backend: backend.push(jobs))
    return shell


def test_list_counts_and_names_who_serves(queued: Shell) -> None:
    views = queued("queues", "list", "--json").json
    assert [one["queue"] for one in views] == ["mail", "mail.acme", "reports"]
    assert [one["jobs"]["queued"] for one in views] == [1, 1, 1]
    assert views[0]["foremen"] == []
    header, first, *_ = queued("queues", "list").out.splitlines()
    assert header.split()[:3] == ["queue", "waiting", "scheduled"]
    assert first.split() == ["mail", "0", "0", "1", "0", "0", "0", "0", "-", "0", "-"]


def test_no_queues_are_said_to_be_none(shell: Shell) -> None:
    shell.store(lambda backend: backend.push([]))
    assert shell("queues", "list").out == "no queues: nothing has been enqueued\n"
    assert shell("queues", "list", "--json").json == []


def test_a_pause_holds_for_what_is_below_until_it_is_resumed(queued: Shell) -> None:
    said = queued("queues", "pause", "mail", "--reason", "full inbox", "--for", "2h").out
    assert re.match(r"queue 'mail' is paused until \d{4}-\d\d-\d\d .* running jobs go on", said)
    mail, acme, reports = queued("queues", "list", "--json").json
    assert (mail["paused"], acme["paused"], reports["paused"]) == (True, True, False)
    assert acme["paused_by_queue"] == "mail"
    assert mail["paused_reason"] == "full inbox"
    assert mail["paused_by"]
    assert "with mail" in queued("queues", "list").out

    said = queued("queues", "resume", "mail.acme").out
    assert said == "queue 'mail.acme' is resumed, but still paused with mail\n"
    assert queued("queues", "resume", "mail").out == "queue 'mail' is resumed\n"
    assert not any(one["paused"] for one in queued("queues", "list", "--json").json)


def test_a_pause_of_a_queue_that_nobody_knows_is_warned_of(queued: Shell) -> None:
    said = queued("queues", "pause", "mial")
    assert "nothing is known of a queue 'mial'" in said.err
    assert "did you mean 'mail'?" in said.err
    for known in ("mail", "mail.beta"):
        assert queued("queues", "pause", known).err == ""


def test_a_paused_queue_is_not_served(queued: Shell) -> None:
    job = queued.enqueue("send", "bob")
    queued("queues", "pause", "mail", "--json")
    queued.drain()
    assert queued("jobs", "show", job, "--json").json["state"] == "queued"
    queued("queues", "resume", "mail", "--json")
    queued.drain()
    assert queued("jobs", "show", job, "--json").json["state"] == "succeeded"


def test_a_limit_bounds_what_runs_until_it_is_lifted(queued: Shell) -> None:
    said = queued("queues", "limit", "mail", "1").out
    assert said == "queue 'mail' runs at most 1 at a time\n"
    _, first, *_ = queued("queues", "list").out.splitlines()
    assert first.split()[8:] == ["1", "0", "-"]
    mail, acme, _ = queued("queues", "list", "--json").json
    assert (mail["max_running"], acme["max_running"]) == (1, None)
    assert len(queued.store(_claimed)) == 1

    assert queued("queues", "limit", "mail", "none", "--json").json == {
        "queue": "mail",
        "max_running": None,
    }
    assert queued("queues", "limit", "mail", "none").out == "queue 'mail' has no limit\n"
    assert len(queued.store(_claimed)) == 1


async def _claimed(backend: Backend) -> Sequence[Lease]:
    """What a foreman of its own gets of the mail, and keeps."""
    session = await backend.open_session(SessionInfo(name="other"))
    ask = Claim(session=session, request=1, limit=9, queues=("mail",), lease=3600.0)
    return (await backend.claim(ask)).leases


def test_a_limit_leaves_a_pause_as_it_is(queued: Shell) -> None:
    queued("queues", "pause", "mail")
    assert queued("queues", "limit", "mail", "3", "--json").json["max_running"] == 3
    assert queued("queues", "list", "--json").json[0]["paused"]


@pytest.mark.parametrize(
    ("most", "words"),
    [
        ("many", "'many' is not a number"),
        ("1.5", "is not a num"),
        ("0", r"pause\(\) stops a queue"),
    ],
)
def test_a_limit_that_is_none_is_refused(queued: Shell, most: str, words: str) -> None:
    assert re.search(words, queued.refused("queues", "limit", "mail", most, status=2))


def test_purge_removes_what_has_not_started(queued: Shell) -> None:
    message = queued.refused("queues", "purge", "mail")
    assert "2 jobs (2 queued)" in message
    assert queued("queues", "purge", "mail", "--dry-run").out == "2 would be deleted\n"
    assert queued("queues", "purge", "mail", "--yes").out == "2 deleted\n"
    assert [one["id"] for one in queued("jobs", "list", "--json").lines] == ["reports"]


@pytest.mark.parametrize("verb", [("pause",), ("resume",), ("limit", "1"), ("purge",)])
def test_a_name_that_no_queue_can_have_is_refused(queued: Shell, verb: tuple[str, ...]) -> None:
    command, *rest = verb
    assert "'mail..acme' is not a queue name" in queued.refused(
        "queues", command, "mail..acme", *rest
    )


def test_a_duration_that_is_none_is_refused(queued: Shell) -> None:
    assert "'soon' is not a duration" in queued.refused("queues", "pause", "mail", "--for", "soon")


def test_why_names_the_blockers_and_complete_commands(queued: Shell) -> None:
    queued("queues", "pause", "mail")
    url = f"sqlite:///{queued.directory}/jobs.db"
    lines = queued("why", "mail.acme", "--url", url).out.splitlines()
    assert lines[0] == "mail.acme  tasks.send  queued"
    assert lines[1].startswith("1. queue 'mail' was paused")
    assert lines[2] == f"   → treadle queues resume mail --url '{url}'"
    assert lines[3].startswith("2. no foreman serves queue 'mail.acme'")
    view = queued("why", "mail.acme", "--json").json
    assert set(view) == {"job", "task", "queue", "state", "summary", "blockers"}
    assert [one["kind"] for one in view["blockers"]] == ["paused", "no_foreman"]
    assert view["blockers"][0]["command"] == ["queues", "resume", "mail"]


def test_why_of_a_job_that_is_not_there_ends_with_3(queued: Shell) -> None:
    assert "no job 'nobody' in this store" in queued.refused("why", "nobody", status=3)
