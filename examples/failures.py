"""What happens when things go wrong: retries, a breaker, dead letters, and doing them again."""

from __future__ import annotations

import logging

from treadle import Breaker, Fail, JobFailed, JobState, Retry, Treadle, backoff

# It tells of its failures itself; else each would be in the log with its traceback.
logging.getLogger("treadle").addHandler(logging.NullHandler())

app = Treadle("sqlite:///failures.db")
service_is_up = False


class ServiceDown(Exception):
    """The outside world, as usual."""


@app.task(
    retry=Retry(2, on=ServiceDown, backoff=backoff.fixed("10ms")),
    errors=[ServiceDown],
)
def fetch(page: int) -> str:
    """Tried three times while the service is down; a bad page is not tried again."""
    if page < 0:
        raise Fail(f"there is no page {page}")
    if not service_is_up:
        raise ServiceDown(f"no answer for page {page}")
    return f"page {page}"


def drain() -> None:
    """A foreman until nothing is left, without an event loop of our own."""
    import asyncio

    async def run() -> None:
        async with app.foreman(burst=True, breaker=Breaker(10, pause="50ms")) as foreman:
            await foreman.join()

    asyncio.run(run())


def main() -> None:
    """Fail, look, mend, do it again."""
    global service_is_up
    jobs = fetch.enqueue_many([(1,), (2,), (-1,)])
    for job in jobs:
        while job.state() not in (JobState.FAILED, JobState.SUCCEEDED):
            drain()

    try:
        jobs[0].result()
    except ServiceDown as error:
        print("as it was raised:", error)
    try:
        jobs[2].result()
    except JobFailed as error:
        print("as data:", error.fault.type if error.fault else "", error.cause)

    for attempt in jobs[0].record().attempts:
        message = attempt.fault.message if attempt.fault else ""
        print(f"attempt {attempt.number}: {attempt.cause}: {message}")

    service_is_up = True
    for job in jobs[:2]:
        job.retry()
    drain()
    print([job.result() for job in jobs[:2]])
    assert [job.result() for job in jobs[:2]] == ["page 1", "page 2"]


if __name__ == "__main__":
    with app:
        main()
