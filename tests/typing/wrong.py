"""What users get wrong: each line with the mark has to be refused by both checkers."""

from __future__ import annotations

from pathlib import Path

from treadle import CONTEXT, Context, Depends, Foreman, Pool, Treadle, Worker, gather, task

app = Treadle("memory://")
other = Treadle("memory://", middlware=[])  # wrong


@app.task
async def fetch(url: str, tries: int = 3) -> int:
    return len(url) + tries


@app.task(queue="images")
def thumbnail(path: Path, *, width: int = 256) -> Path:
    return path


@app.task(retires=3)  # wrong
def misspelt() -> None: ...


@app.task(delivery="exactly_once")  # wrong
def impossible() -> None: ...


@app.task(priority="high")  # wrong
def textual() -> None: ...


@task(id="x")  # wrong
def of_a_call() -> None: ...


def get_db() -> str:
    return ""


def wants(number: int = Depends(get_db)) -> None: ...  # wrong


def wants_context(ctx: str = CONTEXT) -> None: ...  # wrong


def has(ctx: Context = CONTEXT) -> None:
    ctx.enqueue(thumbnail, "x")  # wrong
    ctx.enqueue(fetch)  # wrong
    ctx.progress("half")  # wrong


def plain_code() -> None:
    fetch.enqueue()  # wrong
    fetch.enqueue(3)  # wrong
    fetch.enqueue("x", retries=3)  # wrong
    fetch.enqueue("x", "y")  # wrong
    thumbnail.enqueue(Path(), 3)  # wrong
    thumbnail(3)  # wrong
    fetch.bind()  # wrong
    fetch.options(prority=3)  # wrong
    fetch.options(priority="x")  # wrong
    fetch.options(mode="thread")  # wrong
    app.enqueue(fetch, 3)  # wrong
    app.enqueue(get_db, 3)  # wrong
    text: str = fetch.enqueue("x").result()  # wrong
    fetch.enqueue("x").cancel("now")  # wrong
    Depends(get_db, scope="request")  # wrong
    app.jobs(status="failed")  # wrong
    print(text)


async def asynchronous_code() -> None:
    await fetch.aenqueue(3)  # wrong
    await app.aenqueue(fetch, "x", "y")  # wrong
    text: str = await fetch("x")  # wrong
    job = fetch.aenqueue("x")
    print(text, job.id)  # wrong


class Browser(Worker): ...


class Session(Worker): ...


@app.task(worker=Browser)
async def scrape(browser: Browser, url: str) -> int:
    return len(url)


async def visit(browser: Browser, url: str) -> int:
    return len(url)


@app.task(worker=Browser)  # wrong
def other_worker(session: Session, url: str) -> int:
    return len(url)


async def stateful_code() -> None:
    await scrape.aenqueue(Browser(), "x")  # wrong
    await scrape.aenqueue()  # wrong
    await scrape("x")  # wrong
    Foreman(Browser, max_worker=3)  # wrong
    async with Foreman(Browser) as foreman:
        await foreman.enqueue(visit)  # wrong
        await foreman.enqueue(visit, 3)  # wrong
        await foreman.enqueue(visit, Browser(), "x")  # wrong
    async with Foreman(Session) as sessions:
        await sessions.enqueue(visit, "x")  # wrong


def calls_here_and_now() -> None:
    fetch.submit()  # wrong
    fetch.submit(3)  # wrong
    fetch.map(["x"], chunksize=3)  # wrong
    text: str = fetch.submit("x").result()  # wrong
    numbers: list[str] = gather([fetch.submit("x")])  # wrong
    gather([3])  # wrong
    gather([fetch.submit("x")], progress=3)  # wrong
    with Pool("threads") as pool:  # wrong
        pool.submit(fetch.fn, retries=3)
        pool.submit(len, 3)  # wrong
        pool.bind(len).submit("x", "y")  # wrong
    print(text, numbers)
