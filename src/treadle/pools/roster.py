"""The workers of one pool: made, started, replaced, more of them or fewer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from treadle.clock import Clock
from treadle.errors import InvalidOption, WaitTimeout, WorkerNotStarted, WorkerStopped
from treadle.logs import get_logger
from treadle.loopthread import may_wait
from treadle.pools.crewstats import PlaceStats
from treadle.pools.future import Future
from treadle.pools.limiting.calls import CallLimits
from treadle.pools.options import PoolOptions, check_handle, read_pool_options
from treadle.pools.places.make import Maker
from treadle.pools.places.place import Place, life
from treadle.pools.resident import Plan
from treadle.pools.starting import begin_step, late

if TYPE_CHECKING:
    from treadle.pools.ending import Ending
    from treadle.pools.tending import Tender

__all__ = ["Roster"]

_log = get_logger("treadle.pools")
# Seconds by which a caller that waits for a start is behind what ends it.
_SLACK = 1.0


class Roster:
    """Knows which workers there are, which of them calls are given to, and which leave.

    Args:
        plan: how a worker is made.
        options: mode, number, times.
        ready_made: workers that exist already, instead of ``options.max_workers`` new ones.
        clock: measures how long they take to start.
    """

    ending: Ending
    tender: Tender
    _maker: Maker

    def __init__(
        self, plan: Plan, options: PoolOptions, ready_made: Sequence[Any], clock: Clock
    ) -> None:
        self.plan = plan
        self.options = options
        self.clock = clock
        self.limits: CallLimits | None = None
        # Those that calls are given to: all there are, without those that rest.
        self.places: list[Place] = []
        self._all: list[Place] = []
        # Those too many after a resize, which end what they were given, and their steps to stop.
        self._leaving: dict[Place, Future[Any]] = {}
        self._left = PlaceStats.none()
        self._ready_made = tuple(ready_made)
        # Held while a call is given, so that no place is closed between its choice and the call.
        # A call that is carried out at once may lead to another one.
        self._lock = threading.RLock()
        self._next_index = 0
        self._stopped = self._closed = False
        self._starting: list[Future[Any]] = []
        # Starts that have to end in time, and why all workers are gone.
        self._hasty: dict[Future[Any], Place] = {}
        # When workers were started or restarted last.
        self._began: dict[Place, float] = {}
        self._failure: WorkerNotStarted | None = None

    # ------------------------------------------------------------- what a crew adds

    def stop(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """Stop the workers."""
        raise NotImplementedError

    async def astop(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """Stop the workers."""
        raise NotImplementedError

    def abort(self) -> None:
        """Stop the workers, and wait no longer than for the patience of the pool."""
        raise NotImplementedError

    async def aabort(self) -> None:
        """As :meth:`abort`, awaited."""
        raise NotImplementedError

    def _numbers(self, place: Place) -> PlaceStats:
        raise NotImplementedError

    def _retire(self, place: Place) -> None:
        """A place gets no calls any more."""
        raise NotImplementedError

    def _has_resized(self) -> None:
        """There are more workers now, or fewer."""
        raise NotImplementedError

    # ------------------------------------------------------------- its life

    def start(self) -> None:
        """Make the workers.

        Blocks until all are started; inside a running event loop they go on starting, and calls
        wait for that.

        Raises:
            WorkerNotStarted: one could not; those that were are stopped again.
        """
        number = 1 if self.options.on_demand else self.options.max_workers
        try:
            for _ in range(len(self._ready_made) or number):
                self._starting.append(self._add())
            self.tender.begin()
        except BaseException:  # there is no thread or process to be had, or Ctrl+C
            self.abort()
            raise
        if may_wait():
            starting, self._starting = self._starting, []
            for started in starting:
                self._check(started)

    def _result(self, started: Future[Any]) -> None:
        """Wait for a start, in time also where what measures it is blocked by the start itself."""
        limit = self.options.start_timeout
        try:
            started.result(None if limit is None else limit + _SLACK)
        except WaitTimeout:
            self._give_up(started)
            started.result()

    def _check(self, started: Future[Any]) -> None:
        try:
            self._result(started)
        except Exception:
            self.stop(drain=False)
            raise
        except BaseException:  # Ctrl+C, for which no start is waited that hangs
            self.abort()
            raise

    async def started(self) -> None:
        """Return when all workers are started.

        Raises:
            WorkerNotStarted: one could not; those that were are stopped again.
        """
        starting, self._starting = self._starting, []
        try:
            for one in starting:
                await one
        except Exception:
            await self.astop(drain=False)
            raise
        except BaseException:  # it was cancelled
            await self.aabort()
            raise

    def _add(self) -> Future[Any]:
        """Another worker; the future of its start."""
        with self._lock:
            index, self._next_index = self._next_index, self._next_index + 1
            place = self._made(index)
            # Without a change in place: others look at them without the lock.
            self._all = [*self._all, place]
            self.places = [*self.places, place]
        return self._started(place)

    def _made(self, index: int) -> Place:
        ready_made = self._ready_made[index] if index < len(self._ready_made) else None
        attributes = {**self.plan.attributes, "index": index}
        if self.limits is not None:
            attributes |= self.limits.attributes(index)
        plan = msgspec.structs.replace(self.plan, ready_made=ready_made, attributes=attributes)
        return self._maker.make(plan, index)

    def _started(self, place: Place) -> Future[Any]:
        limit = self.options.start_timeout
        started = begin_step(place, "start", self.clock, limit, self._give_up)
        started.add_done_callback(partial(self._has_started, place))
        if limit is not None:
            self._hasty[started] = place
            started.add_done_callback(lambda _: self._hasty.pop(started, None))
        return started

    # ------------------------------------------------------------- starts that hang

    def _give_up(self, started: Future[Any]) -> None:
        """A worker has not started in time: go on without it, or end when it was the last one."""
        place, limit = self._hasty.pop(started, None), self.options.start_timeout
        if place is None or limit is None:
            return
        error = late(self.plan.name, "start", limit)
        with self._lock:
            self._all = [one for one in self._all if one is not place]
            last = not self._all
            if last:
                # Before anybody hears of it: who asks after that is refused.
                self._failure, self._stopped = error, True
            else:
                self.places = [one for one in self.places if one is not place] or self._all
            self._next_index = max((one.index + 1 for one in self._all), default=0)
        self._dismiss(place, started, error)
        if last:
            self.ending.begin(drain=False)

    def replace(self, place: Place, step: Future[Any]) -> None:
        """A worker has not restarted in time: have another one in its place."""
        limit = self.options.start_timeout
        assert limit is not None, "only then is there a time"
        with self._lock:
            known = place in self._all and not self._closed
            if known:
                fresh = self._made(place.index)
                self._all = [fresh if one is place else one for one in self._all]
                self.places = [fresh if one is place else one for one in self.places]
                self._started(fresh)
        self._dismiss(place, step, late(self.plan.name, "restart", limit))

    def _dismiss(self, place: Place, step: Future[Any], error: WorkerNotStarted) -> None:
        self._began.pop(place, None)
        _log.error("worker.start_timeout", worker=self.plan.name, index=place.index,
                   error=str(error))  # fmt: skip
        self._retire(place)
        place.kill(error)
        step.end(None, error)

    def resize(self, workers: int) -> None:
        """Have so many workers from now on; see :meth:`Handle.resize`."""
        check_handle(read_pool_options({"max_workers": workers}, self.options))
        before = len(self._all)
        try:
            added = self._resized(workers)
            if may_wait():
                for started in added:
                    self._result(started)
        except BaseException:
            if not self._stopped:
                self._resized(min(before, len(self._all)))
            raise

    def _resized(self, workers: int) -> list[Future[Any]]:
        with self._lock:
            if self._stopped:
                raise self.gone()
            added = [self._add() for _ in range(workers - len(self._all))]
            leaving = self._all[workers:]
            self._all = self._all[:workers]
            self.places = [place for place in self.places if place in self._all] or self._all
            self._next_index -= len(leaving)
            for place in leaving:
                self._retire(place)
                self.tender.leave(place)
                self._leaving[place] = life(place, "stop")
            stops = [(place, self._leaving[place]) for place in leaving]
        for place, stopped in stops:
            place.close()
            stopped.add_done_callback(partial(self._has_left, place))
        self._has_resized()
        return added

    def tended(self, index: int | None) -> list[Place]:
        """The workers, without those that leave, or the one with a number.

        Raises:
            InvalidOption: there is none with that number.
        """
        there = self._all
        places = [place for place in there if index is None or place.index == index]
        if not places:
            known = ", ".join(str(place.index) for place in there)
            raise InvalidOption(
                f"index={index!r} is no worker of {self.plan.name}: there are {known}",
                option="index",
                value=index,
            )
        return places

    def _has_started(self, place: Place, started: Future[Any]) -> None:
        if started.failure is None:
            self.began(place)

    def began(self, place: Place) -> None:
        """A worker is there, or is a fresh one."""
        self._began[place] = self.clock.now()

    def _has_left(self, place: Place, _: Future[Any]) -> None:
        with self._lock:
            del self._leaving[place]
            self._left = self._left.plus(self._numbers(place))
            self._began.pop(place, None)
        self.tender.forget(place)

    def rest(self, place: Place, rests: bool) -> None:
        """Give a place no calls for a while, as long as there are others; or give it some again."""
        with self._lock:
            resting = [one for one in self._all if one not in self.places and one is not place]
            resting += [place] if rests else []
            self.places = [one for one in self._all if one not in resting] or self._all

    def all_places(self) -> list[Place]:
        """Those that are there, and those that are leaving."""
        with self._lock:
            return [*self._all, *self._leaving]

    def gone(self) -> WorkerStopped:
        """What calls end with that come too late."""
        stopped = WorkerStopped(f"{self.plan.name} is stopped", worker=self.plan.name)
        if self._failure is not None:
            stopped = WorkerStopped(str(self._failure), worker=self.plan.name)
            stopped.__cause__ = self._failure
        return stopped
