"""What came of the demo, read from the store and compared with the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from treadle.core import Core
from treadle.demo.ledger import Ledger
from treadle.demo.measure import FileMeasures, FunctionMeasures
from treadle.demo.tasks import measure
from treadle.ports import Query
from treadle.records import FINAL, JobRecord, JobState

__all__ = ["Failure", "Ranked", "Results", "Twice", "collect"]


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """A function and its file."""

    path: Path
    function: FunctionMeasures


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A file that could not be measured."""

    path: Path
    job: str
    # "SyntaxError: invalid syntax".
    error: str


class Twice(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was started more than once."""

    path: Path
    job: str
    started: int
    ended: int


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """The sums, and what is worth showing."""

    succeeded: int
    # Jobs without a final state.
    unfinished: int
    lines: int
    functions: int
    branches: int
    top: tuple[Ranked, ...]
    failures: tuple[Failure, ...]
    twice: tuple[Twice, ...]
    # Files with no result and no failure, or with more than one.
    miscounted: tuple[Path, ...]


async def collect(core: Core, queue: str, files: tuple[Path, ...], ledger: Ledger) -> Results:
    """Read all jobs of the demo and count every file."""
    gathered = _Gathered()
    query = Query(queue=queue, limit=500, oldest_first=True)
    backend = await core.ready()
    while True:
        page = await backend.find(query)
        for record in page.records:
            gathered.add(core, record, ledger)
        if page.cursor is None:
            break
        query = msgspec.structs.replace(query, cursor=page.cursor)
    return gathered.results(files)


class _Gathered:
    def __init__(self) -> None:
        self.measures: list[FileMeasures] = []
        self.failures: list[Failure] = []
        self.twice: list[Twice] = []
        self.counted: dict[Path, int] = {}
        self.unfinished = 0

    def add(self, core: Core, record: JobRecord, ledger: Ledger) -> None:
        path = _path(core, record)
        started = ledger.started[record.id]
        if started > 1:
            ended = ledger.ended[record.id]
            self.twice.append(Twice(path=path, job=record.id, started=started, ended=ended))
        if record.state not in FINAL:
            self.unfinished += 1
            return
        self.counted[path] = self.counted.get(path, 0) + 1
        if record.state is JobState.SUCCEEDED and record.result is not None:
            body = core.codec.body_of(record.result, record.spec.task, record.id)
            self.measures.append(measure.shape.decode_result(body))
        else:
            fault = record.fault
            error = f"{fault.type}: {fault.message}" if fault else str(record.cause or record.state)
            self.failures.append(Failure(path=path, job=record.id, error=error))

    def results(self, files: tuple[Path, ...]) -> Results:
        ranked = [Ranked(path=one.path, function=top) for one in self.measures for top in one.top]
        ranked.sort(key=lambda one: (-one.function.complexity, str(one.path), one.function.line))
        wrong = {*files} ^ {*self.counted} | {
            path for path, times in self.counted.items() if times != 1
        }
        return Results(
            succeeded=len(self.measures),
            unfinished=self.unfinished,
            lines=sum(one.lines for one in self.measures),
            functions=sum(one.functions for one in self.measures),
            branches=sum(one.branches for one in self.measures),
            top=tuple(ranked[:10]),
            failures=tuple(sorted(self.failures, key=lambda one: one.path)),
            twice=tuple(sorted(self.twice, key=lambda one: one.path)),
            miscounted=tuple(sorted(wrong)),
        )


def _path(core: Core, record: JobRecord) -> Path:
    body = core.codec.body_of(record.spec.payload, record.spec.task, record.id)
    args, kwargs = measure.shape.decode(body)
    named: dict[str, Any] = dict(zip(("path", "ledger"), args, strict=False)) | kwargs
    path: Path = named["path"]
    return path
