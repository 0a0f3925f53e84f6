"""What a spool takes, what it leaves to the caller, and what becomes of what the store refuses."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.spool.kit import Line, edited, emptied, entries, spool_of
from treadle import Event, Treadle
from treadle.clock import SystemClock
from treadle.errors import (
    BackendUnavailable,
    InvalidOption,
    JobNotFound,
    OutcomeUnknown,
    SchemaMismatch,
    Unsupported,
)
from treadle.records import NewJob, Pushed
from treadle.testing.clock import eventually

pytestmark = pytest.mark.slow  # most wait for a server that is started, or is away
AWAY = (BackendUnavailable, OutcomeUnknown)


async def ids(app: Treadle) -> list[str]:
    page = await app.ajobs(oldest_first=True)
    return [record.spec.id for record in page.records]


# ------------------------------------------------------------- sent and not answered


async def test_what_was_accepted_without_an_answer_is_there_once(line: Line) -> None:
    async with line.app() as app:
        note = app.tasks["note"]
        first = await note.aenqueue("first")
        with line.unheard():
            second = await note.aenqueue("second")
            assert [entry.sent is not None for entry in entries(app)] == [True]
        await emptied(app)
        assert await ids(app) == [first.id, second.id]


async def test_what_was_sent_too_long_ago_is_looked_up_not_sent_again(redis_line: Line) -> None:
    """The store would not know it again; only what it still has is certain."""
    refused: list[Event] = []
    async with redis_line.app() as app:
        app.on("spool.refused", refused.append)
        note = app.tasks["note"]
        with redis_line.unheard():
            known = await note.aenqueue("accepted")
        await emptied(app)
        with redis_line.away():
            lost = await note.aenqueue("may have been accepted")
            never = await note.aenqueue("never sent")
            with edited(app) as edit:
                edit("UPDATE spooled SET at = at - 100000, sent = sent - 100000")
        await emptied(app)
        assert await ids(app) == [known.id, never.id]
        assert [(event.job_id, event.task) for event in refused] == [(lost.id, "note")]
        assert "may have been accepted" in refused[0].data["reason"]
        with pytest.raises(JobNotFound, match="has refused"):
            await lost.aresult()
        # Somebody has looked, and decides.
        assert spool_of(app).file.again([lost.id]) == 1
        spool_of(app).forward()
        await emptied(app)
        assert await ids(app) == [known.id, never.id, lost.id]


# ------------------------------------------------------------- what is not spooled


@pytest.mark.parametrize(
    "options",
    [{"spool": False}, {"bound": 5}, {"bound": 5, "on_full": "wait"},
     {"unique": {"by": ["text"], "on_conflict": "error"}}],
    ids=lambda options: " ".join(options),
)  # fmt: skip
async def test_who_has_to_be_answered_gets_the_error(
    redis_line: Line, options: dict[str, Any]
) -> None:
    async with redis_line.app() as app:
        note = app.tasks["note"]
        with redis_line.away():
            await note.aenqueue("spooled")
            with pytest.raises(AWAY):
                await note.options(**options).aenqueue("x")
            with pytest.raises(AWAY):
                await app.aenqueue_many([note.bind("y"), note.options(**options).bind("x")])
            assert len(entries(app)) == 1


async def test_a_full_spool(redis_line: Line) -> None:
    async with redis_line.app(spool_max=2) as app:
        note = app.tasks["note"]
        with redis_line.away():
            jobs = [await note.aenqueue("a"), await note.aenqueue("b")]
            with pytest.raises(BackendUnavailable, match=r"spool.* holds 2 jobs, its bound"):
                await note.aenqueue("c")
        await emptied(app)
        jobs.append(await note.aenqueue("c"))
        assert await ids(app) == [job.id for job in jobs]


async def test_an_id_that_waits_already_is_not_taken_twice(redis_line: Line) -> None:
    async with redis_line.app() as app:
        note = app.tasks["note"].options(id="one")
        with redis_line.away():
            assert (await note.aenqueue("a")).created
            assert not (await note.aenqueue("a")).created
        await emptied(app)
        assert await ids(app) == ["one"]


async def test_a_duplicate_of_a_unique_job_is_forgotten_by_the_store(redis_line: Line) -> None:
    async with redis_line.app() as app:
        note = app.tasks["note"].options(unique=["text"])
        first = await note.aenqueue("same")
        with redis_line.away():
            second = await note.aenqueue("same")
        await emptied(app)
        assert await ids(app) == [first.id]
        with pytest.raises(JobNotFound):
            await second.arecord()


# ------------------------------------------------------------- times


async def test_a_delay_counts_from_the_enqueue(redis_line: Line) -> None:
    async with redis_line.app() as app:
        note = app.tasks["note"]
        with redis_line.away():
            await note.aenqueue("goes first, without an answer")
            late = await note.options(delay=3600, expires=7200).aenqueue("late")
            past = await note.options(delay=60, expires=3600).aenqueue("past")
            with edited(app) as edit:
                edit(f"UPDATE spooled SET at = at - 1800 WHERE id = '{late.id}'")
                edit(f"UPDATE spooled SET at = at - 90000 WHERE id = '{past.id}'")
        await emptied(app)
        now = SystemClock().now()
        record = await late.arecord()
        assert record.due == pytest.approx(now + 1800, abs=300)
        async with app.foreman(burst=True, queues=["default"]) as foreman:
            await foreman.join()
        assert (await past.arecord()).cause == "expired"


# ------------------------------------------------------------- refusals


async def test_what_the_store_refuses_is_set_aside_and_stops_nobody(
    redis_line: Line, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis_line.app() as app:
        note = app.tasks["note"]
        with redis_line.away():
            jobs = [await note.aenqueue(text) for text in ("good", "broken", "bad", "well")]
            with edited(app) as edit:
                edit(f"UPDATE spooled SET job = x'00' WHERE id = '{jobs[1].id}'")
            backend: Any = app.core.backend()
            push = backend.push

            async def picky(news: Sequence[NewJob]) -> Sequence[Pushed]:
                if any(new.id == jobs[2].id for new in news):
                    raise Unsupported("not this one", backend="", feature="")
                answers: Sequence[Pushed] = await push(news)
                return answers

            monkeypatch.setattr(backend, "push", picky)
        await emptied(app)
        assert await ids(app) == [jobs[0].id, jobs[3].id]
        reasons = {entry.id: entry.reason for entry in entries(app)}
        assert reasons[jobs[1].id] == "what is stored of it cannot be read"
        assert reasons[jobs[2].id] == "Unsupported: not this one"
        assert "spool.refused" in caplog.text
        # What comes after goes to the store at once.
        after = await note.aenqueue("after")
        await emptied(app)
        assert (await after.arecord()).spec.id == after.id


# ------------------------------------------------------------- foremen


async def test_a_job_enqueues_while_the_server_is_away(redis_line: Line) -> None:
    app = redis_line.app()
    inside, back = asyncio.Event(), asyncio.Event()
    made: list[str] = []

    @app.task(name="parent")
    async def parent() -> None:
        inside.set()
        await back.wait()
        made.append((await app.tasks["note"].aenqueue("child")).id)

    async with app, app.foreman():
        job = await app.tasks["parent"].aenqueue()
        await inside.wait()
        with redis_line.away():
            back.set()
            await eventually(lambda: bool(made), patience=60)
            assert [entry.id for entry in entries(app)] == made
        await job.aresult(timeout=60)
        assert await app.job(made[0]).aresult(timeout=60) == "child"


# ------------------------------------------------------------- files


def test_a_spool_is_for_servers() -> None:
    with pytest.raises(InvalidOption, match="for servers"):
        Treadle("sqlite:///jobs.db", spool="spool.db")
    with pytest.raises(InvalidOption, match="for servers"):
        Treadle("memory://", spool=Path("spool.db"))


def test_a_configured_spool_is_left_alone_where_there_is_no_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TREADLE_SPOOL", str(tmp_path / "spool.db"))
    assert Treadle("memory://").core.store.spool is None
    assert Treadle("redis://localhost").core.store.spool is not None
    assert Treadle("redis://localhost", spool="none").core.store.spool is None


def test_the_place_of_a_spool_in_a_file_counts_from_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "treadle.toml").write_text('spool = "waiting.db"\nspool_max = 5\n')
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    spool = spool_of(Treadle("redis://localhost"))
    assert spool.file.path == str(tmp_path / "waiting.db")


def test_a_file_of_another_program_is_refused(redis_line: Line) -> None:
    with closing(sqlite3.connect(redis_line.path)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(SchemaMismatch, match=r"spool: .* no spool"), redis_line.app():
        pass


async def test_jobs_of_another_store_wait_for_it(redis_line: Line) -> None:
    """Several apps may share a file; each forwards its own."""
    with redis_line.away():
        async with redis_line.app(namespace="other") as other:
            job = await other.tasks["note"].aenqueue("elsewhere")
    async with redis_line.app() as app:
        await emptied(app)
        assert [entry.id for entry in entries(app)] == [job.id]
        assert await ids(app) == []
