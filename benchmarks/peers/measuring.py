"""What every peer of a server is asked: the standard library only, run in the peer's environment.

A program names its peer's own way to do each thing, with the defaults of that peer; this has the
loops and the clocks. A job leaves the time of its start and its process in a file, so that peers
with results and without are measured alike.
"""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

__all__ = ["URL", "Client", "answer", "stamp"]

URL = os.environ["BENCH_URL"]
_STAMPS = Path(os.environ["BENCH_STAMPS"])
_STAMP = struct.Struct("dq")
_BATCH, _WARM = 1_000, 100
_START_SECONDS = 30.0
# What a payload of our own has beside its text.
_FRAME = 26


def stamp() -> float:
    """Called by each job: the time, by a clock that all processes of the machine share."""
    now = time.perf_counter()
    os.write(_stamps(), _STAMP.pack(now, os.getpid()))
    return now


@cache
def _stamps() -> int:
    return os.open(_STAMPS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


class Client(ABC):
    """A peer, as one who enqueues sees it."""

    worker: ClassVar[Sequence[str]]
    """What Python is called with to start one worker process."""
    concurrent: ClassVar[bool] = True
    """Whether an enqueue can be awaited."""
    bulk: ClassVar[bool] = False
    """Whether it has a call for many jobs."""
    results: ClassVar[bool] = True
    """Whether the end of a job can be waited for."""

    async def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Make what the store lacks, and connect."""

    @abstractmethod
    async def enqueue(self, number: int, text: str) -> Any:
        """One job."""

    async def many(self, numbers: Sequence[int], text: str) -> None:
        """Many jobs in one call."""
        raise NotImplementedError

    async def result(self, job: Any) -> None:
        """Wait for the end of a job."""
        raise NotImplementedError

    async def close(self) -> None:  # noqa: B027 - most need nothing
        """Disconnect."""


# ------------------------------------------------------------ the parts


async def _enqueue(client: Client, asked: dict[str, Any]) -> float | None:
    """Jobs a second; ``None`` when the peer has no such way."""
    way, deadline = asked["way"], time.perf_counter() + asked["seconds"]
    if (way == "gather" and not client.concurrent) or (way == "bulk" and not client.bulk):
        return None
    await client.enqueue(0, "x")
    batch = 1 if way == "one" else _BATCH
    began = time.perf_counter()
    done = 0
    while done < asked["count"] and time.perf_counter() < deadline:
        await _push(client, range(done, min(done + batch, asked["count"])), "x", way)
        done = min(done + batch, asked["count"])
    return done / (time.perf_counter() - began)


async def _push(client: Client, numbers: range, text: str, way: str) -> None:
    if way == "bulk":
        await client.many(numbers, text)
    elif way == "gather":
        await asyncio.gather(*[client.enqueue(number, text) for number in numbers])
    else:
        for number in numbers:
            await client.enqueue(number, text)


async def _fill(client: Client, asked: dict[str, Any]) -> int:
    """So many jobs that wait, the quickest way."""
    way = "bulk" if client.bulk else "gather" if client.concurrent else "one"
    text = "x" * max(1, asked.get("payload", 0) - _FRAME)
    for start in range(0, asked["count"], _BATCH):
        await _push(client, range(start, min(start + _BATCH, asked["count"])), text, way)
    return int(asked["count"])


async def _drain(client: Client, asked: dict[str, Any]) -> float:
    """Jobs a second between the starts of the first and of the last, or until time is up."""
    count = await _fill(client, asked)
    _work(client, asked["processes"])
    await _stamped(1)
    await _seen_by(count, time.perf_counter() + asked["seconds"])
    times = sorted(at for at, _ in _read())
    return (len(times) - 1) / (times[-1] - times[0])


async def _trip(client: Client, asked: dict[str, Any]) -> list[list[float] | None]:
    """Milliseconds to the start, and to the result where there are any, one job at a time."""
    starts: list[float] = []
    ends: list[float] = []
    _work(client, 1)
    await client.enqueue(0, "x")
    await _stamped(1)
    deadline = time.perf_counter() + asked["seconds"]
    while len(starts) < asked["count"] and (not starts or time.perf_counter() < deadline):
        began = time.perf_counter()
        job = await client.enqueue(1, "x")
        if client.results:
            await client.result(job)
            ends.append((time.perf_counter() - began) * 1000)
        await _stamped(len(starts) + 2)
        starts.append((_read()[-1][0] - began) * 1000)
    return [starts, ends or None]


async def _memory(client: Client, _: dict[str, Any]) -> float:
    """MiB of the process that runs jobs, after some of them."""
    _work(client, 1)
    for number in range(_WARM):
        await client.enqueue(number, "x")
    await _stamped(_WARM)
    await asyncio.sleep(1)
    return _resident(_read()[-1][1])


_PARTS = {"enqueue": _enqueue, "fill": _fill, "drain": _drain, "trip": _trip, "memory": _memory}


# ------------------------------------------------------------ stamps and workers


def _seen() -> int:
    return _STAMPS.stat().st_size // _STAMP.size if _STAMPS.exists() else 0


def _read() -> list[tuple[float, int]]:
    data = _STAMPS.read_bytes()
    return list(_STAMP.iter_unpack(data[: len(data) // _STAMP.size * _STAMP.size]))


async def _stamped(count: int) -> None:
    """Return when so many jobs have started."""
    if not await _seen_by(count, time.perf_counter() + _START_SECONDS):
        raise TimeoutError(f"{_seen()} of {count} jobs started in {_START_SECONDS} s")


async def _seen_by(count: int, deadline: float) -> bool:
    while _seen() < count:
        if time.perf_counter() > deadline:
            return False
        await asyncio.sleep(0.0005)
    return True


def _resident(process: int) -> float:
    """MiB of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _work(client: Client, processes: int) -> None:
    """Start worker processes; who started this program ends them with it."""
    line, here = [sys.executable, *client.worker], Path(__file__).parent
    with _STAMPS.with_suffix(".log").open("ab") as log:
        for _ in range(processes):
            subprocess.Popen(line, cwd=here, stdout=log, stderr=log)


def answer(client: Client, asked: dict[str, Any]) -> Any:
    """What a peer does in one part."""

    async def ask() -> Any:
        await client.prepare()
        try:
            return await _PARTS[asked["part"]](client, asked)
        finally:
            await client.close()

    return asyncio.run(ask())
