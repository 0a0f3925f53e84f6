"""What the foremen of a soak run: short jobs of every kind, which write down what they do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from treadle import CONTEXT, Context, Rate, Retry, Slots, Treadle, backoff
from treadle.clock import SystemClock
from treadle.testing.ledger import Ledger, witnessed

__all__ = ["TASKS", "app", "nap", "nap_again", "nap_in_thread", "nap_with_limits", "witness"]

clock = SystemClock()
app = Treadle("memory://")
_ledgers: list[Ledger] = []


@contextmanager
def witness(directory: Path, name: str, lease: float) -> Iterator[Ledger]:
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


# So many deaths are nobody's fault here, so no number of them fails a job.
@app.task(name="soak.nap", keep=None, max_crashes=1000)
async def nap(seconds: float, ctx: Context = CONTEXT) -> float:
    """The ordinary job."""
    _ledgers[0].started(ctx)
    await clock.sleep(seconds)
    _ledgers[0].effect(ctx)
    return seconds


@app.task(name="soak.nap_in_thread", keep=None, max_crashes=1000)
def nap_in_thread(seconds: float, ctx: Context = CONTEXT) -> float:
    """A plain function."""
    _ledgers[0].started(ctx)
    clock.wait(threading.Event(), seconds)
    _ledgers[0].effect(ctx)
    return seconds


@app.task(
    name="soak.nap_again",
    keep=None,
    max_crashes=1000,
    retry=Retry(2, backoff=backoff.fixed(0.1, jitter=False)),
)
async def nap_again(seconds: float, ctx: Context = CONTEXT) -> float:
    """Succeeds the second time."""
    _ledgers[0].started(ctx)
    await clock.sleep(seconds)
    if ctx.tries == 0:
        raise OSError("the first time")
    _ledgers[0].effect(ctx)
    return seconds


@app.task(
    name="soak.nap_with_limits",
    keep=None,
    max_crashes=1000,
    limits=[Slots(4), Rate(200, per=1)],
)
async def nap_with_limits(seconds: float, ctx: Context = CONTEXT) -> float:
    """At most four at once in the fleet, and not too many a second."""
    _ledgers[0].started(ctx)
    await clock.sleep(seconds)
    _ledgers[0].effect(ctx)
    return seconds


TASKS = (nap, nap_in_thread, nap_again, nap_with_limits)
