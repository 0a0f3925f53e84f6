"""An app with several backends: what is routed where, what is refused, what stays as it is."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.queue.conftest import run_all
from treadle import CONTEXT, Context, Job, JobState, Rate, RetryLater, Slots, Treadle
from treadle.errors import InvalidOption, UnknownOption, Unsupported
from treadle.policies.breaker import Breaker
from treadle.ports import Cancel, Query, Routed, Write
from treadle.records import NewJob, Spend

ROUTES = {"mail": "fast", "images.thumbs": "bulk"}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Treadle]:
    """One file for each backend."""
    async with Treadle(
        f"sqlite:///{tmp_path}/jobs.db",
        backends={"fast": f"sqlite:///{tmp_path}/fast.db", "bulk": "memory://"},
        routes=ROUTES,
    ) as app:
        declare(app)
        yield app


def declare(app: Treadle) -> None:
    @app.task(name="mail", queue="mail.acme")
    async def mail(number: int) -> int:
        return number

    @app.task(name="thumb", queue="images.thumbs")
    def thumb(number: int) -> int:
        return number * 2

    @app.task(name="plain")
    async def plain(number: int, ctx: Context = CONTEXT) -> int:
        ctx.progress(number)
        return number * 3


def parts(app: Treadle) -> Routed:
    several = app.core.store.several
    assert several is not None
    return several


async def where(app: Treadle) -> dict[str, list[str]]:
    """The tasks of the jobs of each backend, oldest first."""
    found: dict[str, list[str]] = {}
    for name, backend in parts(app).parts.items():
        page = await backend.find(Query(oldest_first=True))
        found[name] = [one.spec.task for one in page.records]
    return found


async def of_each(app: Treadle) -> list[Job[Any]]:
    return await app.aenqueue_many(app.tasks[name].bind(5) for name in ("mail", "plain", "thumb"))


# ------------------------------------------------------------ what goes on


async def test_a_queue_with_its_subqueues_lives_where_it_is_routed(app: Treadle) -> None:
    await of_each(app)
    await app.tasks["plain"].options(queue="images").aenqueue(1)
    assert await where(app) == {"default": ["plain", "plain"], "fast": ["mail"], "bulk": ["thumb"]}


async def test_the_most_specific_route_counts() -> None:
    routes = {"a": "one", "a.b": "default", "a.b.c": "two"}
    async with Treadle(
        "memory://", backends={"one": "memory://", "two": "memory://"}, routes=routes
    ) as app:
        route = parts(app).route
        names = ["z", "a", "a.x", "a.b", "a.b.x", "a.b.c", "a.b.c.x", "ab"]
        assert [route(name) for name in names] == [
            *("default", "one", "one", "default", "default", "two", "two", "default"),
        ]


async def test_jobs_of_all_run_and_have_results(app: Treadle) -> None:
    jobs = await of_each(app)
    assert all(job.created for job in jobs)
    await run_all(app)
    assert [await job.aresult(timeout=10) for job in jobs] == [5, 15, 10]
    assert [await app.job(job.id).aresult() for job in jobs] == [5, 15, 10]
    assert [await job.astate() for job in jobs] == [JobState.SUCCEEDED] * 3


async def test_a_foreman_that_has_nothing_to_do_is_woken_by_each(app: Treadle) -> None:
    async with app.foreman():
        for name in ("thumb", "mail", "plain", "mail", "thumb"):
            job = await app.tasks[name].aenqueue(1)
            assert await job.aresult(timeout=10)


async def test_blocking_verbs(tmp_path: Path) -> None:
    def script() -> list[int]:
        with Treadle(
            f"sqlite:///{tmp_path}/a.db",
            backends={"fast": f"sqlite:///{tmp_path}/b.db"},
            routes={"mail": "fast"},
        ) as app:
            declare(app)
            jobs = [app.tasks["mail"].enqueue(1), app.tasks["plain"].enqueue(2)]
            asyncio.run(run_all(app))
            return [job.result(timeout=10) for job in jobs]

    assert await asyncio.to_thread(script) == [1, 6]


async def test_pages_over_all_are_by_arrival(app: Treadle) -> None:
    ids = [(await app.tasks[name].aenqueue(1)).id for name in ("mail", "plain", "thumb") * 3]
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await app.ajobs(limit=2, oldest_first=True, cursor=cursor)
        found += [one.id for one in page.records]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == ids
    newest = await app.ajobs(limit=4)
    assert [one.id for one in newest.records] == ids[:-5:-1]


async def test_a_cursor_of_another_page_is_refused(app: Treadle) -> None:
    with pytest.raises(InvalidOption, match="cursor='7' is none"):
        await app.ajobs(cursor="7")


async def test_counts_are_added(app: Treadle) -> None:
    await of_each(app)
    await of_each(app)
    page = await app.ajobs(counts=True, limit=1)
    assert {queue: sum(states.values()) for queue, states in page.counts.items()} == {
        "mail.acme": 2,
        "default": 2,
        "images.thumbs": 2,
    }
    await app.tasks["plain"].options(queue="images.full").aenqueue(1)
    assert (await app.queue("images").acounts())[JobState.QUEUED] == 3


async def test_jobs_of_several_are_altered_together(app: Treadle) -> None:
    jobs = await of_each(app)
    altered = await app.aalter(Cancel(), task="*")
    assert set(altered.done) == {job.id for job in jobs}
    assert (await app.aalter(Cancel(), ids=[jobs[0].id])).refused == {
        jobs[0].id: JobState.CANCELLED
    }


async def test_a_running_job_is_cancelled_wherever_it_is(app: Treadle) -> None:
    begun = asyncio.Event()

    @app.task(name="stay", queue="mail")
    async def stay() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with app.foreman():
        job = await stay.aenqueue()
        await begun.wait()
        await job.acancel()
        page = await app.core.store.backend().find(Query(ids=(job.id,), wait=10.0, ended=True))
        assert page.records[0].state is JobState.CANCELLED


async def test_enqueue_many_takes_what_the_others_take(app: Treadle) -> None:
    full = app.tasks["plain"].options(bound=1)
    await full.aenqueue(0)
    with pytest.raises(Exception, match="holds 1 jobs") as refused:
        await app.aenqueue_many([full.bind(1), app.tasks["mail"].bind(2)])
    none, job = refused.value.jobs  # type: ignore[attr-defined]
    assert none is None
    assert await job.astate() is JobState.QUEUED


async def test_what_follows_elsewhere_is_there_once(app: Treadle) -> None:
    ids: list[str] = []

    @app.task(name="order", retry=2)
    async def order(ctx: Context = CONTEXT) -> None:
        ids.append(ctx.enqueue(app.tasks["mail"], 1).id)
        ids.append(ctx.enqueue(app.tasks["mail"], 1).id)
        ids.append(ctx.enqueue(app.tasks["mail"], 2).id)
        if ctx.attempt == 1:
            raise RetryLater("again", delay=0)

    await order.aenqueue()
    await run_all(app)
    assert len(set(ids)) == 3
    assert ids[:3] == ids[3:]
    assert (await where(app))["fast"] == ["mail"] * 3


# ------------------------------------------------------------ pauses


@pytest.mark.parametrize("queue", ["images", "images.thumbs"])
async def test_a_pause_holds_where_the_subqueues_live(app: Treadle, queue: str) -> None:
    rule = await app.queue(queue).apause("repairs")
    assert await app.queue(queue).arule() == rule
    thumb, plain = [
        await app.tasks["thumb"].aenqueue(1),
        await app.tasks["plain"].options(queue="images").aenqueue(1),
    ]
    await run_all(app)
    assert await thumb.astate() is JobState.QUEUED
    assert await plain.astate() is (JobState.QUEUED if queue == "images" else JobState.SUCCEEDED)
    await app.queue(queue).aresume()
    await run_all(app)
    assert await thumb.astate() is JobState.SUCCEEDED


async def test_a_rule_that_stands_in_several_is_read_once(app: Treadle) -> None:
    await app.queue("images").apause("repairs")
    await app.queue("mail").apause("too")
    cells = await app.core.store.backend().read(["queue:*"])
    assert set(cells) == {"queue:images", "queue:mail"}
    own = {name: set(await one.read(["queue:*"])) for name, one in parts(app).parts.items()}
    assert own == {"default": {"queue:images"}, "fast": {"queue:mail"}, "bulk": {"queue:images"}}


async def test_the_later_of_two_rules_stands_everywhere(app: Treadle) -> None:
    queue = app.queue("images")
    await asyncio.gather(*(queue.apause(str(number)) for number in range(10)))
    rule = await queue.arule()
    bulk = await parts(app).parts["bulk"].read(["queue:images"])
    home = await parts(app).parts["default"].read(["queue:images"])
    assert bulk["queue:images"].value == home["queue:images"].value
    assert rule.paused


async def test_running_jobs_are_not_counted_over_several(app: Treadle) -> None:
    with pytest.raises(Unsupported, match=r"max_running=2 of queue 'images' .*'default'.*'bulk'"):
        await app.queue("images").alimit(2)
    await app.queue("images.thumbs").alimit(2)
    await app.queue("mail").alimit(1)


async def test_cells_of_several_are_not_written_at_once(app: Treadle) -> None:
    backend = app.core.store.backend()
    with pytest.raises(InvalidOption, match=r"lie in backends 'default'.* and 'fast'"):
        await backend.write([Write(key="mine", value=b""), Write(key="queue:mail", value=None)])


# ------------------------------------------------------------ what is refused


async def test_a_job_waits_for_none_of_another_backend(app: Treadle, tmp_path: Path) -> None:
    job = await app.tasks["mail"].aenqueue(1)
    says = r"after: .*'default' \(sqlite.*jobs.db\).*'fast' \(sqlite.*fast.db\)"
    with pytest.raises(InvalidOption, match=says):
        await app.tasks["plain"].options(after=job).aenqueue(1)
    # Also one that another process has enqueued.
    async with Treadle(
        f"sqlite:///{tmp_path}/jobs.db",
        backends={"fast": f"sqlite:///{tmp_path}/fast.db"},
        routes={"mail": "fast"},
    ) as other:
        declare(other)
        with pytest.raises(InvalidOption, match=says):
            await other.tasks["plain"].options(after=job).aenqueue(1)
        await other.tasks["mail"].options(after=job).aenqueue(2)


async def test_a_follow_up_waits_for_none_of_another_backend(app: Treadle) -> None:
    refused: list[str] = []

    @app.task(name="order")
    async def order(ctx: Context = CONTEXT) -> None:
        mail = ctx.enqueue(app.tasks["mail"], 1)
        try:
            ctx.enqueue(app.tasks["plain"].options(after=mail), 1)
        except InvalidOption as error:
            refused.append(str(error))

    await order.aenqueue()
    await run_all(app)
    assert "cannot wait for job" in refused[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"key": "one"}, "key='one' .* counts in backend 'default'.*backend 'fast'"),
        ({"unique": "one"}, "unique=.* counts in backend 'default'.*backend 'fast'"),
        ({"flow": "one"}, "flow='one' .* counts in backend 'default'.*backend 'fast'"),
    ],
)
async def test_names_count_in_one_backend(app: Treadle, options: dict[str, Any], says: str) -> None:
    job = {"task": "x", "payload": b""}
    backend = app.core.store.backend()
    if "flow" in options:
        await backend.push([NewJob(id="1", queue="mail", flow="one", **job)])
        with pytest.raises(InvalidOption, match=says):
            await backend.push([NewJob(id="2", flow="one", **job)])
        return

    @app.task(name="tried", **options)
    def task() -> None: ...

    await task.options(queue="mail").aenqueue()
    with pytest.raises(InvalidOption, match=says):
        await task.aenqueue()
    await task.options(queue="mail.x").aenqueue()


async def test_limits_of_code_and_of_jobs_elsewhere(app: Treadle) -> None:
    @app.task(name="send", queue="mail", limits=[Rate(10, per=60, key="smtp")])
    def send() -> None: ...

    await send.aenqueue()
    with pytest.raises(InvalidOption, match="'smtp' is asked for by code, which backend 'default'"):
        await app.core.store.backend().acquire([Spend(key="smtp", count=10, per=60)], "me")


async def test_a_limit_counts_where_its_task_is_declared(app: Treadle) -> None:
    @app.task(name="tried", limits=[Slots(1, key="one")])
    def task() -> None: ...

    with pytest.raises(InvalidOption, match=r"limits='one' .*backend 'fast'.*backend 'default'"):
        await task.options(queue="mail").aenqueue()
    await task.aenqueue()


async def test_limits_of_tasks_in_two_backends_are_refused_before_a_job(tmp_path: Path) -> None:
    app = Treadle("memory://", backends={"fast": "memory://"}, routes={"mail": "fast"})

    @app.task(name="near", limits=[Slots(2, key="smtp")])
    def near() -> None: ...

    @app.task(name="far", queue="mail", limits=[Slots(2, key="smtp")])
    def far() -> None: ...

    with pytest.raises(InvalidOption, match="limits='smtp' of a job of task 'far'"):
        await app.aopen()
    await app.aclose()


async def test_a_bound_counts_in_one_backend(app: Treadle) -> None:
    with pytest.raises(Unsupported, match=r"'images' .*'default'.*'bulk'"):
        await app.tasks["plain"].options(queue="images", bound=5).aenqueue(1)
    await app.tasks["plain"].options(queue="images.thumbs", bound=5).aenqueue(1)


async def test_a_breaker_holds_in_one_backend(app: Treadle) -> None:
    with pytest.raises(Unsupported, match=r"'default'.*'images' .*'bounds'"):

        @app.task(name="late", queue="images", breaker=Breaker(3))
        def late() -> None: ...


async def test_a_connection_leads_to_one_backend(app: Treadle) -> None:
    async with app.connect() as connection:
        await app.tasks["plain"].options(within=connection).aenqueue(1)
        with pytest.raises(
            InvalidOption, match=r"'mail.acme' .* lives in backend 'fast'.*'default'"
        ):
            await app.tasks["mail"].options(within=connection).aenqueue(1)
        with pytest.raises(Unsupported, match=r"'bulk'.*'images.thumbs'.*'transactions'"):
            await app.tasks["thumb"].options(within=connection).aenqueue(1)
    assert await where(app) == {"default": ["plain"], "fast": [], "bulk": []}


async def test_a_transaction_is_that_of_the_job(app: Treadle, tmp_path: Path) -> None:
    refused: list[str] = []

    @app.task(name="note", queue="mail", transaction=True)
    async def note(ctx: Context = CONTEXT) -> None:
        async with ctx.transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS notes (text)")
            ctx.enqueue(app.tasks["mail"], 1)

    @app.task(name="cross", transaction=True)
    async def cross(ctx: Context = CONTEXT) -> None:
        try:
            async with ctx.transaction():
                ctx.enqueue(app.tasks["mail"], 1)
        except Unsupported as error:
            refused.append(str(error))
            raise

    jobs = [await note.aenqueue(), await cross.aenqueue()]
    await run_all(app)
    assert [await job.astate() for job in jobs] == [JobState.SUCCEEDED, JobState.FAILED]
    assert "goes to backend 'fast'" in refused[0]
    with sqlite3.connect(tmp_path / "fast.db") as connection:
        assert connection.execute("SELECT * FROM notes").fetchall() == []
    connection.close()
    assert (await where(app))["fast"] == ["note", "mail"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"routes": {"mail": "fast"}}, "'fast', which is no backend; there is no backends="),
        (
            {"backends": {"fast": "memory://x"}, "routes": {"mail": "fats"}},
            r"'fats', which is no backend \(did you mean 'fast'\?\)",
        ),
        (
            {"backends": {"fast": "memory://x"}, "routes": {"ma il": "fast"}},
            "routes='ma il' is not a queue name",
        ),
        ({"backends": {"default": "memory://x"}}, "'default' is that of the URL itself"),
        ({"backends": {"a b": "memory://x"}}, "'a b' is not a name"),
        (
            {"backends": {"a": "memory://x", "b": "memory://x"}, "routes": {"q": "a", "r": "b"}},
            "'b' and 'a' are both memory://x",
        ),
        ({"backends": {"a": "mongodb://x"}, "routes": {"q": "a"}}, "names no backend"),
        ({"backends": {"a": "nothing"}, "routes": {"q": "a"}}, "must be a URL"),
        ({"backends": "redis://x"}, "must be a table"),
    ],
)
def test_what_cannot_be_routed_is_refused_at_once(options: dict[str, Any], says: str) -> None:
    with pytest.raises((InvalidOption, UnknownOption), match=says):
        Treadle("memory://", **options)


def test_a_backend_without_a_queue_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Treadle("memory://", backends={"a": "memory://x"}).close()
    assert "backend.unused" in caplog.text


# ------------------------------------------------------------ modes of tests


async def test_another_url_takes_the_place_of_all(app: Treadle) -> None:
    with app.override(url="memory://"):
        jobs = await of_each(app)
        assert app.core.store.several is None
        await run_all(app)
        assert [await job.aresult() for job in jobs] == [5, 15, 10]
        await app.core.store.aclose()
    assert await where(app) == {"default": [], "fast": [], "bulk": []}


async def test_eager(app: Treadle) -> None:
    with app.override(eager=True):
        assert [await job.aresult() for job in await of_each(app)] == [5, 15, 10]
        await app.core.store.aclose()
    assert await where(app) == {"default": [], "fast": [], "bulk": []}
