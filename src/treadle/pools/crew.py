"""The places of one pool: made, given calls, stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from treadle.clock import Clock, SystemClock
from treadle.errors import Blocking, WorkerStopped
from treadle.ids import Ids, SystemIds
from treadle.logs import get_logger
from treadle.loopthread import may_block
from treadle.pools.arguments import arguments_ready, no_futures, nothing_in
from treadle.pools.backlog import Backlog
from treadle.pools.balance import chooser
from treadle.pools.crewstats import CrewStats, PlaceStats, WorkerState
from treadle.pools.ending import Ending
from treadle.pools.future import Future
from treadle.pools.journey import has_policies, travel
from treadle.pools.limiting.calls import CallLimits
from treadle.pools.options import PoolOptions
from treadle.pools.places.make import Maker
from treadle.pools.places.place import Place
from treadle.pools.places.shared import SharedLine
from treadle.pools.resident import Plan
from treadle.pools.roster import Roster
from treadle.pools.stealing import Stealing
from treadle.pools.submission import Kind, Submission
from treadle.pools.tending import Tender
from treadle.pools.underway import Underway

__all__ = ["Crew"]

_log = get_logger("treadle.pools")


class Crew(Roster):
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
        super().__init__(plan, options, ready_made, clock or SystemClock())
        self.ids = ids or SystemIds(self.clock)
        self.balance = chooser(options.balancing, self.ids.chance)
        share = _may_share(options)
        shares = share and alike and options.mode == "thread"
        self._line = SharedLine(self._placed) if shares else None
        steals = share and not ready_made and options.mode == "process"
        self._stealing = Stealing(self) if steals else None
        idle = None if self._stealing is None else self._stealing.idle
        self._maker = Maker(options, self.clock, self._line, idle)
        self.underway = Underway()
        self.ending = Ending(self)
        bounded = options.max_queued_tasks is not None and options.mode != "sync"
        self._backlog = Backlog(self) if bounded else None
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

    def _retire(self, place: Place) -> None:
        if self._line is not None:
            self._line.retire(place)

    def _has_resized(self) -> None:
        if self._backlog is not None:
            self._backlog.resized()

    # ------------------------------------------------------------- its end

    def stop(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """Stop the workers; see :meth:`Handle.stop`."""
        self.ending.begin(drain=drain)
        self.ending.wait(timeout)

    async def astop(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """Stop the workers; see :meth:`Handle.stop`."""
        self.ending.begin(drain=drain)
        await self.ending.wait_async(timeout)

    def abort(self) -> None:
        """Stop the workers because a block was left by an error; see :class:`Steering`."""
        self.ending.abort()

    async def aabort(self) -> None:
        """As :meth:`abort`, awaited."""
        await self.ending.abort_async()

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
        # A question that most calls answer with no, asked in C.
        if self._straight and (
            not self._unwraps
            or (no_futures(map(type, args)) and (not kwargs or nothing_in(kwargs.values())))
        ):
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
                stealing = self._stealing
                if stealing is not None and stealing.free:
                    stealing.notice()
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
        waited = self.underway.waited
        return CrewStats(workers=workers, left=left, queued=queued, waited=waited)

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
            state=self._state(place),
            started=self._began.get(place),
            pid=place.pid or None,
            rss=place.rss,
        )

    def _state(self, place: Place) -> WorkerState:
        if place in self._leaving:
            return "leaving"
        known = place in self._began and place in self.places
        if not known or self.tender.is_restarting(place):
            return "away"
        return "busy" if place.active else "idle"

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


def _has_healthy(plan: Plan, ready_made: Sequence[Any]) -> bool:
    return any(hasattr(one, "healthy") for one in (ready_made or (plan.cls,)))
