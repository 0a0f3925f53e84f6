"""The places of one pool: made, given calls, stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec

from treadle.clock import Clock, SystemClock
from treadle.errors import Blocking, InvalidOption, WaitTimeout, WorkerNotStarted, WorkerStopped
from treadle.ids import Ids, SystemIds
from treadle.logs import get_logger
from treadle.loopthread import may_block
from treadle.pools.arguments import arguments_ready, nothing_in
from treadle.pools.backlog import Backlog
from treadle.pools.balance import chooser
from treadle.pools.crewstats import CrewStats, PlaceStats
from treadle.pools.ending import Ending
from treadle.pools.future import Future
from treadle.pools.journey import has_policies, travel
from treadle.pools.limiting.calls import CallLimits
from treadle.pools.options import PoolOptions, check_handle, read_pool_options
from treadle.pools.places.make import Maker
from treadle.pools.places.place import Place, life
from treadle.pools.places.shared import SharedLine
from treadle.pools.resident import Plan
from treadle.pools.starting import begin_step, late
from treadle.pools.stealing import Stealing
from treadle.pools.submission import Kind, Submission
from treadle.pools.tending import Tender
from treadle.pools.underway import Underway

__all__ = ["Crew"]

_log = get_logger("treadle.pools")
# Seconds by which a caller that waits for a start is behind what ends it.
_SLACK = 1.0


class Crew:
    """Workers of one kind, and how calls come to them.

    Args:
        plan: how a worker is made.
        options: mode, number, balancing, policies.
        ready_made: workers that exist already, instead of ``options.max_workers`` new ones.
        clock, ids: time and chance.
        alike: it does not matter which of the workers has a call.
    """

    def __init__(
        self,
        plan: Plan,
        options: PoolOptions,
        *,
        ready_made: Sequence[Any] = (),
        clock: Clock | None = None,
        ids: Ids | None = None,
        alike: bool = False,
    ) -> None:
        self.plan = plan
        self.options = options
        self.clock = clock or SystemClock()
        self.ids = ids or SystemIds(self.clock)
        # Those that calls are given to: all there are, without those that rest.
        self.places: list[Place] = []
        self._all: list[Place] = []
        # Those too many after a resize, which end what they were given, and their steps to stop.
        self._leaving: dict[Place, Future[Any]] = {}
        self._left = PlaceStats.none()
        self._ready_made = tuple(ready_made)
        self.balance = chooser(options.balancing, self.ids.chance)
        share = _may_share(options)
        shares = share and alike and options.mode == "thread"
        self._line = SharedLine(self._placed) if shares else None
        steals = share and not ready_made and options.mode == "process"
        self._stealing = Stealing(self) if steals else None
        idle = None if self._stealing is None else self._stealing.idle
        self._maker = Maker(options, self.clock, self._line, idle)
        # Held while a call is given, so that no place is closed between its choice and the call.
        # A call that is carried out at once may lead to another one.
        self._lock = threading.RLock()
        self._next_index = 0
        self._stopped = self._closed = False
        self._starting: list[Future[Any]] = []
        # Starts that have to end in time, and why all workers are gone.
        self._hasty: dict[Future[Any], Place] = {}
        self._failure: WorkerNotStarted | None = None
        self.underway = Underway()
        self.ending = Ending(self)
        bounded = options.max_queued_tasks is not None and options.mode != "sync"
        self._backlog = Backlog(self) if bounded else None
        self.limits: CallLimits | None = None
        if options.limits:
            self.limits = CallLimits(options.limits, plan.cls, self.clock)
        self.tender = Tender(self, _has_healthy(plan, self._ready_made))
        # Most calls have none of these, and go straight to their place.
        self._tended = self.tender.watches
        self.has_policies = has_policies(options)
        self._straight = self._backlog is None and not self.has_policies
        self._unwraps = options.unwrap_futures
        # They are carried out by who submits them, and need no future before they have ended.
        self._now = options.mode == "sync" and not (self._tended or options.on_demand)

    # ------------------------------------------------------------- its life

    def start(self) -> None:
        """Make the workers.

        Blocks until all are started; inside a running event loop they go on starting, and calls
        wait for that.

        Raises:
            WorkerNotStarted: one could not; those that were are stopped again.
        """
        number = 1 if self.options.on_demand else self.options.max_workers
        self._starting = [self._add() for _ in range(len(self._ready_made) or number)]
        self.tender.begin()
        if may_block():
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
        except BaseException:
            self.stop(drain=False)
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
        except BaseException:
            await self.astop(drain=False)
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
        _log.error("worker.start_timeout", worker=self.plan.name, index=place.index,
                   error=str(error))  # fmt: skip
        if self._line is not None:
            self._line.retire(place)
        place.kill(error)
        step.end(None, error)

    def resize(self, workers: int) -> None:
        """Have so many workers from now on; see :meth:`Handle.resize`."""
        check_handle(read_pool_options({"max_workers": workers}, self.options))
        before = len(self._all)
        added = self._resized(workers)
        if not may_block():
            return
        try:
            for started in added:
                self._result(started)
        except BaseException:
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
                if self._line is not None:
                    self._line.retire(place)
                self.tender.leave(place)
                self._leaving[place] = life(place, "stop")
            stops = [(place, self._leaving[place]) for place in leaving]
        for place, stopped in stops:
            place.close()
            stopped.add_done_callback(partial(self._has_left, place))
        if self._backlog is not None:
            self._backlog.resized()
        return added

    def tended(self, index: int | None) -> list[Place]:
        """The workers, or the one with a number.

        Raises:
            InvalidOption: there is none with that number.
        """
        places = self.all_places() if index is None else [p for p in self._all if p.index == index]
        if not places:
            known = ", ".join(str(place.index) for place in self._all)
            raise InvalidOption(
                f"index={index!r} is no worker of {self.plan.name}: there are {known}",
                option="index",
                value=index,
            )
        return places

    def _has_left(self, place: Place, _: Future[Any]) -> None:
        with self._lock:
            del self._leaving[place]
            self._left = self._left.plus(self._numbers(place))
        self.tender.forget(place)

    def rest(self, place: Place, rests: bool) -> None:
        """Give a place no calls for a while, as long as there are others; or give it some again."""
        with self._lock:
            resting = [one for one in self._all if one not in self.places and one is not place]
            resting += [place] if rests else []
            self.places = [one for one in self._all if one not in resting] or self._all

    # ------------------------------------------------------------- its end

    def stop(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """Stop the workers; see :meth:`Handle.stop`."""
        self.ending.begin(drain=drain)
        self.ending.wait(timeout)

    async def astop(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """Stop the workers; see :meth:`Handle.stop`."""
        self.ending.begin(drain=drain)
        await self.ending.wait_async(timeout)

    def end_soon(self) -> None:
        """Take no more calls and let each place end, without waiting for it."""
        self.ending.begin(drain=True)

    def refuse(self) -> None:
        """Take no more calls from outside."""
        self._stopped = True
        self.tender.end()
        if self._backlog is not None:
            self._backlog.refuse()

    def drop(self, error: WorkerStopped) -> None:
        """End the calls that have no worker yet."""
        if self._backlog is not None:
            self._backlog.drop(error)
        if self._line is not None:
            self._line.drop(error)

    def close(self) -> dict[Place, Future[Any] | None]:
        """Give no more calls to the places; these, and how those end that are leaving already."""
        with self._lock:
            self._closed = True
            return {**dict.fromkeys(self._all), **self._leaving}

    def all_places(self) -> list[Place]:
        """Those that are there, and those that are leaving."""
        with self._lock:
            return [*self._all, *self._leaving]

    def disown(self) -> None:
        """In a forked child: the workers are the parent's."""
        self._lock = threading.RLock()
        self._stopped = self._closed = True

    @property
    def at_once(self) -> bool:
        """Whether a call has ended when it was submitted."""
        return self.options.mode == "sync"

    @contextmanager
    def still(self) -> Iterator[Sequence[Place] | None]:
        """A block in which no place comes or goes: those that calls are given to, while they are.

        ``None`` when somebody gives a call just now, for whom nobody is to wait: a large one
        takes its time, and its own code may wait for other calls.
        """
        if not self._lock.acquire(blocking=False):
            yield None
            return
        try:
            yield () if self._stopped else self.places
        finally:
            self._lock.release()

    def check_open(self) -> None:
        """Raise where calls are not taken any more."""
        if self._stopped:
            raise self.gone()

    @property
    def closed(self) -> bool:
        """Whether no place takes calls any more."""
        return self._closed

    def gone(self) -> WorkerStopped:
        """What calls end with that come too late."""
        stopped = WorkerStopped(f"{self.plan.name} is stopped", worker=self.plan.name)
        if self._failure is not None:
            stopped = WorkerStopped(str(self._failure), worker=self.plan.name)
            stopped.__cause__ = self._failure
        return stopped

    # ------------------------------------------------------------- calls

    def submit(
        self,
        kind: Kind,
        what: str | Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        key: Any = None,
    ) -> Future[Any]:
        """Have a call carried out; never blocks inside a running event loop.

        Raises:
            WorkerStopped: after :meth:`stop`.
            PoolFull: as many calls wait as may, and ``on_full="raise"``.
        """
        if self._stopped:
            raise self.gone()
        if self._straight and not (self._unwraps and _may_hold_futures(args, kwargs)):
            if self._now:
                return self._performed(kind, what, args, kwargs, key)
            call = Submission(kind, what, args, kwargs)
            self.give(call, key)
            return call.future
        call = Submission(kind, what, args, kwargs)
        if (args or kwargs) and self._unwraps:
            arguments_ready(call, partial(self._send, call, key))
            if call.future.stopper is None and not call.future.done():
                self.underway.add(call.future)
        else:
            self._send(call, key, False)
        return call.future

    def _send(self, call: Submission, key: Any, late: bool) -> None:
        if self._backlog is not None:
            self.underway.add(call.future)
            self._backlog.put(call, key, late=late)
        elif self.has_policies:
            self.pass_on(call, key)
        else:
            self.give(call, key)

    def pass_on(self, call: Submission, key: Any, place: Place | None = None) -> None:
        """Send a call on its way, for which there is room."""
        if self.has_policies:
            travel(self, call, key)
        else:
            self.give(call, key, place)

    def choose(self, key: Any = None) -> Place:
        """The place whose turn it is."""
        with self._lock:
            return self.balance(self.places, key)

    def give(self, call: Submission, key: Any = None, place: Place | None = None) -> Place | None:
        """Give a call to the place that was chosen, or whose turn it is.

        Returns:
            That place; ``None`` when it is not known yet, or all are closed and the call has ended.
        """
        with self._lock:
            if not self._closed:
                if self._line is not None:
                    call.future.stopper = call
                    self._line.put(call)
                    return None
                places = self.places
                if len(places) == 1:
                    place = places[0]
                elif place is None or place not in places:
                    place = self.balance(places, key)
                place.total += 1
                call.place = place
                call.future.stopper = call
                if self._tended:
                    self.tender.watch(call)
                place.submit(call)
                if self._stealing is not None and self._stealing.free:
                    self._stealing.notice()
                return place
        call.future.end(None, self.gone())
        return None

    def _performed(
        self,
        kind: Kind,
        what: str | Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        key: Any,
    ) -> Future[Any]:
        with self._lock:
            if self._closed:
                return Future.ended(None, self.gone())
            # A SyncPlace.
            place: Any = self.places[0] if len(self.places) == 1 else self.choose(key)
            place.total += 1
            future: Future[Any] = place.performed(kind, what, args, kwargs)
            return future

    @property
    def stats(self) -> CrewStats:
        """How much there is to do, and how much was done."""
        with self._lock:
            left = self._left
            for place in self._leaving:
                left = left.plus(self._numbers(place))
            workers = tuple(map(self._numbers, self._all))
        lines = [line for line in (self._backlog, self._line) if line is not None]
        queued = sum(map(len, lines))
        return CrewStats(workers=workers, left=left, queued=queued)

    def _placed(self, call: Submission, place: Any) -> None:
        """A thread has taken a call out of the line."""
        place.total += 1
        call.place = place
        if self._tended:
            self.tender.watch(call)

    def _numbers(self, place: Place) -> PlaceStats:
        return PlaceStats(
            index=place.index,
            active=place.active,
            total=place.total,
            failed=place.failed,
            busy=place.busy,
            abandoned=place.abandoned,
            restarts=self.tender.restarts_of(place),
        )

    def refuse_blocking(self, name: str) -> None:
        """Raise where waiting for a result would stop an event loop."""
        if not may_block():
            raise Blocking(
                f"{name}() would block the event loop that runs here; a worker without "
                "blocking=True gives a future, which can be awaited",
                twin=name,
            )


def _may_share(options: PoolOptions) -> bool:
    """Whether a call may go to whichever worker is free: nobody has asked for a line for each."""
    if options.on_demand or options.max_queued_tasks is not None:
        return False
    return "balancing" not in options.given and not options.limits.per_worker


def _may_hold_futures(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return not (nothing_in(args) and (not kwargs or nothing_in(kwargs.values())))


def _has_healthy(plan: Plan, ready_made: Sequence[Any]) -> bool:
    return any(hasattr(one, "healthy") for one in (ready_made or (plan.cls,)))
