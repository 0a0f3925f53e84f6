"""How much memory a foreman process keeps per job: ``python -m tests.soak.growth ORDERS``.

It enqueues and runs jobs in rounds, and prints after each what it has: resident bytes, which the
allocator gives back late or never, and allocated blocks, which are exact.
"""

from __future__ import annotations

import asyncio
import gc
import sys

import msgspec

from treadle import Treadle
from treadle.logs import configure
from treadle.pools.footprint import resident_bytes

__all__ = ["Orders", "Sample"]


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What it is told."""

    url: str
    # "nothing", "in_thread" or "fails".
    task: str
    rounds: int
    # Jobs of a round.
    jobs: int
    # Whether Python looks for cycles, or is to find none left in the end.
    collects: bool = True


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What there was after a round."""

    jobs: int
    resident: int
    blocks: int


# What is done is gone at once: here the process is measured and not what the store keeps.
app = Treadle("memory://", request_ttl=0.001)


@app.task(keep=0)
async def nothing() -> None:
    """The least that there is to do."""


@app.task(keep=0)
def in_thread() -> None:
    """The same in a thread."""


@app.task(keep=0)
async def fails() -> None:
    """Leaves a large traceback."""
    raise ValueError("x" * 2**20)


async def measure(orders: Orders) -> list[Sample]:
    samples: list[Sample] = []
    if not orders.collects:
        gc.disable()
    task = {"nothing": nothing, "in_thread": in_thread, "fails": fails}[orders.task]
    with app.override(url=orders.url):
        async with app:
            for number in range(1, orders.rounds + 1):
                await task.aenqueue_many([()] * orders.jobs)
                async with app.foreman(burst=True, concurrency=20) as foreman:
                    await foreman.join()
                if orders.collects:
                    gc.collect()
                samples.append(
                    Sample(
                        jobs=number * orders.jobs,
                        resident=resident_bytes(),
                        blocks=sys.getallocatedblocks(),
                    )
                )
    return samples


def main() -> None:
    orders = msgspec.json.decode(sys.argv[1], type=Orders)
    configure(level="critical")
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(measure(orders))))


if __name__ == "__main__":
    main()
