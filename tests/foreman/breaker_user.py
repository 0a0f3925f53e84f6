"""A foreman of a queue with a breaker, in a process of its own: ``breaker_user URL FOLDER``.

What the service does is what the folder says: while there is a file ``down`` it refuses, while
there is a file ``hang`` it does not answer. Each job notes its start and its end in ``ledger``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from treadle import Breaker, Treadle

__all__ = ["PAUSE", "make", "note"]

PAUSE = 1.0


def note(folder: Path, what: str, number: int) -> None:
    """One line of the ledger, in one write."""
    ledger = os.open(folder / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{what} {number} {os.getpid()}\n".encode())
    os.close(ledger)


def make(url: str, folder: Path) -> Treadle:
    """The app, with the task ``call``."""
    app = Treadle(url)

    @app.task(name="call", queue="api", breaker=Breaker(3, pause=PAUSE, factor=1))
    async def call(number: int) -> None:
        note(folder, "start", number)
        if (folder / "hang").exists():
            note(folder, "hangs", number)
            await asyncio.Event().wait()
        if (folder / "down").exists():
            note(folder, "refused", number)
            raise ConnectionError("the service is down")
        await asyncio.sleep(0.01)  # noqa: TID251 - several at a time
        note(folder, "end", number)

    return app


async def main(url: str, folder: Path) -> None:
    """Runs jobs until nobody writes to the input any more."""
    async with make(url, folder) as app, app.foreman(concurrency=4, lease=3.0):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
