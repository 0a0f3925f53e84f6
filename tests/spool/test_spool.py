"""A server that goes away and comes back: what was enqueued meanwhile is there, once, in order."""

from __future__ import annotations

import asyncio

import pytest

from tests.spool.kit import Line, emptied, entries, spool_of
from treadle import Event, Treadle
from treadle.errors import JobNotFound, WaitTimeout


async def texts(app: Treadle) -> list[str]:
    """What the jobs of the store are to note, in the order of their arrival."""
    page = await app.ajobs(oldest_first=True, limit=1000)
    return [record.spec.tags[0] for record in page.records]


async def test_what_is_enqueued_while_the_server_is_away_is_forwarded_in_order(line: Line) -> None:
    heard: list[Event] = []
    async with line.app() as app:
        app.on("spool.*", heard.append)
        note = app.tasks["note"]
        await note.options(tags="before").aenqueue("")
        with line.away():
            for number in range(20):
                await note.options(tags=f"{number:02}").aenqueue(str(number))
            assert [entry.task for entry in entries(app)] == ["note"] * 20
        await emptied(app)
        await note.options(tags="then").aenqueue("")
        await emptied(app)
        assert await texts(app) == ["before", *(f"{number:02}" for number in range(20)), "then"]
        assert entries(app) == []
    assert [event.name for event in heard if event.name != "spool.forwarded"] == ["spool.began"]
    assert sum(event.data["jobs"] for event in heard[1:]) == 20


async def test_an_app_opens_and_enqueues_before_its_server_is_there(line: Line) -> None:
    with line.away():
        async with line.app() as app:
            job = await app.tasks["note"].aenqueue("early")
            assert [entry.id for entry in entries(app)] == [job.id]
    # Another process, later.
    async with line.app() as app:
        await emptied(app)
        assert (await app.job(job.id).arecord()).spec.id == job.id


def test_blocking_callers(line: Line) -> None:
    with line.app() as app:
        note = app.tasks["note"]
        with line.away():
            jobs = [note.enqueue(str(number)) for number in range(3)]
            jobs += note.enqueue_many((str(number),) for number in range(3, 2003))
            assert len(entries(app)) == 2003
        asyncio.run(emptied(app))
        page = app.jobs(oldest_first=True, limit=1000)
        assert [record.spec.id for record in page.records] == [job.id for job in jobs[:1000]]


async def test_a_result_is_waited_for_through_the_spool(
    redis_line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis_line.app() as app:
        with redis_line.away():
            job = await app.tasks["note"].aenqueue("hello")
            with pytest.raises(WaitTimeout, match="waits in the spool"):
                await job.aresult(timeout=0.01)
            assert "spool.awaited" in caplog.text
            waiting = asyncio.create_task(job.aresult())
        async with app.foreman():
            assert await waiting == "hello"


async def test_a_job_that_waits_is_not_found_and_the_error_says_where_it_is(
    redis_line: Line,
) -> None:
    async with redis_line.app() as app:
        with redis_line.away():
            job = await app.tasks["note"].aenqueue("x")
            spool_of(app).close()  # nobody forwards
        with pytest.raises(JobNotFound, match="waits in the spool"):
            await job.astate()
