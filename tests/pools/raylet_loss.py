"""Kills the raylet of its own cluster while a call runs, and says how the call ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from treadle import Pool


def hang(sign: str) -> None:
    """Say that it has begun, and wait."""
    Path(sign).touch()
    time.sleep(600)  # noqa: TID251 - code of a user


def raylets() -> list[int]:
    """The raylets that this process has started."""
    shown = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid=,comm="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=2) for line in shown.stdout.splitlines()]
    me = str(os.getpid())
    return [int(pid) for pid, parent, name in rows if (parent, name) == (me, "raylet")]


if __name__ == "__main__":
    pool = Pool("ray", max_workers=1)
    call = pool.submit(hang, str(Path("sign").resolve()))
    while not Path("sign").exists():
        time.sleep(0.05)  # noqa: TID251 - a condition of another process
    for pid in raylets():
        os.kill(pid, signal.SIGKILL)
    print("ended:", type(call.exception(90)).__name__, flush=True)
    os._exit(0)
