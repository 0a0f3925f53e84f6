"""One class of workers and one task, first in memory, then over SQLite. Neither of them changes.

The workers here are browsers of a library of pages, each with a session that it opens once. In
memory, jobs are gone with the process; over SQLite they survive it.
"""

from __future__ import annotations

import asyncio
import logging

from treadle import Fail, Foreman, Job, JobFailed, RetryLater, Treadle, Worker, task

# It tells of its failures itself; else each would be in the log with its traceback.
logging.getLogger("treadle").addHandler(logging.NullHandler())

PAGES = {f"https://library.example/{n}": f"page {n}" for n in range(20)}
MISSING = "https://library.example/missing"


class SessionExpired(RetryLater):
    """Another attempt at once, with a worker that was started again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, delay=0, restart_worker=True)


class Browser(Worker):
    """Keeps a session between jobs, which is good for eight pages."""

    async def start(self) -> None:
        """Open the session."""
        self.left = 8

    async def stop(self) -> None:
        """Close it."""
        self.left = 0

    async def goto(self, url: str) -> str:
        """The text of a page."""
        if self.left == 0:
            raise SessionExpired(f"the session of browser {self.index} is over")
        self.left -= 1
        if url not in PAGES:
            raise Fail(f"there is no page {url}")
        return PAGES[url]


@task(worker=Browser.options(max_workers=2), retry=3)
async def title(browser: Browser, url: str) -> str:
    """What is above a page."""
    return (await browser.goto(url)).title()


async def in_memory() -> list[str]:
    """Here, and now; ``enqueue`` waits while the backlog is full."""
    async with Foreman(Browser, max_workers=2, backlog=10) as foreman:
        jobs = [await foreman.enqueue(title, url) for url in PAGES]
        bad = await foreman.enqueue(title, MISSING)
        return await _told(jobs, bad)


async def over_sqlite() -> list[str]:
    """The same task in an app: any process may enqueue, any foreman may run it."""
    async with Treadle("sqlite:///pages.db") as app:
        app.include(title)
        jobs = await title.aenqueue_many([(url,) for url in PAGES])
        bad = await title.aenqueue(MISSING)
        async with app.foreman():
            return await _told(jobs, bad)


async def _told(jobs: list[Job[str]], bad: Job[str]) -> list[str]:
    titles = [await job.aresult(timeout=10) for job in jobs]
    try:
        await bad.aresult(timeout=10)
    except JobFailed as error:
        print("as it should be:", error.fault.message if error.fault else error)
    return titles


async def main() -> None:
    """Both, and the same comes of both."""
    first = await in_memory()
    print(f"{len(first)} titles in memory, the last of them {first[-1]!r}")
    second = await over_sqlite()
    print(f"{len(second)} over SQLite")
    assert first == second == [text.title() for text in PAGES.values()]


if __name__ == "__main__":
    asyncio.run(main())
