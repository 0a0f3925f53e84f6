"""The command line on an app with several backends."""

from __future__ import annotations

import pytest

from tests.cli.shell import Shell

CONFIGURED = """
app = "tasks:app"
url = "sqlite:///jobs.db"

[backends]
fast = "sqlite:///fast.db"

[routes]
mail = "fast"
images.thumbs = "fast"
"""


@pytest.fixture
def routed(shell: Shell) -> Shell:
    (shell.directory / "treadle.toml").write_text(CONFIGURED)
    text = shell.tasks.read_text()
    shell.tasks.write_text(text.replace('Treadle("sqlite:///jobs.db")', "Treadle()"))
    return shell


def test_jobs_of_both_run(routed: Shell) -> None:
    routed("enqueue", "tasks:app", "tasks.add", "1")
    routed("enqueue", "tasks:app", "tasks.send", "me")
    listed = routed("jobs", "list", "--json").lines
    assert {one["queue"] for one in listed} == {"default", "mail.acme"}
    assert (routed.directory / "fast.db").exists()
    routed("run", "--burst")
    assert {one["state"] for one in routed("jobs", "list", "--json").lines} == {"succeeded"}
    fast = routed("jobs", "list", "--json", "--url", "sqlite:///fast.db").lines
    assert [one["queue"] for one in fast] == ["mail.acme"]
    queues = routed("queues", "list", "--json").out
    assert "mail.acme" in queues
    assert "default" in queues


def test_a_burst_of_processes(routed: Shell) -> None:
    routed("enqueue", "tasks:app", "tasks.send", "me")
    with routed.program("run", "--burst", "--processes", "2") as program:
        assert program.wait(60) == 0
    [job] = routed("jobs", "list", "--json").lines
    assert job["state"] == "succeeded"


def test_queues_are_paused_where_they_are(routed: Shell) -> None:
    routed("enqueue", "tasks:app", "tasks.send", "me")
    routed("queues", "pause", "mail")
    routed("run", "--burst")
    assert {one["state"] for one in routed("jobs", "list", "--json").lines} == {"queued"}
    routed("queues", "resume", "mail")
    routed("run", "--burst")
    assert {one["state"] for one in routed("jobs", "list", "--json").lines} == {"succeeded"}


def test_doctor_says_all_of_them(routed: Shell) -> None:
    routed("enqueue", "tasks:app", "tasks.add", "1")
    view = routed("doctor", "--json", status=1).json
    checks = [one["check"] for one in view["findings"]]
    assert checks.index("default: store") < checks.index("fast: store")
    said = {one["check"]: one["says"] for one in view["findings"]}
    assert "jobs.db answers" in said["default: store"]
    assert "fast.db answers" in said["fast: store"]


def test_doctor_says_which_one_is_away(routed: Shell) -> None:
    routed("enqueue", "tasks:app", "tasks.add", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREADLE_BACKENDS__FAST", "redis://127.0.0.1:1?patience=0.1")
        view = routed("doctor", "--json", status=69).json
    [away] = [one for one in view["findings"] if one["check"] == "fast: store"]
    assert away["level"] == "fail"
    assert away["says"].startswith("redis://127.0.0.1:1?patience=0.1 does not answer")
    assert any(one["check"] == "default: store" for one in view["findings"])


def test_doctor_sees_jobs_whose_route_has_changed(routed: Shell) -> None:
    routed("enqueue", "tasks:app", "tasks.add", "1")
    (routed.directory / "treadle.toml").write_text(CONFIGURED + 'default = "fast"\n')
    view = routed("doctor", "--json", status=1).json
    said = {one["check"]: one["says"] for one in view["findings"]}
    assert said["default: routes"] == (
        "1 jobs of queue 'default' are here, and it is routed to 'fast'"
    )


def test_tables_of_both(routed: Shell) -> None:
    out = routed("db", "install").out
    assert out.count("the tables are made") == 2
    assert routed("db", "verify").out.count("as they should be") == 2
    assert routed("db", "sql").out.count("-- sqlite:///") == 2


def test_the_configuration_is_shown(routed: Shell) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREADLE_BACKENDS__BULK", "redis://:secret@host")
        patch.setenv("TREADLE_ROUTES", "bulk=bulk,mail=default")
        shown = routed("config", "--json").json
    assert shown["backends.bulk"] == {
        "value": "redis://:***@host",
        "origin": "environment TREADLE_BACKENDS__BULK",
    }
    assert shown["routes.images.thumbs"]["value"] == "fast"
    assert shown["routes.mail"]["value"] == "default"
    assert shown["backends.fast"]["value"].endswith("fast.db")


def test_a_url_is_that_store_alone(routed: Shell) -> None:
    routed("enqueue", "tasks:app", "tasks.send", "me", "--url", "sqlite:///jobs.db")
    assert not (routed.directory / "fast.db").exists()
