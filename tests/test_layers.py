"""The rules about imports and calls hold, and the tools that hold them see what they should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUFF = (
    *(sys.executable, "-m", "ruff", "check", "-"),
    *("--select=TID251", "--no-cache", "--output-format=concise"),
)
RAW_CALLS = """
import asyncio
import random
import time
import uuid
from datetime import datetime

time.time()
time.monotonic()
time.sleep(1)
asyncio.sleep(1)
datetime.now()
random.random()
uuid.uuid4()
"""


def test_imports_point_down() -> None:
    pytest.importorskip("importlinter")
    done = subprocess.run(
        [sys.executable, "tools/check_layers.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("place", ["src/treadle/job.py", "tests/test_x.py", "tools/x.py"])
def test_raw_clocks_and_chance_are_refused(place: str) -> None:
    pytest.importorskip("ruff")
    done = subprocess.run(
        [*RUFF, "--stdin-filename", place],
        cwd=ROOT,
        input=RAW_CALLS,
        capture_output=True,
        text=True,
        check=False,
    )
    banned = [text for text in RAW_CALLS.splitlines() if text.endswith(")") and "rand" not in text]
    for text in ["import random", *banned]:
        line = RAW_CALLS.splitlines().index(text) + 1
        assert f"{place}:{line}:" in done.stdout, f"{text} was let through"
