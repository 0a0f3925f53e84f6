"""A process of the fault tests: ``python -m tests.faults.process_child ORDERS``.

It serves, or pushes jobs, and says what happens on its output: ``ready`` when it is up, and
``passed`` each time it comes to the failpoint that it was told to watch. Failpoints are armed by
the environment, as in any process.
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.process_jobs import Jobs
from treadle import Event, Treadle
from treadle.clock import SystemClock
from treadle.failpoints import watched
from treadle.foreman.serve import serve
from treadle.logs import configure
from treadle.testing.ledger import Ledger, witnessed


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the test tells its child."""

    url: str
    ledgers: str
    # Of the ledger and of the foreman.
    name: str
    # The failpoint whose passes are said.
    point: str = ""
    # So many jobs are pushed, one by one; with none it serves.
    pushes: int = 0
    # They all have one unique key; told to go on, it says the ids that it gets.
    unique: bool = False
    # Of the foreman.
    options: Mapping[str, Any] = {}


def say(text: str) -> None:
    """One line for the test."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def race(jobs: Jobs, orders: Orders) -> None:
    """Push jobs with one unique key as soon as everybody may."""
    clock = SystemClock()
    while not (Path(orders.ledgers) / "go on").exists():
        await clock.sleep(0.001)
    for _ in range(orders.pushes):
        say((await jobs.single.aenqueue()).id)


async def run(orders: Orders) -> int:
    """Do as ordered; the exit status."""
    app = Treadle(orders.url)
    ledger = Ledger(Path(orders.ledgers), orders.name)
    witnessed(app, ledger)
    jobs = Jobs(app, ledger, Path(orders.ledgers) / "go on", say)

    @app.on("foreman.stopping")
    def stopping(_: Event) -> None:
        say("stopping")

    def up(*_: object) -> None:
        say("ready")

    watch = watched(orders.point, lambda: say("passed")) if orders.point else nullcontext()
    try:
        with watch:
            if not orders.pushes:
                options = {"name": orders.name, **orders.options}
                return await serve(app.core, opened=up, **options)
            say("ready")
            if orders.unique:
                await race(jobs, orders)
            else:
                for number in range(orders.pushes):
                    await jobs.add.aenqueue(number)
            return 0
    finally:
        await app.aclose()


if __name__ == "__main__":
    configure(level="warning")
    # For who wonders why it does not end.
    faulthandler.register(signal.SIGUSR2)
    sys.exit(asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Orders))))
