"""Where the time of a job goes: a sampled drain, split by what was going on.

Every half millisecond a signal looks at what each thread is doing. What C code does counts for the
Python that called it. The steps of the loop's thread add up to the whole; the writer of SQLite
works beside it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from types import FrameType

from benchmarks.drains import enqueue
from benchmarks.figure import Figure
from benchmarks.stores import MEMORY, SQLITE, Place, place
from benchmarks.tasks import add, app

__all__ = ["run"]

_EVERY = 0.0005
_WAITING = "waiting"
_ELSE = "everything else"
# The first that the innermost frame of ours or of asyncio matches, in the thread of the loop.
_LOOP = (
    ("claim", ("foreman/claim", "foreman/turns", "/claim.py", "memory/leases", "/advance.py")),
    ("settle", ("foreman/settler", "/settle.py", "memory/endings", "memory/kept")),
    ("start and judge", ("foreman/", "pools/")),
    ("open, decode, encode, seal", ("treadle/codec", "treadle/context")),
    ("store, around its steps", ("treadle/backends",)),
    ("event loop", ("/asyncio/",)),
    ("the task itself", ("benchmarks/tasks",)),
)
_PROGRAM = "foreman/program"
# The first that any frame matches, in the thread of the writer.
_WRITER = (
    ("begin and commit", ("sqlite/journal.py",)),
    ("claim", ("sqlite/claim.py",)),
    ("settle", ("sqlite/settle.py",)),
)


def run(scale: float) -> Iterator[Figure]:
    """Microseconds a job, by step."""
    for store in (MEMORY, SQLITE):
        count = int(100_000 * scale)
        with place(store) as at:
            total, seen = asyncio.run(_drain(at, count))
        every = sum(seen[0].values())
        for thread, samples in zip(("loop", "writer"), seen, strict=True):
            for step, times in samples.most_common():
                yield Figure("steps", f"{thread}: {step}", store, total * times / every, "µs a job")
        yield Figure("steps", "all of it", store, total, "µs a job")


async def _drain(at: Place, count: int) -> tuple[float, tuple[Counter[str], Counter[str]]]:
    loop, writer = Counter[str](), Counter[str]()
    here = threading.get_ident()

    def look(_signal: int, frame: FrameType | None) -> None:
        loop[_in_loop(list(_frames(frame)))] += 1
        for thread, other in sys._current_frames().items():
            frames = list(_frames(other)) if thread != here else []
            if any("sqlite/writer.py" in one for one in frames):
                writer[_in_writer(frames)] += 1

    with app.override(url=at.url):
        await enqueue(add, [(n,) for n in range(count)])
        before = signal.signal(signal.SIGALRM, look)
        began = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, _EVERY, _EVERY)
        try:
            async with app.foreman(burst=True) as foreman:
                await foreman.join()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        took = time.perf_counter() - began
    return took / count * 1e6, (loop, writer)


def _frames(frame: FrameType | None) -> Iterator[str]:
    """File and function of each frame, the innermost first."""
    while frame is not None:
        yield f"{frame.f_code.co_filename}:{frame.f_code.co_name}"
        frame = frame.f_back


def _in_loop(frames: Sequence[str]) -> str:
    if frames and frames[0].endswith("selectors.py:select"):
        return _WAITING
    for frame in frames:
        if _PROGRAM in frame:
            return "open, decode, encode, seal"
        for step, parts in _LOOP:
            if any(part in frame for part in parts):
                return step
    return _ELSE


def _in_writer(frames: Sequence[str]) -> str:
    if frames and frames[0].endswith("threading.py:wait"):
        return _WAITING
    for step, parts in _WRITER:
        if any(part in frame for frame in frames for part in parts):
            return step
    return _ELSE
