"""How much work jobs and calls make, counted instead of timed: the same however busy a machine is.

``python -m benchmarks.work`` prints, per job and per call of a worker: the instructions of the
interpreter and the calls of Python functions, in all threads, and the statements given to SQLite.
``--record`` writes them down as the budget that the tests hold each change to. They are differences
between many and few, so that what starts and ends a foreman or a pool does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.stores import MEMORY, SQLITE, place
from benchmarks.tasks import add, app
from benchmarks.workers_classes import Echo
from treadle import agather

__all__ = ["BUDGET", "CALLS", "OPERATIONS", "STORES", "Work", "version"]

BUDGET = Path(__file__).with_name("budget.json")
STORES = (MEMORY, SQLITE)
_FEW, _MANY = 200, 1200
_HERE = str(Path(__file__).parent) + "/"
_SRC = str(Path(__file__).parent.parent / "src") + "/"


class Work:
    """What was counted: ``parts`` are the instructions by file."""

    def __init__(self) -> None:
        self.calls = 0
        self.statements = 0
        self.parts: Counter[str] = Counter()

    def per_job(self, few: Work) -> dict[str, Any]:
        """The difference to the work of fewer jobs, for one of them."""
        jobs = _MANY - _FEW
        parts = {
            _short(file): round((n - few.parts[file]) / jobs, 1) for file, n in self.parts.items()
        }
        return {
            "instructions": round((self.parts.total() - few.parts.total()) / jobs, 1),
            "calls": round((self.calls - few.calls) / jobs, 2),
            "statements": round((self.statements - few.statements) / jobs, 3),
            "parts": {file: n for file, n in sorted(parts.items()) if abs(n) >= 1},
        }


def _short(file: str) -> str:
    """The same name on every machine."""
    return file.removeprefix(_SRC) if file.startswith(_SRC) else Path(file).name


class Counting:
    """Counts in all threads between :meth:`start` and :meth:`stop`."""

    def __init__(self) -> None:
        self._work: Work | None = None

    def start(self) -> Work:
        """Count from now on."""
        gc.collect()
        gc.disable()  # a finaliser that runs here or there would be counted here or there
        self._work = work = Work()
        return work

    def stop(self) -> None:
        """Count no more."""
        self._work = None
        gc.enable()

    def statement(self, _text: str) -> None:
        """SQLite carries out a statement."""
        if self._work is not None:
            self._work.statements += 1

    def call(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        """Python enters a function, or goes on with a coroutine."""
        if frame.f_code.co_filename.startswith(_HERE):
            return None
        if self._work is not None:
            self._work.calls += 1
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._instruction

    def _instruction(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "opcode" and self._work is not None:
            self._work.parts[frame.f_code.co_filename] += 1
        return self._instruction


@contextmanager
def counting() -> Iterator[Counting]:
    """Look at every thread that starts inside, and at every connection that is opened."""
    counts = Counting()
    connect = sqlite3.connect

    def connected(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(counts.statement)
        return connection

    sqlite3.connect = connected  # type: ignore[assignment]
    # Python 3.12 counts instructions only when some frame has asked for that before.
    sys._getframe().f_trace_opcodes = True
    threading.settrace(counts.call)
    sys.settrace(counts.call)
    try:
        yield counts
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        sqlite3.connect = connect


async def _enqueue(counts: Counting, jobs: int) -> Work:
    """One at a time."""
    await add.aenqueue(0)
    work = counts.start()
    for number in range(jobs):
        await add.aenqueue(number)
    counts.stop()
    return work


async def _enqueue_many(counts: Counting, jobs: int) -> Work:
    """A hundred at a time."""
    await add.aenqueue(0)
    work = counts.start()
    for start in range(0, jobs, 100):
        await add.aenqueue_many([(start + number,) for number in range(100)])
    counts.stop()
    return work


async def _drain(counts: Counting, jobs: int) -> Work:
    """By a foreman, until nothing is left."""
    await add.aenqueue_many([(number,) for number in range(jobs)])
    work = counts.start()
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
        assert foreman.stats["job.succeeded"] == jobs, foreman.stats
    counts.stop()
    return work


OPERATIONS: dict[str, Callable[[Counting, int], Awaitable[Work]]] = {
    "enqueue": _enqueue,
    "enqueue_many": _enqueue_many,
    "drain": _drain,
}


def _thread_calls(counts: Counting, calls: int) -> Work:
    """Submitted while the worker is busy, and asked for their results once all have ended."""
    gate = threading.Event()
    with Echo.options(mode="thread").init() as worker:
        worker.nothing(0).result()
        worker.call(lambda _: gate.wait())
        work = counts.start()
        futures = [worker.nothing(number) for number in range(calls)]
        gate.set()
        futures[-1].wait()
        for future in futures:
            future.result()
        counts.stop()
    return work


def _loop_calls(counts: Counting, calls: int) -> Work:
    """Coroutines of a worker in the loop of who calls, gathered."""

    async def inside() -> Work:
        async with Echo.options(mode="asyncio").init() as worker:
            await worker.anothing(0)
            work = counts.start()
            await agather([worker.anothing(number) for number in range(calls)])
            counts.stop()
        return work

    return asyncio.run(inside())


CALLS: dict[str, Callable[[Counting, int], Work]] = {
    "call, thread": _thread_calls,
    "call, asyncio": _loop_calls,
}


def version() -> str:
    """Interpreters differ in their instructions."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def measure() -> dict[str, dict[str, Any]]:
    """The work of a job, by operation and store, and of a call, by mode."""
    found: dict[str, dict[str, Any]] = {}
    with counting() as counts:
        for store in STORES:
            for name, operation in OPERATIONS.items():
                _once(counts, store, operation, _FEW)  # what is made lazily is made now
                few = _once(counts, store, operation, _FEW)
                many = _once(counts, store, operation, _MANY)
                found[f"{name}, {store}"] = many.per_job(few)
        for name, calls in CALLS.items():
            calls(counts, _FEW)
            few, many = calls(counts, _FEW), calls(counts, _MANY)
            found[name] = many.per_job(few)
    return found


def _once(
    counts: Counting, store: str, operation: Callable[[Counting, int], Awaitable[Work]], jobs: int
) -> Work:
    async def inside() -> Work:
        with app.override(url=at.url):
            return await operation(counts, jobs)

    with place(store) as at:
        return asyncio.run(inside())


def main() -> None:
    """Print the work of a job, or write it down."""
    parser = argparse.ArgumentParser(prog="benchmarks.work", description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write it into {BUDGET.name}")
    record = parser.parse_args().record
    found = measure()
    print(json.dumps(found, indent=2))
    if record:
        known = json.loads(BUDGET.read_text()) if BUDGET.exists() else {}
        known[version()] = found
        BUDGET.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")


if __name__ == "__main__":
    main()
