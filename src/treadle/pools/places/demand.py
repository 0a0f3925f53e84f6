"""A worker for each call, made for it and stopped after it."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from treadle.clock import Clock
from treadle.pools.future import Future
from treadle.pools.places.place import Place, life
from treadle.pools.resident import Plan
from treadle.pools.starting import begin_step, late
from treadle.pools.submission import Kind, Submission

__all__ = ["DemandPlace"]


class DemandPlace:
    """Makes a place for each call and lets go of it afterwards; what exceeds the bound lines up.

    A call ends when its worker has returned; the next one in line begins when that worker has
    stopped.

    Args:
        make: makes a place of the mode.
        plan: how a worker is made.
        bound: workers that there may be at a time; 0 for any number.
        clock: measures how long they take to start.
        limit: seconds that each has for that.
    """

    index = 0

    pid = 0
    rss = None

    def __init__(
        self,
        make: Callable[[Plan, int], Place],
        plan: Plan,
        bound: int,
        *,
        clock: Clock,
        limit: float | None = None,
    ) -> None:
        self._clock = clock
        self._limit = limit
        self.total = 0
        self.failed = 0
        self.busy = 0.0
        self.abandoned = 0
        self._make = make
        self._plan = plan
        self._bound = bound
        self._over = 0
        self._lock = threading.Lock()
        self._line: deque[Submission] = deque()
        self._live: dict[Submission, Place] = {}
        # Numbers that workers have had and others may have.
        self._free: list[int] = []
        self._next_index = 0
        self._closing: Submission | None = None
        self._over_and_out = threading.Event()

    @property
    def active(self) -> int:
        """Calls that were given to it and have not ended."""
        return self.total - self._over

    @property
    def here(self) -> bool:
        """Whether the caller is one of its calls."""
        with self._lock:
            return any(place.here for place in self._live.values())

    def submit(self, call: Submission) -> None:
        """Make a worker for a call, now or when there is room."""
        if call.kind == Kind.LIFE:
            self._step(call)
            return
        with self._lock:
            if self._bound and len(self._live) >= self._bound:
                self._line.append(call)
                return
            place = self._begin(call)
        self._carry_out(call, place)

    def hasten(self, call: Submission) -> None:
        """Nothing: each worker is fresh."""
        call.future.end(value=call.what == "healthy")

    def _step(self, call: Submission) -> None:
        if call.what != "stop":
            call.future.end(None)
            return
        with self._lock:
            self._closing = call
            over = not self._live and not self._line
        if over:
            self._finish()

    def _begin(self, call: Submission) -> Place:
        if self._free:
            index = heapq.heappop(self._free)
        else:
            index, self._next_index = self._next_index, self._next_index + 1
        attributes = {**self._plan.attributes, "index": index}
        plan = msgspec.structs.replace(self._plan, attributes=attributes)
        place = self._live[call] = self._make(plan, index)
        return place

    def _carry_out(self, call: Submission, place: Place) -> None:
        begin_step(place, "start", self._clock, self._limit, partial(self._overdue, place))
        place.total += 1
        place.submit(call)
        call.future.add_done_callback(partial(self._returned, call, place))
        life(place, "stop").add_done_callback(partial(self._gone, call, place))
        place.close()

    def _overdue(self, place: Place, started: Future[Any]) -> None:
        assert self._limit is not None, "only then is there a time"
        error = late(self._plan.name, "start", self._limit)
        place.kill(error)
        started.end(None, error)

    def _returned(self, call: Submission, place: Place, _: Future[Any]) -> None:
        with self._lock:
            self._over += 1

    def _gone(self, call: Submission, place: Place, _: Future[Any]) -> None:
        """A worker has stopped: the next one in line has its room."""
        with self._lock:
            if self._live.pop(call, None) is None:
                return
            heapq.heappush(self._free, place.index)
            self.failed += place.failed
            self.busy += place.busy
            self.abandoned += place.abandoned
            following = self._following()
            over = self._closing is not None and not self._live and not self._line
        for one, fresh in following:
            self._carry_out(one, fresh)
        if over:
            self._finish()

    def _following(self) -> list[tuple[Submission, Place]]:
        found: list[tuple[Submission, Place]] = []
        while self._line and (not self._bound or len(self._live) < self._bound):
            call = self._line.popleft()
            if call.future.done():
                self._over += 1
                continue
            found.append((call, self._begin(call)))
        return found

    def _finish(self) -> None:
        self._over_and_out.set()
        if self._closing is not None:
            self._closing.future.end(None)

    def interrupt(self, call: Submission, error: BaseException | None = None) -> bool:
        """End a call; its worker ends with it."""
        with self._lock:
            place = self._live.get(call)
        if place is not None:
            return place.interrupt(call, error)
        return call.future.end_cancelled() if error is None else call.future.end(None, error)

    def ask(self, error: BaseException) -> None:
        """Ask all of them to end; those whose worker is not there yet end at once."""
        with self._lock:
            places = list(self._live.values())
        for place in places:
            place.drop(error)
            place.ask(error)

    def drop(self, error: BaseException) -> None:
        """End everything that has no worker yet, with an error."""
        with self._lock:
            line, self._line = self._line, deque()
            self._over += len(line)
        for call in line:
            call.future.end(None, error)

    def close(self) -> None:
        """Nothing: workers let go of their own places."""

    def kill(self, error: BaseException) -> None:
        """Let go of all workers now, as far as the mode can."""
        self.drop(error)
        with self._lock:
            places = list(self._live.values())
        for place in places:
            place.kill(error)

    def join(self, timeout: float | None) -> bool:
        """Block until the last worker has stopped; whether it was in time."""
        return self._over_and_out.wait(timeout)
