"""What push, claim and settle cost in the memory store, per job, without an event loop.

Run: ``python benchmarks/memory_store.py [jobs] [batch]``. The median of the batches is what
counts; the best of them is what a machine without other work would show.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

from treadle.backends.memory.claim import claim
from treadle.backends.memory.push import push
from treadle.backends.memory.settle import settle
from treadle.backends.memory.store import Store
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.ports import Claim, Settlement
from treadle.records import Lease, NewJob, SessionInfo
from treadle.verdicts import Done


def main(jobs: int, batch: int) -> None:
    """Measure ``jobs`` jobs in batches, at the depth of all of them."""
    store, ids = Store(SystemClock()), SystemIds()
    session = store.presence.open(ids.nonce(), SessionInfo(name="bench"), store.clock.now())
    rounds = range(jobs // batch)

    def make(_: int) -> list[NewJob]:
        return [NewJob(id=ids.new(), task="bench", payload=b"x" * 100) for _ in range(batch)]

    def pushes(specs: list[NewJob]) -> None:
        with store:
            push(store, specs)

    def asks(number: int) -> Claim:
        return Claim(session=session, request=number + 1, limit=batch)

    def claims(ask: Claim) -> tuple[Lease, ...]:
        with store:
            return claim(store, ask).leases

    def settles(leases: tuple[Lease, ...]) -> None:
        ends = [Settlement(token=lease.token, verdict=Done(result=b"\x01")) for lease in leases]
        started = time.perf_counter()
        with store:
            settle(store, ends)
        settled.append((time.perf_counter() - started) / batch * 1e6)

    settled: list[float] = []
    _measure("push", batch, rounds, make, pushes)
    _measure("claim", batch, rounds, asks, claims, settles)
    _show("settle", settled)


def _measure(
    name: str,
    batch: int,
    rounds: range,
    make: Callable[[int], object],
    work: Callable[..., object],
    after: Callable[..., object] = id,
) -> None:
    costs: list[float] = []
    for number in rounds:
        what = make(number)
        started = time.perf_counter()
        done = work(what)
        costs.append((time.perf_counter() - started) / batch * 1e6)
        after(done)
    _show(name, costs)


def _show(name: str, costs: list[float]) -> None:
    print(f"{name:8} best {min(costs):5.2f}  median {median(costs):5.2f} µs a job")


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    main(*given, *[100_000, 100][len(given) :])
