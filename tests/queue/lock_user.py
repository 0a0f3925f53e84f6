"""A process that uses a lock: ``lock_user work URL FOLDER TIMES``, or ``lock_user hold URL``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from treadle import Treadle

__all__ = ["NAME", "hold", "work"]

NAME = "counter"


def work(url: str, folder: Path, times: int) -> None:
    """Counts in a file as only one at a time may; each number is noted with its fence."""
    counter = folder / "counter"
    with Treadle(url) as app:
        for _ in range(times):
            with app.lock(NAME, timeout=60) as fence:
                number = int(counter.read_text() or 0)
                # Somebody else here would be seen now: a file can be made by one only.
                os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
                time.sleep(0.0005)  # noqa: TID251 - the others have their chance
                with (folder / "ledger").open("a") as ledger:
                    ledger.write(f"{fence} {number + 1}\n")
                (folder / "inside").unlink()
                counter.write_text(str(number + 1))


def hold(url: str) -> None:
    """Holds it until it is killed."""
    with Treadle(url) as app, app.lock(NAME, lease=3.0) as fence:
        print(fence, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        hold(sys.argv[2])
