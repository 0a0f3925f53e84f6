"""No room to write: what was accepted stays, what is refused is refused aloud."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.backends.sqlite_support import opened
from tests.model.sqlite_insides import check
from treadle.ports import Query
from treadle.records import JobState

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="no bounds on the size of files")
async def test_a_bound_on_the_size_of_files_loses_nothing_that_was_accepted(
    tmp_path: Path,
) -> None:
    """Such as a quota: pushes fail with an error of the library, and go on when there is room."""
    path = tmp_path / "jobs.db"
    url = f"sqlite:///{path}"
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.space_child", url, str(path)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
    )
    said, _ = await child.communicate()
    assert child.returncode == 0, said
    told: dict[str, list[str]] = defaultdict(list)
    for line in said.decode().splitlines():
        word, _, rest = line.partition(" ")
        told[word].append(rest)
    assert set(told["refused"]) <= {"BackendFull", "BackendUnavailable"}
    assert told["settled"] == ["ok"] * 20
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    async with opened(path) as backend:
        page = await backend.find(Query(states=(JobState.QUEUED,), limit=1000))
        assert {record.id for record in page.records} == set(told["accepted"])
        page = await backend.find(Query(states=(JobState.SUCCEEDED,), limit=1000))
        assert len(page.records) == 20
        await check(backend)
