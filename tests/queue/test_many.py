"""Many calls at once, however many: taken as they are pushed, and told what became of them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.queue.shop import declare
from treadle import DuplicateJob, InvalidCall, JobState, NotEncodable, Treadle
from treadle.errors import OutcomeUnknown
from treadle.failpoints import watched


def accepted(error: Any) -> list[bool]:
    return [job is not None for job in error.jobs]


async def test_calls_are_taken_while_those_before_them_are_pushed(memory: Treadle) -> None:
    taken, ahead = 0, list[int]()

    def calls() -> Iterator[tuple[int]]:
        nonlocal taken
        for number in range(3500):
            taken += 1
            yield (number,)

    with watched("enqueue.before_send", lambda: ahead.append(taken)):
        jobs = await declare(memory).add.aenqueue_many(calls())
    assert ahead == [1000, 2000, 3000, 3500]
    assert len({job.id for job in jobs}) == 3500


@pytest.mark.parametrize("between", [False, True], ids=["alone", "through middleware"])
async def test_a_call_that_does_not_fit_keeps_its_thousand_back(
    memory: Treadle, between: bool
) -> None:
    if between:

        @memory.middleware
        async def pass_on(ctx: Any, call_next: Any) -> Any:
            return await call_next(ctx)

    add = declare(memory).add
    with pytest.raises(NotEncodable) as caught:
        await add.aenqueue_many((n if n != 2500 else "x",) for n in range(4000))
    assert accepted(caught.value) == [True] * 2000
    assert "this is item 2500 of those to enqueue" in caught.value.__notes__
    assert len((await memory.ajobs(limit=1000)).records) == 1000
    assert [(await job.arecord()).id for job in caught.value.jobs[::500]]  # type: ignore[attr-defined]


async def test_what_is_no_call_is_told_with_what_was_accepted(memory: Treadle) -> None:
    add = declare(memory).add
    with pytest.raises(InvalidCall, match="item 1500 ") as caught:
        await add.aenqueue_many([*[(1,)] * 1500, 3])
    assert accepted(caught.value) == [True] * 1000
    with pytest.raises(InvalidCall, match="item 1500 ") as caught:
        await memory.aenqueue_many([*[add.bind(1)] * 1500, 3])  # type: ignore[list-item]
    assert accepted(caught.value) == [True] * 1000


async def test_what_the_iterable_raises_is_told_with_what_was_accepted(memory: Treadle) -> None:
    def calls() -> Iterator[tuple[int]]:
        yield from [(1,)] * 1200
        raise LookupError("no more rows")

    with pytest.raises(LookupError, match="no more rows") as caught:
        await declare(memory).add.aenqueue_many(calls())
    assert accepted(caught.value) == [True] * 1000


@pytest.mark.parametrize("between", [False, True], ids=["alone", "through middleware"])
async def test_a_refusal_ends_it_after_its_thousand(memory: Treadle, between: bool) -> None:
    if between:

        @memory.middleware
        async def pass_on(ctx: Any, call_next: Any) -> Any:
            return await call_next(ctx)

    @memory.task(name="t", unique={"by": "{n}", "on_conflict": "error"})
    async def once(n: int) -> None: ...

    await once.aenqueue(1500)
    with pytest.raises(DuplicateJob) as caught:
        await once.aenqueue_many((n,) for n in range(5000))
    assert accepted(caught.value) == [n != 1500 for n in range(2000)]
    assert len((await memory.ajobs(task="t", limit=1000)).records) == 1000
    assert (await memory.queue("default").acounts())[JobState.QUEUED] == 2000


async def test_a_store_that_is_away_is_told_with_what_was_accepted(memory: Treadle) -> None:
    pushes = 0

    def away() -> None:
        nonlocal pushes
        pushes += 1
        if pushes == 3:
            raise OutcomeUnknown("the store did not answer", job_id="x")

    with watched("enqueue.before_send", away), pytest.raises(OutcomeUnknown) as caught:
        await declare(memory).add.aenqueue_many((n,) for n in range(2500))
    assert accepted(caught.value) == [True] * 2000


def test_blocking_code_gives_its_calls_in_its_own_thread() -> None:
    """As cursors of databases want it."""
    threads = set[threading.Thread]()

    def calls() -> Iterator[tuple[int]]:
        for number in range(2500):
            threads.add(threading.current_thread())
            yield (number,)

    with Treadle("memory://") as app:
        add = declare(app).add
        assert len(add.enqueue_many(calls())) == 2500
        assert len(app.enqueue_many(add.bind(*call) for call in calls())) == 2500
        assert add.enqueue_many([]) == []
        with pytest.raises(NotEncodable) as caught:
            add.enqueue_many([*[(1,)] * 1000, ("x",)])
    assert accepted(caught.value) == [True] * 1000
    assert threads == {threading.current_thread()}


VERY_MANY = """
import itertools, resource, sys
from treadle import Treadle

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

with Treadle(sys.argv[1]) as app:
    @app.task(name="t")
    def t() -> None: ...

    t.enqueue_many([()] * 20_000)
    before = peak()
    jobs = t.enqueue_many(itertools.repeat((), 400_000))
    print(len(jobs), peak() - before)
"""
HANDLE = 200
"""Bytes of a job's handle, with its id and its place in the list."""
BESIDES = 16 << 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="there, ru_maxrss counts bytes")
def test_very_many_need_no_memory_beside_the_jobs_that_are_returned(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db?durability=normal"
    told = subprocess.run(
        [sys.executable, "-c", VERY_MANY, url], capture_output=True, text=True, check=True
    ).stdout
    made, grown = map(int, told.split())
    assert made == 400_000
    assert grown <= made * HANDLE + BESIDES, f"{grown / 1e6:.0f} MB"
