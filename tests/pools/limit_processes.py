"""What the processes of the tests of shared limits do. Run as a program: one child."""

from __future__ import annotations

import mmap
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from treadle import LimitSet, Rate, Slots

SLOTS = 3
PLACES = 64


def shared(name: str, slots: int = SLOTS) -> LimitSet:
    return LimitSet(Slots(slots, key="slots"), Rate(1e9, per=1, key="rate"), shared=name)


def hold_and_wait(limits: LimitSet, units: int, pipe: Connection) -> None:
    """Hold units until something is sent; then let go and say so."""
    with limits.acquire({"slots": units}):
        pipe.send("held")
        pipe.recv()
    pipe.send("free")


def hold_and_die(limits: LimitSet, pipe: Connection) -> None:
    """Be killed with everything held."""
    with limits.acquire({"slots": SLOTS}):
        pipe.send("held")
        pipe.recv()
        os.kill(os.getpid(), signal.SIGKILL)


def stand_in_line(limits: LimitSet, pipe: Connection) -> None:
    """Wait for all slots."""
    pipe.send("here")
    with limits.acquire({"slots": SLOTS}):
        pipe.send("held")


def take_many(limits: LimitSet, times: int, number: int, page: str, slots: int) -> None:
    """Hold 1 to 3 slots again and again; write down on a page how many are held."""
    with Path(page).open("r+b") as file, mmap.mmap(file.fileno(), PLACES) as counts:
        for turn in range(times):
            units = 1 + (number + turn) % 3
            with limits.acquire({"slots": units}):
                counts[number] = units
                # Everybody writes, lets others come as far, and looks: two inside see it.
                for _ in range(3):
                    os.sched_yield()
                    if sum(counts[:]) > slots:
                        os._exit(3)
                counts[number] = 0


def main(name: str, times: str, number: str, page: str, slots: str) -> None:
    """Two threads with half of the times each."""
    limits = shared(name, int(slots))
    with ThreadPoolExecutor(2) as pool:
        places = (2 * int(number), 2 * int(number) + 1)
        for ended in [
            pool.submit(take_many, limits, int(times) // 2, place, page, int(slots))
            for place in places
        ]:
            ended.result()


if __name__ == "__main__":
    main(*sys.argv[1:])
