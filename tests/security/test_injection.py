"""Text of others cannot break lines of logs and commands, colour them, or turn them around."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.shell import Shell
from treadle.cli.output import clean
from treadle.codec import Codec
from treadle.logs import configure, get_logger
from treadle.ports import Backend
from treadle.records import NewJob

ATTACKS = {
    "line": "x\n12:00:00 info     job.succeeded job='forged'",
    "return": "x\rall is well",
    "colour": "\x1b[2J\x1b[31mred",
    "link": "\x1b]8;;http://evil\x07click\x1b]8;;\x07",
    "title": "\x1b]0;owned\x07",
    "c1": "\x9b31mred",
    "backwards": "\u202egnp.exe",
    "isolate": "\u2066a\u2069",
    "separator": "a\u2028b\u2029c",
    "null": "a\0b",
    "half": "\ud800",
}
OBEYED = ("\x1b", "\r", "\x9b", "\u202e", "\u2066", "\u2028", "\0", "\x07", "\ud800")

Logged = Callable[[], str]


@pytest.fixture(params=["console", "json"])
def logged(request: pytest.FixtureRequest) -> Iterator[tuple[str, Logged]]:
    """What has been written since the last look."""
    root, ours = logging.getLogger(), logging.getLogger("treadle.test")
    handlers, level = root.handlers[:], root.level
    configure(level="debug", layout=request.param)
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    root.handlers[:] = handlers
    root.setLevel(level)
    # Not to those of pytest, which cannot pass on all of it.
    ours.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    ours.propagate = False

    def look() -> str:
        text: str = stream[0].getvalue()
        stream[0] = io.StringIO()
        handler.setStream(stream[0])
        return text

    stream = [io.StringIO()]
    handler.setStream(stream[0])
    yield request.param, look
    ours.removeHandler(handler)
    ours.setLevel(logging.NOTSET)
    ours.propagate = True


@pytest.mark.parametrize("kind", ATTACKS)
def test_a_log_is_one_line_an_event_whatever_is_in_it(
    kind: str, logged: tuple[str, Logged]
) -> None:
    layout, look = logged
    attack = ATTACKS[kind]
    log = get_logger("treadle.test")
    log.info("job.failed", task=attack, error=attack)
    log.bind(job=attack).warning("other")
    lines = look().removesuffix("\n").split("\n")
    assert len(lines) == 2
    for line in lines:
        assert not any(sign in line for sign in OBEYED)
        if layout == "json":
            json.loads(line)


def test_half_a_character_in_a_traceback_can_be_written(logged: tuple[str, Logged]) -> None:
    handler = logging.getLogger("treadle.test").handlers[0]  # behind it are those of pytest
    error = ValueError("\ud800")
    record = logging.LogRecord("n", logging.ERROR, "f", 1, "broke", (), (ValueError, error, None))
    shown = handler.format(record)
    assert "ud800" in shown
    shown.encode()


# Half a character in a record cannot be passed on by the tools that run tests in parallel.
@pytest.mark.parametrize("kind", [kind for kind in ATTACKS if kind != "half"])
def test_a_traceback_is_set_in_and_obeys_nothing(kind: str, logged: tuple[str, Logged]) -> None:
    layout, look = logged
    log = get_logger("treadle.test")
    try:
        raise ValueError(ATTACKS[kind])
    except ValueError:
        log.exception("it.broke")
    text = look()
    assert "ValueError" in text
    assert not any(sign in text for sign in OBEYED)
    first, *rest = text.removesuffix("\n").split("\n")
    assert "it.broke" in first
    assert all(line.startswith(("  ", "Traceback")) for line in rest)
    if layout == "json":
        assert json.loads(text)["event"].startswith("it.broke")


@given(st.text())
def test_what_is_cleaned_has_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = clean(text)
    assert shown.replace("\n", "").replace("\t", "").isprintable()
    shown.encode()


@pytest.mark.parametrize("kind", [kind for kind in ATTACKS if kind != "half"])
def test_commands_show_jobs_of_others_harmlessly(kind: str, shell: Shell) -> None:
    """Whoever can write to the store chooses names, tags and metadata as he likes."""
    attack = ATTACKS[kind]
    job_id = "j" if kind == "null" else attack  # no command line can hold it
    payload = Codec().seal(msgspec.msgpack.encode({attack: attack}))

    async def push(backend: Backend) -> None:
        await backend.push(
            [
                NewJob(
                    id=job_id,
                    task=attack,
                    payload=payload,
                    tags=(attack,),
                    meta={attack: attack},
                    key=attack,
                    flow=attack,
                )
            ]
        )

    shell.store(push)
    for words in (["jobs", "list"], ["jobs", "show", job_id], ["why", job_id], ["queues", "list"]):
        shown = shell(*words).out
        assert not any(sign in shown for sign in OBEYED), words
    for words in (["jobs", "list", "--json"], ["jobs", "show", job_id, "--json"]):
        shown = shell(*words).out
        json.loads(shown)
        assert not any(sign in shown for sign in ("\x1b", "\r", "\0", "\x9b")), words


def test_a_command_to_be_copied_quotes_what_others_have_named(shell: Shell) -> None:
    name = "x; touch owned #"

    async def push(backend: Backend) -> None:
        await backend.push([NewJob(id="j", task=name, payload=b"")])

    shell.store(push)
    with shell.program("run", "tasks:app") as process:
        shown = ""
        for _ in range(200):
            # Until the foreman is there, and for a moment after, it says something else.
            shown = shell.ended("doctor").out
            if "knows the task" in shown:
                break
        process.terminate()
    assert f"--task '{name}'" in shown
