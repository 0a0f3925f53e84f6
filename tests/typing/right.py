"""What users write, with the types that both checkers must see."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type

from treadle import (
    CONTEXT,
    Context,
    Depends,
    Foreman,
    Future,
    Job,
    JobState,
    Pool,
    Rate,
    Retry,
    Slots,
    Treadle,
    Worker,
    agather,
    as_completed,
    await_for,
    gather,
    task,
    wait,
    wrap_future,
)
from treadle.outcome import Progress
from treadle.pools.mapping import Results
from treadle.records import JobRecord
from treadle.task import BoundTask

app = Treadle("memory://", namespace="shop", patience="5s", errors=[ValueError])


class Database:
    def rows(self) -> list[int]:
        return []


def plain_db() -> Database:
    return Database()


async def later_db() -> Database:
    return Database()


def generated_db() -> Iterator[Database]:
    yield Database()


def generator_db() -> Generator[Database, None, None]:
    yield Database()


async def streamed_db() -> AsyncIterator[Database]:
    yield Database()


async def stream_db() -> AsyncGenerator[Database, None]:
    yield Database()


assert_type(Depends(plain_db), Database)
assert_type(Depends(later_db), Database)
assert_type(Depends(generated_db), Database)
assert_type(Depends(generator_db), Database)
assert_type(Depends(streamed_db), Database)
assert_type(Depends(stream_db, scope="foreman"), Database)
assert_type(Depends(Database), Database)


@app.task
async def fetch(url: str, tries: int = 3) -> int:
    return len(url) + tries


@app.task(retry=Retry(5, on=OSError), timeout="5m", limits=[Rate(100, per=60), Slots(3)])
def thumbnail(path: Path, width: int = 256, *, fast: bool = False) -> Path:
    return path


@app.task(queue="mail", unique="user:{user_id}", keep={"failed": None}, tags=["a"])
async def greet(
    user_id: int,
    db: Database = Depends(streamed_db),
    ctx: Context = CONTEXT,
) -> list[int]:
    ctx.progress(1, 2, "half")
    assert_type(ctx.enqueue(thumbnail, Path()), Job[Path])
    assert_type(ctx.enqueue(fetch.options(priority=3), "x"), Job[int])
    return db.rows()


@task
def free(text: str) -> bool:
    return bool(text)


@task(timeout=timedelta(seconds=3))
async def free_later(text: str) -> None: ...


async def by_hand(number: int) -> str:
    return str(number)


def plain_by_hand(number: int) -> str:
    return str(number)


assert_type(app.task(by_hand).enqueue(number=3), Job[str])
assert_type(app.task(name="x")(plain_by_hand)(number=3), str)


def plain_code() -> None:
    assert_type(thumbnail(Path(), 3), Path)
    assert_type(thumbnail.enqueue(Path(), fast=True), Job[Path])
    assert_type(thumbnail.enqueue(Path()).result(timeout=10), Path)
    assert_type(fetch.enqueue("x").result(), int)
    coroutine: Coroutine[Any, Any, int] = fetch("x")
    coroutine.close()
    assert_type(fetch.options(priority=10, delay="5m").enqueue("x"), Job[int])
    coroutine = fetch.options(priority=10)("x")
    coroutine.close()
    assert_type(fetch.bind("x"), BoundTask[int])
    assert_type(fetch.enqueue_many([("a",), {"url": "b"}]), list[Job[int]])
    assert_type(app.enqueue_many([fetch.bind("x"), fetch.bind("y")]), list[Job[int]])
    assert_type(app.enqueue(fetch, "x"), Job[int])
    assert_type(app.enqueue(by_hand, 3), Job[str])
    assert_type(app.enqueue(plain_by_hand, 3), Job[str])
    assert_type(free("x"), bool)
    assert_type(free.enqueue("x"), Job[bool])
    assert_type(free_later.enqueue("x"), Job[None])
    assert_type(app.job("id", fetch).result(), int)
    assert_type(app.job("id").result(), Any)
    job = greet.enqueue(7)
    assert_type(job.state(), JobState)
    assert_type(job.record(), JobRecord)
    assert_type(job.wait(), JobRecord)
    assert_type(job.cancel(), bool)
    assert_type(fetch.options.timeout, float | None)
    for update in job.progress():
        assert_type(update, Progress)
    # A job of a narrower result is one of a wider result.
    wide: Job[object] = job
    assert wide.id


async def asynchronous_code() -> None:
    assert_type(await fetch("x"), int)
    assert_type(await fetch.aenqueue("x", tries=3), Job[int])
    assert_type(await (await fetch.aenqueue("x")).aresult(), int)
    assert_type(await fetch.aenqueue_many([("a",)]), list[Job[int]])
    assert_type(await app.aenqueue(fetch, "x"), Job[int])
    assert_type(await app.aenqueue(by_hand, 3), Job[str])
    assert_type(await greet.aenqueue(3), Job[list[int]])
    assert_type(await greet.options(delay=3).aenqueue(user_id=3), Job[list[int]])
    async for update in (await greet.aenqueue(3)).aprogress():
        assert_type(update.fraction, float | None)
    async with app, app.foreman(concurrency=3) as foreman:
        await foreman.join()
    with app.override(eager=True) as same:
        assert_type(same, Treadle)


class Browser(Worker):
    def __init__(self, proxy: str = "") -> None:
        self.proxy = proxy


@app.task(worker=Browser, retry=3)
async def scrape(browser: Browser, url: str, depth: int = 1) -> list[str]:
    return [browser.proxy, url] * depth


@app.task(worker=Browser.options(max_workers=2).bind("proxy"))
def shoot(browser: Browser, url: str) -> bytes:
    return url.encode()


@task(worker=Browser)
def without_app(browser: Browser, url: str) -> bytes:
    return url.encode()


async def visit(browser: Browser, url: str, *, deep: bool = False) -> int:
    return len(url)


async def stateful_code() -> None:
    assert_type(await scrape.aenqueue("x", depth=2), Job[list[str]])
    assert_type(await app.aenqueue(scrape, "x"), Job[list[str]])
    assert_type(await scrape.options(priority=3).aenqueue("x"), Job[list[str]])
    assert_type(await scrape(Browser(), "x"), list[str])
    assert_type(shoot(Browser(), "x"), bytes)
    assert_type(await shoot.aenqueue(url="x"), Job[bytes])
    assert_type(await without_app.aenqueue(url="x"), Job[bytes])
    async with Foreman(Browser, max_workers=2, limits=[Rate(60, per=60)]) as foreman:
        assert_type(foreman, Foreman[Browser])
        assert_type(await foreman.enqueue(visit, "x", deep=True), Job[int])
        assert_type(await foreman.try_enqueue(scrape, "x"), Job[list[str]])
        assert_type(await foreman.enqueue(shoot, "x"), Job[bytes])
    async with Foreman(Browser.options(mode="thread").bind("proxy")) as other:
        assert_type(await other.enqueue(visit, "x"), Job[int])
    assert_type(Foreman.from_workers([Browser("a"), Browser("b")]), Foreman[Browser])


def calls_here_and_now(job: Job[str], theirs: concurrent.futures.Future[bytes]) -> None:
    assert_type(fetch.submit("x", tries=2), Future[int])
    assert_type(thumbnail.submit(Path()).result(timeout="5s"), Path)
    assert_type(fetch.map(["x"], progress=True, ordered=False), Results[int])
    assert_type(list(fetch.starmap([("x", 3)], chunk=2)), list[int])
    assert_type(gather([fetch.submit("x")], progress={"transient": True}), list[int])
    assert_type(gather({"a": thumbnail.submit(Path())}), dict[str, Path])
    gather([[fetch.submit("x")], {"a": thumbnail.submit(Path())}])
    gather({"a": [fetch.submit("x")], "b": {"c": [job]}})
    assert_type(gather([job], return_exceptions=True), list[str | BaseException])
    assert_type(gather({1: job}, return_exceptions=True), dict[int, str | BaseException])
    assert_type(wait([job]).pending, list[Job[str]])
    assert_type([one.id for one in as_completed([job])], list[str])
    assert_type(dict(as_completed({"a": fetch.submit("x")})), dict[str, Future[int]])
    assert_type(wrap_future(theirs), Future[bytes])
    with Pool("thread", max_workers=2) as pool:
        assert_type(pool.submit(thumbnail.fn, Path()), Future[Any])
        assert_type(pool.submit(len, "x"), Future[int])
        assert_type(pool.submit(visit, Browser(), "x"), Future[int])
        assert_type(pool.map(len, ["x"]), Results[int])
        assert_type(list(pool.starmap(visit, [(Browser(), "x")])), list[int])
        assert_type(pool.bind(visit).submit(Browser(), "x", deep=True), Future[int])
    with Browser.options(mode="thread").init("proxy") as browser:
        assert_type(browser.call(visit, "x", deep=True), Future[int])
        assert_type(list(browser.map(visit, ["x"])), list[int])


async def calls_in_a_loop(job: Job[str], theirs: asyncio.Future[bytes]) -> None:
    assert_type(await fetch.submit("x"), int)
    assert_type(await fetch.submit("x").aresult(timeout=3), int)
    assert_type(await fetch.map(["x"]), list[int])
    assert_type([one async for one in fetch.map(["x"])], list[int])
    assert_type(await agather([fetch.submit("x")]), list[int])
    assert_type(await agather({"a": job}), dict[str, str])
    assert_type((await await_for([theirs])).done, list[asyncio.Future[bytes]])
    assert_type(await wrap_future(theirs), bytes)
