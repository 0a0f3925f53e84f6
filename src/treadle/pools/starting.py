"""Workers that have to start in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle.clock import Clock
from treadle.errors import WorkerNotStarted
from treadle.pools.future import Future
from treadle.pools.places.patience import after
from treadle.pools.places.place import Place, life

__all__ = ["begin_step", "late"]


def begin_step(
    place: Place,
    step: str,
    clock: Clock,
    limit: float | None,
    overdue: Callable[[Future[Any]], object],
) -> Future[Any]:
    """Have a worker start or restart; whoever has to know is told when that takes too long.

    Args:
        place: of the worker.
        step: ``start`` or ``restart``.
        clock: measures the time.
        limit: seconds; ``None`` for any time.
        overdue: told the future of the step when it has not ended then.
    """
    taken = life(place, step)
    if limit is not None and not taken.done():
        after(clock, limit, lambda: None if taken.done() else overdue(taken))
    return taken


def late(name: str, step: str, limit: float) -> WorkerNotStarted:
    """What a step that took too long ends with."""
    return WorkerNotStarted(
        f"{name} could not be started: its {step} took longer than {limit:g} s; see start_timeout=",
        worker=name,
    )
