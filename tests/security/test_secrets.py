"""Passwords and keys are shown nowhere: not by repr, errors, logs, commands or their causes."""

from __future__ import annotations

import io
import logging
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Shell
from treadle import Treadle
from treadle.backends.common.url import Url
from treadle.cli import stores
from treadle.codec import Codec, KeyRing
from treadle.config import load, mask, origins
from treadle.errors import TreadleError
from treadle.logs import configure

PASSWORD = "c4nary-p4ssw0rd"
ARGUMENT = "c4nary-4rgument"

URLS = [
    f"redis://ann:{PASSWORD}@host.invalid:6379/0",
    f"redis://:{PASSWORD}@host.invalid/0",
    f"redis://ann:x/{PASSWORD}@host.invalid/0",
    f"redis://ann:x?{PASSWORD}@host.invalid/0",
    f"redis://ann:x#{PASSWORD}@host.invalid/0",
    f"redis://ann:x:{PASSWORD}@host.invalid/0",
    f"redis://ann:x@{PASSWORD}@host.invalid/0",
    f"redis://ann:{PASSWORD}@host:port/0",
    f"redis://ann:{PASSWORD}@[::1/0",
    f"redis://host/0?password={PASSWORD}",
    f"postgresql://host/db?sslmode=require&sslpassword={PASSWORD}&x=1",
    f"amqp://host/?access_token={PASSWORD}",
    f"sqlite:///jobs.db?secret={PASSWORD}",
    f"nosuch://ann:{PASSWORD}@host",
]


def everything(error: BaseException) -> str:
    """All that a report of an error would show of it: text, arguments, causes, attributes."""
    shown = traceback.format_exception(error)
    at: BaseException | None = error
    while at is not None:
        shown += [str(at), repr(at), repr(at.args), repr(vars(at))]
        at = at.__cause__ or at.__context__
    shown.append(repr(pickle.loads(pickle.dumps(error))))
    return "\n".join(shown)


def shown_of_url(text: str) -> str:
    """What a URL shows of itself, or of why it is none."""
    try:
        url = Url(text)
    except TreadleError as error:
        return everything(error)
    return f"{url} {url!r}"


@pytest.mark.parametrize("url", URLS)
def test_a_password_in_a_url_is_not_shown(url: str) -> None:
    assert PASSWORD not in mask(url)
    assert PASSWORD not in mask(f"cannot reach {url!r}, see the log")
    settings = load(url=url)
    assert settings.url == url
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in repr(origins(settings))
    assert PASSWORD not in shown_of_url(url)


@pytest.mark.parametrize("url", URLS)
def test_a_store_that_cannot_be_opened_is_named_without_its_password(url: str) -> None:
    with pytest.raises(TreadleError) as caught:
        enqueue_at(url)
    assert PASSWORD not in everything(caught.value)


def enqueue_at(url: str) -> None:
    # A URL that can be nothing is refused here already.
    with Treadle(url) as app:

        @app.task(name="t")
        async def t() -> None: ...

        t.enqueue()


@pytest.mark.parametrize("url", URLS[:-2])
def test_an_app_shows_itself_without_its_password(url: str) -> None:
    app = Treadle(url)

    @app.task(name="t")
    async def t() -> None: ...

    assert PASSWORD not in f"{app!r} {app.core!r} {app.core.store!r} {t!r}"
    app.close()


@pytest.mark.parametrize("value", ["5 redis://u:{}@h", "redis://u:{}@h"])
def test_a_password_in_the_wrong_setting_is_not_shown(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_FOREMAN__CONCURRENCY", value.format(PASSWORD))
    with pytest.raises(TreadleError) as caught:
        load()
    assert PASSWORD not in everything(caught.value)


def test_keys_are_not_shown() -> None:
    ring = KeyRing({"k1": PASSWORD * 2})
    codec = Codec(keys=ring)
    assert PASSWORD not in f"{ring!r} {ring} {codec!r}"
    with pytest.raises(TreadleError) as caught:
        KeyRing({"short": PASSWORD[:15]})
    assert PASSWORD[:15] not in everything(caught.value)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """All that is logged, as the programs of the command line write it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure(level="debug", layout="json")
    stream = io.StringIO()
    for handler in root.handlers:
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


async def test_arguments_and_results_are_not_logged(written: io.StringIO, tmp_path: Path) -> None:
    events: list[Any] = []
    async with Treadle(f"sqlite:///{tmp_path}/jobs.db") as app:
        app.on("*", events.append)

        @app.task(name="good")
        async def good(secret: str) -> str:
            return secret

        @app.task(name="bad", retry=1)
        async def bad(secret: str) -> None:
            local = secret * 2
            raise ValueError(f"{len(local)} letters")

        @app.task(name="odd")
        async def odd(secret: str) -> object:
            return object()

        jobs = [await task.aenqueue(ARGUMENT) for task in (good, bad, odd)]
        with pytest.raises(TreadleError) as caught:
            await good.aenqueue(ARGUMENT, ARGUMENT, wrong=ARGUMENT)
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
        assert await jobs[0].aresult() == ARGUMENT
        with pytest.raises(TreadleError) as failed:
            await jobs[2].aresult()
    assert "job.failed" in written.getvalue()
    assert len(events) > 6
    for shown in (written.getvalue(), repr(events), everything(failed.value), str(caught.value)):
        assert ARGUMENT not in shown


def test_the_command_line_shows_no_password_and_no_argument_unasked(
    shell: Shell,
) -> None:
    job = shell("enqueue", "tasks:app", "greet", ARGUMENT).out.strip()
    other = shell("enqueue", "tasks:app", "fail", "why not").out.strip()
    ran = shell("run", "tasks:app", "--burst", "--log-level", "info")
    looks = (
        ["jobs", "list"],
        ["jobs", "list", "--json"],
        ["why", job],
        ["why", other],
        ["queues", "list"],
        ["config"],
        ["config", "--json"],
    )
    for one in (ran, *(shell(*words) for words in looks)):
        assert ARGUMENT not in one.out + one.err
    assert ARGUMENT in shell("jobs", "show", job).out  # who asks for the job sees it
    assert PASSWORD not in stores._suffix(f"redis://jane:{PASSWORD}@one", None)
    for url in URLS:
        listed = shell("config", "--url", url)
        assert PASSWORD not in listed.out + listed.err
        for words in (["doctor"], ["jobs", "list"]):
            said = shell.ended(*words, "--url", url)
            assert said.status
            assert PASSWORD not in said.out + said.err
