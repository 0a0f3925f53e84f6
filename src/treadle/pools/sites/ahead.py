"""Short calls that a process is given ahead of their turn."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from treadle.clock import Clock, Timer
from treadle.pools.sites.elsewhere import ElsewhereSite
from treadle.pools.sites.jobcall import HostPlace, JobCall
from treadle.pools.sites.site import Call, Ended
from treadle.pools.submission import Submission

__all__ = ["AHEAD", "AheadSite", "KeepingPlace"]

# Calls, and work of so many seconds, that a process may have before it at most.
AHEAD = 16
_SPAN = 0.01
# Seconds without an end after which what has not begun is taken back.
_STUCK = 0.02


S = TypeVar("S", bound=Submission)


class KeepingPlace(HostPlace, Protocol):
    """A place whose process may be given calls before it is done with those before them."""

    def submit_together(self, calls: Sequence[Submission]) -> None:
        """Carry out calls after those before them."""
        ...

    def take_back(self, calls: Sequence[S]) -> list[S]:
        """Let go of the last of these calls, as many as have not begun; they, in their order."""
        ...


_JobCall: TypeAlias = JobCall[KeepingPlace]


class _Load:
    """What a process was given and has not ended, in its order: the first is carried out."""

    __slots__ = ("calls", "since")

    def __init__(self) -> None:
        self.calls: deque[_JobCall] = deque()
        # When the first was known to begin.
        self.since = 0.0


class AheadSite(ElsewhereSite[KeepingPlace]):
    """Gives each process the next calls while it carries out one, if all of them are short.

    To tell a process of a call and to hear of its end takes longer than many calls do. So where
    calls wait for processes that are all busy, one is given as many as it should end within a
    hundredth of a second, by what calls of the same tasks took; it goes from one to the next by
    itself. Those behind one that takes longer are taken back, for the process that is free first.
    A call counts as started when the one before it has ended. Where that would be too late
    (``Call.alone``), it is given to a process that has nothing else to do.

    Args:
        clock: measures how long a process has not ended a call.
        ahead: calls that a process may have at a time.
        name, rest: see :class:`~treadle.pools.sites.elsewhere.ElsewhereSite`.
    """

    def __init__(self, name: str, *, clock: Clock, ahead: int = AHEAD, **rest: Any) -> None:
        super().__init__(name, **rest)
        self._ahead = ahead
        self._clock = clock
        # Seconds that a call takes, by its task: what one took that took longer, and slowly less.
        self._paces: dict[str, float] = {}
        # Tasks of which processes have to be told: each may be unknown to the next process.
        self._strange: set[str] = set()
        self._loads: dict[KeepingPlace, _Load] = {}
        self._timer: Timer | None = None

    # ------------------------------------------------------------- giving

    def _assign(self, place: KeepingPlace, job: _JobCall) -> None:
        super()._assign(place, job)
        load = self._loads.setdefault(place, _Load())
        if not load.calls:
            load.since = self._clock.monotonic()
        load.calls.append(job)
        if place in self._idle:
            self._idle.remove(place)

    def _free(self, place: KeepingPlace) -> None:
        """Give a process the calls that wait, as many as it may have."""
        load = self._loads[place]
        if 2 * len(load.calls) > self._ahead:
            return  # it is sent more when that is worth a message
        jobs = self._next(load)
        if jobs:
            if not load.calls:
                jobs[0].next()
            for job in jobs:
                self._assign(place, job)
            place.submit_together(jobs)
            if len(load.calls) > 1:
                self._look_later()
        elif not load.calls and place not in self._idle:
            self._idle.append(place)

    def _next(self, load: _Load) -> list[_JobCall]:
        """Those of the calls that wait that a process may have now."""
        waiting, jobs = self._waiting, list[_JobCall]()
        number = len(load.calls)
        work = sum(map(self._pace, load.calls))
        while waiting and number < self._ahead:
            job = waiting[0]
            if not job.told.done():
                work += self._pace(job)
                if number and work > _SPAN:
                    break
                number += 1
                jobs.append(job)
            waiting.popleft()
        return jobs

    def _pace(self, job: _JobCall) -> float:
        apart = job.apart or job.task in self._strange
        return math.inf if apart else self._paces.get(job.task, math.inf)

    def _took(self, job: _JobCall, seconds: float) -> None:
        before = self._paces.get(job.task, 0.0)
        slower = seconds if seconds > before else before + (seconds - before) / 8
        self._paces[job.task] = slower

    async def _taught(self, job: _JobCall, call: Call) -> Ended:
        # What is told is heard after all that is ahead of it, and the call has begun.
        self._strange.add(call.name)
        return await super()._taught(job, call)

    # ------------------------------------------------------------- ends

    def _over(self, job: _JobCall) -> None:
        load = None if job.at is None else self._loads.get(job.at)
        if load is not None and job in load.calls:
            first = load.calls[0] is job
            load.calls.remove(job)
            if first and load.calls:
                load.since = self._clock.monotonic()
                load.calls[0].next()
        super()._over(job)

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = self._clock.call_later(_STUCK, self._look)

    def _look(self) -> None:
        """Take back what waits behind calls that take long."""
        self._timer = None
        now = self._clock.monotonic()
        for place, load in self._loads.items():
            if len(load.calls) > 1 and now - load.since >= _STUCK:
                self._take_back(place, load)
            if len(load.calls) > 1:
                self._look_later()
        while self._waiting and self._idle:
            self._free(self._idle.pop())
        self._look_again()

    def _take_back(self, place: KeepingPlace, load: _Load) -> None:
        others = list(load.calls)[1:]
        # A process that was told of its task for a call is the one that knows it.
        calls = place.take_back([job for job in others if not job.taught])
        for job in calls:
            load.calls.remove(job)
            job.at = None
        # If it began in this moment, it may be passed over all the same and sent again: nothing
        # may come between.
        load.calls[-1].apart = True
        self._waiting.extendleft(reversed(calls))

    # ------------------------------------------------------------- processes

    def _let_go(self, place: KeepingPlace) -> None:
        self._loads.pop(place, None)
        super()._let_go(place)

    async def aclose(self) -> None:
        """End the processes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await super().aclose()
