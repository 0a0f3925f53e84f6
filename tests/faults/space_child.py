"""A process that may write no more: ``python -m tests.faults.space_child URL``.

Says ``held``, then for each push ``accepted`` with the id or ``refused`` with the class of the
error, and at the end what became of the jobs that it held.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from tests.backends.sqlite_support import claim, finish, job, jobs, session
from treadle.backends.sqlite import connect
from treadle.errors import BackendError
from treadle.records import Keep


def say(*words: str) -> None:
    """One line."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def main(url: str, path: str) -> None:
    """Push until the log may grow no further, then again without the limit."""
    backend = connect(url)
    await backend.open()
    await backend.push(jobs(20, keep=Keep(succeeded=None)))
    leases = await claim(backend, await session(backend))
    size = Path(f"{path}-wal").stat().st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, hard))
    refused = 0
    while refused < 3:
        one = job(payload=bytes(1000))
        try:
            await backend.push([one])
        except BackendError as error:
            refused += 1
            say("refused", type(error).__name__)
        else:
            say("accepted", one.id)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    for answer in await finish(backend, leases):
        say("settled", answer)
    one = job()
    await backend.push([one])
    say("accepted", one.id)
    await backend.aclose()
    backend.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
