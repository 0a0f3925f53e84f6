"""What tests of child processes share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from treadle import Pool
from treadle.clock import SystemClock
from treadle.pools.handle import Handle
from treadle.pools.places.process.place import ProcessPlace

CLOCK = SystemClock()


def until(condition: Callable[[], bool], patience: float = 20.0) -> None:
    """Return once a condition holds, which another process brings about."""
    over = CLOCK.monotonic() + patience
    pause = threading.Event()
    while not condition():
        assert CLOCK.monotonic() < over, "it did not come about"
        CLOCK.wait(pause, 0.002)


def place_of(handle: Handle[Any] | Pool, number: int = 0) -> ProcessPlace:
    """The place of one worker."""
    return cast("ProcessPlace", handle._crew.places[number])


def lines(file: Path) -> list[str]:
    """What was noted, as far as it is whole."""
    return file.read_text().split("\n")[:-1] if file.exists() else []


def runs(pid: int) -> bool:
    """Whether a process lives."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
