"""What the foremen of a soak run: short jobs of every kind, which write down what they do."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from treadle import CONTEXT, Context, Rate, Retry, Slots, Task, Treadle, backoff
from treadle.clock import SystemClock
from treadle.testing.ledger import Ledger, witnessed

__all__ = ["Jobs", "app_of", "witness"]

clock = SystemClock()
_ledgers: list[Ledger] = []


@contextmanager
def witness(app: Treadle, directory: Path, name: str, lease: float) -> Iterator[Ledger]:
    """A block in which this process writes its ledger."""
    ledger = Ledger(directory, name, clock)
    _ledgers.append(ledger)
    # A call that takes half as long as a renewal may wait is worth a line.
    undo = witnessed(app, ledger, slow=lease / 6)
    try:
        yield ledger
    finally:
        undo()
        _ledgers.remove(ledger)
        ledger.close()


async def nap(seconds: float, ctx: Context = CONTEXT) -> float:
    """The ordinary job."""
    _ledgers[0].started(ctx)
    await clock.sleep(seconds)
    _ledgers[0].effect(ctx)
    return seconds


def nap_in_thread(seconds: float, ctx: Context = CONTEXT) -> float:
    """A plain function."""
    _ledgers[0].started(ctx)
    clock.wait(threading.Event(), seconds)
    _ledgers[0].effect(ctx)
    return seconds


async def nap_again(seconds: float, ctx: Context = CONTEXT) -> float:
    """Succeeds the second time."""
    _ledgers[0].started(ctx)
    await clock.sleep(seconds)
    if ctx.tries == 0:
        raise OSError("the first time")
    _ledgers[0].effect(ctx)
    return seconds


async def nap_with_limits(seconds: float, ctx: Context = CONTEXT) -> float:
    """At most four at once in the fleet, and not too many a second."""
    _ledgers[0].started(ctx)
    await clock.sleep(seconds)
    _ledgers[0].effect(ctx)
    return seconds


Jobs = Sequence[Task[[float], float]]


def _made(app: Treadle, *, limits: bool) -> Jobs:
    # So many deaths are nobody's fault here, so no number of them fails a job.
    task = partial(app.task, keep=None, max_crashes=90)
    again = Retry(2, backoff=backoff.fixed(0.1, jitter=False))
    tasks = [
        task(name="soak.nap")(nap),
        task(name="soak.nap_in_thread")(nap_in_thread),
        task(name="soak.nap_again", retry=again)(nap_again),
    ]
    if limits:
        few = [Slots(4), Rate(200, per=1)]
        tasks.append(task(name="soak.nap_with_limits", limits=few)(nap_with_limits))
    return tasks


with_limits = Treadle("memory://")
plain = Treadle("memory://")
_TASKS = {with_limits: _made(with_limits, limits=True), plain: _made(plain, limits=False)}


def app_of(*, alone: bool) -> tuple[Treadle, Jobs]:
    """The app, and its tasks; for a broker alone one without what that does not serve."""
    app = plain if alone else with_limits
    return app, _TASKS[app]
