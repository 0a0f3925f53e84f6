"""One worker of a staff: where it is in its life, and its numbers."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

from treadle.errors import WorkerError
from treadle.pools.crewstats import PlaceStats, WorkerState
from treadle.pools.future import Future
from treadle.pools.pace import Pace
from treadle.pools.places.place import Place, life
from treadle.pools.resident import Plan

__all__ = ["Member", "Phase", "is_well", "taken"]


class Phase(Enum):
    """Where a worker is in its life."""

    ABSENT = "absent"  # not started; the next job that needs it does it
    READY = "ready"
    AWAY = "away"  # it is being started, looked after or restarted
    RESTING = "resting"  # it could not be, and is tried again later
    DEAD = "dead"  # given up


# Looking a member up in its enum costs more than a global name.
_READY = Phase.READY


class Member:
    """One worker of a staff."""

    __slots__ = (
        "busy", "doubted", "errors", "failures", "index", "jobs", "leaving", "listed", "pace",
        "phase", "place", "plan", "restart", "restarts", "resting", "started", "taken", "total",
    )  # fmt: skip

    def __init__(self, plan: Plan, index: int, pace: Pace) -> None:
        self.index = index
        self.plan = plan
        self.place: Place | None = None
        self.phase = Phase.ABSENT
        # Of its slots, by jobs that run now.
        self.taken = 0
        # Given to it since it was started.
        self.jobs = 0
        # Given to it at all; how many of them failed, and the seconds that they took.
        self.total = self.errors = 0
        self.busy = 0.0
        # When it was started last, and how often that was done again.
        self.started: float | None = None
        self.restarts = 0
        # Starts and restarts in a row that came to nothing.
        self.failures = 0
        # Whether it is among those that can be lent now, or waits until its rates allow it.
        self.listed = self.resting = False
        self.pace = pace
        # To be restarted, or asked for its health, before the next job.
        self.restart = False
        self.doubted = False
        # It is one too many, and stops after the jobs that it has.
        self.leaving = False

    @property
    def state(self) -> WorkerState:
        """What it does, in a word."""
        if self.leaving:
            return "leaving"
        if self.phase is _READY:
            return "busy" if self.taken else "idle"
        return "dead" if self.phase is Phase.DEAD else "away"

    @property
    def numbers(self) -> PlaceStats:
        """What it has done."""
        place = self.place
        return PlaceStats(
            index=self.index,
            active=self.taken,
            total=self.total,
            failed=self.errors,
            busy=self.busy,
            abandoned=0 if place is None else place.abandoned,
            restarts=self.restarts,
            state=self.state,
            started=self.started,
            pid=None if place is None else place.pid or None,
            rss=None if place is None else place.rss,
        )


async def is_well(place: Place) -> bool:
    """What a worker says of its health."""
    try:
        return bool(await taken(life(place, "healthy"), "healthy"))
    except WorkerError:
        return False


async def taken(future: Future[Any], step: str) -> Any:
    """What a step of a worker's life gives.

    Raises:
        WorkerError: it raised, whatever that was: nothing that a worker raises ends the loop.
    """
    try:
        return await future
    except WorkerError:
        raise
    except BaseException as error:
        us = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and us is not None and us.cancelling():
            raise
        raise WorkerError(f"{step}() raised {type(error).__name__}: {error}") from error
