"""What the same work costs with nothing in between: bare asyncio, bare sqlite3.

The SQLite floor makes the fewest commits of the same durability that the work can be done with: a
table, one index, rows in and out in batches as large as ours. It has no leases, retries,
priorities, limits or events, and it serves one process. Nothing that keeps jobs in SQLite from
Python can be faster by much.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from benchmarks.stores import Place

__all__ = [
    "BATCH", "PUSH", "Rows", "loop_rate", "loop_trips", "queue_rate", "resident_mib", "rows",
    "thread_rate",
]  # fmt: skip

BATCH = 100
"""Jobs at a time, as many as a foreman has places."""
PUSH = 1000
"""Jobs in a push of many."""


async def _nothing(number: int) -> int:
    return number + 1


async def loop_rate(count: int) -> float:
    """``create_task`` and await, 100 at a time: tasks a second."""
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        await asyncio.gather(
            *[asyncio.create_task(_nothing(n)) for n in range(start, start + BATCH)]
        )
    return count / (time.perf_counter() - began)


async def loop_trips(count: int) -> list[float]:
    """``create_task`` and await, one at a time: milliseconds each."""
    times: list[float] = []
    for number in range(count):
        began = time.perf_counter()
        await asyncio.create_task(_nothing(number))
        times.append((time.perf_counter() - began) * 1000)
    return times


async def thread_rate(count: int) -> float:
    """``run_in_executor``, 100 at a time: calls a second."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(BATCH) as pool:
        began = time.perf_counter()
        for _ in range(0, count, BATCH):
            await asyncio.gather(*[loop.run_in_executor(pool, int, 1) for _ in range(BATCH)])
        return count / (time.perf_counter() - began)


async def queue_rate(count: int) -> float:
    """Arguments encoded and put into a queue of asyncio: a second."""
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    began = time.perf_counter()
    for number in range(count):
        await queue.put(json.dumps([number, "x"]).encode())
    return count / (time.perf_counter() - began)


def resident_mib() -> float | None:
    """A bare interpreter with an event loop and an open database, in MiB; on Linux only."""
    if sys.platform != "linux":
        return None
    program = (
        "import asyncio, os, pathlib, sqlite3\n"
        "kept = sqlite3.connect(':memory:'); asyncio.run(asyncio.sleep(0))\n"
        "pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])\n"
        "print(pages * os.sysconf('SC_PAGE_SIZE'))"
    )
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return int(out.stdout) / 2**20


class Rows:
    """Jobs as rows of a bare table, in WAL mode."""

    def __init__(self, place: Place, payload: bytes = b"\x82\xa6number\x01\xa4text\xa1x") -> None:
        self._payload = payload
        self._db = sqlite3.connect(place.folder / "floor.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {place.synchronous}")
        self._db.executescript(
            "CREATE TABLE job (id INTEGER PRIMARY KEY, state INTEGER, body BLOB, result BLOB);"
            "CREATE INDEX place ON job (state, id);"
        )

    def close(self) -> None:
        self._db.close()

    def insert(self, count: int, batch: int) -> float:
        """Insert rows, so many in a commit: rows a second."""
        began = time.perf_counter()
        for start in range(0, count, batch):
            rows = [(self._payload,)] * min(batch, count - start)
            self._commit("INSERT INTO job (state, body) VALUES (0, ?)", rows)
        return count / (time.perf_counter() - began)

    def claim(self, limit: int) -> list[tuple[int, bytes]]:
        """Take rows in one commit."""
        return self._db.execute(
            "UPDATE job SET state = 1 WHERE id IN "
            "(SELECT id FROM job WHERE state = 0 ORDER BY id LIMIT ?) RETURNING id, body",
            (limit,),
        ).fetchall()

    def finish(self, ids: Iterable[int], result: bytes = b"\x01") -> None:
        """End rows in one commit."""
        ends = [(result, one) for one in ids]
        self._commit("UPDATE job SET state = 2, result = ? WHERE id = ?", ends)

    def _commit(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(sql, rows)
        self._db.execute("COMMIT")

    async def drain(self, count: int) -> float:
        """Claim, run as tasks of asyncio and finish all rows, 100 at a time: jobs a second."""
        began = time.perf_counter()
        while rows := self.claim(BATCH):
            await asyncio.gather(*[asyncio.create_task(_nothing(row)) for row, _ in rows])
            self.finish([row for row, _ in rows], self._payload)
        return count / (time.perf_counter() - began)

    def trips(self, count: int) -> list[float]:
        """Insert, claim and finish one row, three commits: milliseconds each."""
        times: list[float] = []
        for _ in range(count):
            began = time.perf_counter()
            self.insert(1, 1)
            self.finish([self.claim(1)[0][0]])
            times.append((time.perf_counter() - began) * 1000)
        return times


def rows(place: Place, payload: bytes | None = None) -> closing[Rows]:
    """A table of its own for one measurement."""
    return closing(Rows(place) if payload is None else Rows(place, payload))
