"""What a foreman process weighs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figure import Figure

_PROGRAM = """
import asyncio, sys
from benchmarks.tasks import add, app
from treadle.foreman.recycle import resident_bytes

async def main():
    for start in range(0, 5000, 1000):
        await add.aenqueue_many([(n,) for n in range(1000)])
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
        print(resident_bytes())

asyncio.run(main())
"""


def run(scale: float) -> list[Figure]:
    """Resident memory after 5,000 jobs, and the time of an import."""
    root = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "BENCH_URL": f"sqlite:///{folder}/jobs.db"}
        out = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            check=True, cwd=root, env=environment, capture_output=True, text=True,
        )  # fmt: skip
    return [Figure("foreman: resident", int(out.stdout) / 2**20, "MiB", "after 5,000 jobs, SQLite")]
