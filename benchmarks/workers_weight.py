"""What an idle worker weighs, in a process that has nothing else.

The share of a page counts that each process has in it, so that what several share is counted once.
The peer's program uses :func:`weighed` in its own environment: only the standard library here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

__all__ = ["of", "weighed"]


def weighed(workers: Callable[[int], AbstractContextManager[Any]], count: int) -> float | None:
    """MiB for each of so many workers; on Linux only.

    Args:
        workers: starts so many, all of which have answered a call, and stops them.
        count: how many are to be weighed.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    with workers(1):
        pass  # what all have in common is there now, and what stays of it
    before = sum(map(_kibibytes, _family()))
    with workers(count):
        after = sum(map(_kibibytes, _family()))
    return (after - before) / 1024 / count


def _family() -> Iterable[int]:
    """This process and all that come from it."""
    found = [int(Path("/proc/self").resolve().name)]
    for one in found:
        found.extend(_children(one))
    return found


def _children(process: int) -> Iterator[int]:
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            yield from map(int, file.read_text().split())
        except OSError:  # the thread has ended
            continue


def _kibibytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def of(whose: str, mode: str, count: int) -> float | None:
    """What a worker weighs, in a fresh process; ``None`` where it cannot be known."""
    if whose == "executor" and mode == "asyncio":
        return None
    line = [sys.executable, "-m", "benchmarks.workers_weight", whose, mode, str(count)]
    root = Path(__file__).parent.parent
    ran = subprocess.run(line, cwd=root, check=True, capture_output=True, text=True)
    found = ran.stdout.strip()
    return float(found) if found else None


def _main() -> None:
    whose, mode, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    from benchmarks import workers_idle

    found = weighed(workers_idle.STARTED[whose](mode), count)
    print("" if found is None else found)


if __name__ == "__main__":
    _main()
