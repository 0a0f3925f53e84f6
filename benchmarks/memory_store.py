"""What push, claim and settle cost in the memory store, per job, without an event loop.

Run: ``python benchmarks/memory_store.py [jobs] [batch]``. The median of the batches is what
counts; the best of them is what a machine without other work would show.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import TypeVar

from treadle.backends.memory.claim import claim
from treadle.backends.memory.push import push
from treadle.backends.memory.settle import settle
from treadle.backends.memory.store import Store
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.ports import Claim, Settlement
from treadle.records import Lease, NewJob, SessionInfo
from treadle.verdicts import Done

A = TypeVar("A")
R = TypeVar("R")


class Step:
    """What one step costs, batch by batch."""

    def __init__(self, name: str, batch: int) -> None:
        self.name = name
        self.batch = batch
        self.costs: list[float] = []

    def do(self, work: Callable[[A], R], what: A) -> R:
        """Do it with a batch, and note what it took."""
        started = time.perf_counter()
        done = work(what)
        self.costs.append((time.perf_counter() - started) / self.batch * 1e6)
        return done

    def show(self) -> None:
        best, usual = min(self.costs), median(self.costs)
        print(f"{self.name:8} best {best:5.2f}  median {usual:5.2f} µs a job")


def main(jobs: int, batch: int) -> None:
    """Measure ``jobs`` jobs in batches, at the depth of all of them."""
    store, ids = Store(SystemClock()), SystemIds()
    session = store.presence.open(ids.nonce(), SessionInfo(name="bench"), store.clock.now())
    rounds = range(jobs // batch)
    pushing, claiming, settling = (Step(name, batch) for name in ("push", "claim", "settle"))

    def pushes(specs: list[NewJob]) -> None:
        with store:
            push(store, specs)

    def claims(ask: Claim) -> tuple[Lease, ...]:
        with store:
            return claim(store, ask).leases

    def settles(ends: list[Settlement]) -> None:
        with store:
            settle(store, ends)

    for _ in rounds:
        specs = [NewJob(id=ids.new(), task="bench", payload=b"x" * 100) for _ in range(batch)]
        pushing.do(pushes, specs)
    for number in rounds:
        ask = Claim(session=session, request=number + 1, limit=batch)
        leases = claiming.do(claims, ask)
        ends = [Settlement(token=lease.token, verdict=Done(result=b"\x01")) for lease in leases]
        settling.do(settles, ends)
    for step in (pushing, claiming, settling):
        step.show()


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    main(*given, *[100_000, 100][len(given) :])
