"""What users write, with the types that both checkers must see."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type

from treadle import CONTEXT, Context, Depends, Job, JobState, Rate, Retry, Slots, Treadle, task
from treadle.outcome import Progress
from treadle.records import JobRecord
from treadle.task import Call

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
    assert_type(fetch.bind("x"), Call[int])
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
