"""Producers that die at any step: nothing they were promised is lost, and nothing is done twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.spool.kit import Line, emptied
from treadle import Treadle
from treadle.failpoints import ENVIRONMENT

pytestmark = pytest.mark.slow

COUNT = 20


@contextmanager
def producer(line: Line, first: int, last: int, point: str = "") -> Iterator[subprocess.Popen[str]]:
    script = Path(__file__).parent / "producer.py"
    words = [line.url, line.namespace, str(line.path), str(first), str(last)]
    child = subprocess.Popen(
        [sys.executable, str(script), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, ENVIRONMENT: point},
        text=True,
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def said(child: subprocess.Popen[str]) -> list[str]:
    """What it prints before it is done, or dead."""
    assert child.stdout is not None
    lines: list[str] = []
    while (text := child.stdout.readline().strip()) and text != "done":
        lines.append(text)
    return lines


async def run_all(app: Treadle, counts: Counter[str]) -> None:
    """Run what is there, and count what runs."""

    def ran(event: object) -> None:
        counts[getattr(event, "job_id", "")] += 1

    app.on("job.started", ran)
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
    app.core.bus.off(ran)


@pytest.mark.parametrize("nth", [1, 7])
@pytest.mark.parametrize("point", ["spool.before_write", "spool.after_write"])
async def test_a_death_while_jobs_are_spooled(redis_line: Line, point: str, nth: int) -> None:
    with redis_line.away(), producer(redis_line, 0, COUNT, f"{point}=kill9#{nth}") as child:
        promised = said(child)
        assert len(promised) == nth - 1
    async with redis_line.app() as app:
        await emptied(app)
        page = await app.ajobs(oldest_first=True)
        there = [record.spec.id for record in page.records]
    # What was written and not yet promised may be there, too.
    written = nth if point == "spool.after_write" else nth - 1
    assert there == [f"job-{number:04}" for number in range(written)]


@pytest.mark.parametrize("point", ["spool.before_send", "spool.after_send", "spool.after_delete"])
async def test_a_death_while_jobs_are_forwarded(redis_line: Line, point: str) -> None:
    counts: Counter[str] = Counter()
    with producer(redis_line, 0, COUNT, f"{point}=kill9") as child:
        with redis_line.away():
            assert len(said(child)) == COUNT
        assert child.wait(60) == -9
    # What has come through ends before the rest is forwarded, and is not done again.
    async with Treadle(redis_line.url, namespace=redis_line.namespace) as app:

        @app.task(name="note")
        def note(text: str) -> str:
            return text

        await run_all(app, counts)
    assert len(counts) == (0 if point == "spool.before_send" else COUNT)
    async with redis_line.app() as app:
        await emptied(app)
        await run_all(app, counts)
    assert counts == {f"job-{number:04}": 1 for number in range(COUNT)}


async def test_processes_that_share_a_spool(redis_line: Line) -> None:
    """The jobs of each are there in its order, whoever forwards them."""
    with (
        producer(redis_line, 0, COUNT) as one,
        producer(redis_line, COUNT, 2 * COUNT) as other,
    ):
        with redis_line.away():
            assert (len(said(one)), len(said(other))) == (COUNT, COUNT)
            one.kill()  # it does not forward any more, and the other does it for both
            one.wait(60)
        other.communicate("", timeout=60)
        assert other.returncode == 0
    async with redis_line.app() as app:
        page = await app.ajobs(oldest_first=True)
        there = [record.spec.id for record in page.records]
    expected = [f"job-{number:04}" for number in range(2 * COUNT)]
    assert [name for name in there if name < f"job-{COUNT:04}"] == expected[:COUNT]
    assert [name for name in there if name >= f"job-{COUNT:04}"] == expected[COUNT:]
