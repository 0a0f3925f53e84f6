"""The same before RabbitMQ, which cannot be asked what it has: what runs shows what came."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import own
from tests.spool.kit import Line, edited, emptied, entries
from treadle import Event, Treadle
from treadle.testing.proxy import Proxy
from treadle.testing.servers import RabbitServer, Server

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def rabbit_server() -> Iterator[Server]:
    with own(RabbitServer().start) as server:
        yield server


@pytest.fixture
def rabbit_line(rabbit_server: Server, tmp_path: Path) -> Iterator[Line]:
    with Proxy(rabbit_server.port) as proxy:
        yield Line(proxy, rabbit_server, tmp_path, patience=3)


async def run_all(app: Treadle) -> list[str]:
    """Run what is there, one job after the other; their ids, as they started."""
    started: list[str] = []

    def note(event: Event) -> None:
        started.append(event.job_id or "")

    app.on("job.started", note)
    async with app.foreman(burst=True, concurrency=1) as foreman:
        await foreman.join()
    app.core.bus.off(note)
    return started


async def test_what_is_enqueued_while_the_broker_is_away_runs_once_in_order(
    rabbit_line: Line,
) -> None:
    heard: list[Event] = []
    async with rabbit_line.app() as app:
        app.on("spool.*", heard.append)
        note = app.tasks["note"]
        jobs = [await note.aenqueue("before")]
        with rabbit_line.away():
            jobs += [await note.aenqueue(str(number)) for number in range(20)]
            assert [entry.id for entry in entries(app)] == [job.id for job in jobs[1:]]
        await emptied(app)
        jobs.append(await note.aenqueue("then"))
        await emptied(app)
        assert entries(app) == []
        assert await run_all(app) == [job.id for job in jobs]
    assert [event.name for event in heard if event.name != "spool.forwarded"] == ["spool.began"]
    assert sum(event.data["jobs"] for event in heard[1:]) == 20


async def test_what_a_process_leaves_is_forwarded_by_the_next(rabbit_line: Line) -> None:
    with rabbit_line.away():
        async with rabbit_line.app() as app:
            jobs = await app.tasks["note"].aenqueue_many((str(number),) for number in range(300))
            assert len(entries(app)) == 300
    async with rabbit_line.app() as app:
        await emptied(app)
        assert await run_all(app) == [job.id for job in jobs]


async def test_what_was_accepted_without_an_answer_runs_at_least_once(rabbit_line: Line) -> None:
    async with rabbit_line.app() as app:
        note = app.tasks["note"]
        jobs = [await note.aenqueue("before")]
        with rabbit_line.unheard():
            jobs += [await note.aenqueue(str(number)) for number in range(5)]
            assert [entry.id for entry in entries(app)] == [job.id for job in jobs[1:]]
        await emptied(app)
        started = await run_all(app)
    # The broker knows no ids: what it had taken comes again, as with every push that is repeated.
    assert list(dict.fromkeys(started)) == [job.id for job in jobs]
    assert len(started) in (6, 7)


async def test_what_may_run_once_only_is_not_sent_twice_and_stops_nobody(rabbit_line: Line) -> None:
    refused: list[Event] = []
    async with rabbit_line.app() as app:

        @app.task(name="once", delivery="at_most_once")
        async def once() -> None: ...

        app.on("spool.refused", refused.append)
        with rabbit_line.away():
            first = await app.tasks["note"].aenqueue("first")
            doubtful, behind = await once.aenqueue(), await once.aenqueue()
            with edited(app) as edit:
                # As after a death between the send and its answer.
                edit(f"UPDATE spooled SET sent = at WHERE id = '{doubtful.id}'")
        await emptied(app)
        assert [event.job_id for event in refused] == [doubtful.id]
        assert "may have been accepted" in refused[0].data["reason"]
        assert await run_all(app) == [first.id, behind.id]
