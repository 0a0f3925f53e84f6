"""Calls that start more than they should, in a module that a child imports quickly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

_SLEEP = "import signal; signal.pause()"


def spawn(number: int, file: Path) -> list[int]:
    """Start so many programs, and return without having waited for any."""
    pids = [
        subprocess.Popen([sys.executable, "-S", "-c", _SLEEP], start_new_session=False).pid
        for _ in range(number)
    ]
    file.write_text(" ".join(map(str, pids)))
    return pids


def forks(depth: int, folder: Path) -> None:
    """Fork so deep that there are two to the power of it, each of which waits for ever."""
    for _ in range(depth):
        os.fork()
    (folder / str(os.getpid())).touch()
    while True:
        signal.pause()


def swell(size: int) -> int:
    """Use so much memory."""
    return len(bytearray(b"x" * (1 << 20)) * (size >> 20))


def enter(group: Path) -> int:
    """Have this process live in a cgroup."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
    return os.getpid()


def fill() -> int:
    """Fork until the system refuses; how many there are, each of which waits for ever."""
    number = 0
    while True:
        try:
            pid = os.fork()
        except OSError:
            return number
        if pid == 0:
            while True:
                signal.pause()
        number += 1
