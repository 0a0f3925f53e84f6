"""Workers kept fit: asked for their health, restarted, left in peace when they do not come back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from treadle.clock import Timer
from treadle.errors import CallCancelled, WorkerError
from treadle.logs import get_logger
from treadle.loopthread import background
from treadle.pools.future import Future
from treadle.pools.places.place import Place, life
from treadle.pools.starting import begin_step
from treadle.pools.submission import Submission

if TYPE_CHECKING:
    from treadle.pools.crew import Crew

__all__ = ["Tender"]

_log = get_logger("treadle.pools")
_FIRST_REST, _LONGEST_REST = 1.0, 60.0


class _Care:
    """What is known of one worker."""

    __slots__ = ("again", "calls", "failures", "leaving", "probed", "restarting", "restarts")

    def __init__(self) -> None:
        # That ended since it was started.
        self.calls = 0
        # Restarts in a row that came to nothing.
        self.failures = 0
        self.restarts = 0
        # Whether it is being asked for its health, and has to be asked once more after that.
        self.probed = False
        self.again = False
        # It is about to stop, and nothing comes after that.
        self.leaving = False
        self.restarting: Future[Any] | None = None


class Tender:
    """Asks workers for their health, and restarts them.

    A worker that was restarted in vain, several times, gets no calls while there are others, and
    is tried again after rests that grow.

    Args:
        crew: the pool.
        probes: whether the workers can say how they are.
    """

    def __init__(self, crew: Crew, probes: bool) -> None:
        self._crew = crew
        self._probes = probes
        self._every = crew.options.restart_every
        self._lock = threading.Lock()
        self._cares: dict[Place, _Care] = {}
        self._timers: set[Timer] = set()
        self._ended = False
        # Whether it wants to know of the end of each call.
        self.watches = probes or self._every is not None

    def begin(self) -> None:
        """Ask for health at intervals, if that is wanted."""
        if self._probes and self._crew.options.probe_every is not None:
            self._later(self._crew.options.probe_every, self._probe_all)

    def end(self) -> None:
        """Leave the workers alone from now on."""
        with self._lock:
            self._ended = True
            timers, self._timers = self._timers, set()
        if timers:
            with contextlib.suppress(RuntimeError):  # the loop has gone, and they with it
                background().loop.call_soon_threadsafe(_cancel, timers)

    def leave(self, place: Place) -> None:
        """Leave a worker alone that is about to stop."""
        with self._lock:
            self._care(place).leaving = True

    def forget(self, place: Place) -> None:
        """A worker has stopped."""
        with self._lock:
            self._cares.pop(place, None)

    def restarts_of(self, place: Place) -> int:
        """How often a worker was restarted."""
        care = self._cares.get(place)
        return 0 if care is None else care.restarts

    def is_restarting(self, place: Place) -> bool:
        """Whether a worker is being restarted, or waits for that."""
        care = self._cares.get(place)
        return care is not None and care.restarting is not None

    # ------------------------------------------------------------- after each call

    def watch(self, call: Submission) -> None:
        """Look after a worker when a call of it has ended."""
        call.future.add_done_callback(partial(self._after, call))

    def _after(self, call: Submission, future: Future[Any]) -> None:
        # The one that had it in the end.
        place, failure = cast("Place", call.place), future.failure
        with self._lock:
            care = self._care(place)
            care.calls += 1
            due = self._every is not None and care.calls >= self._every
            # What never ran says nothing of the worker.
            doubtful = (
                self._probes
                and failure is not None
                and not isinstance(failure, CallCancelled | WorkerError)
            )
        if due:
            self.restart(place)
        elif doubtful:
            self._probe(place)

    def _care(self, place: Place) -> _Care:
        care = self._cares.get(place)
        if care is None:
            care = self._cares[place] = _Care()
        return care

    # ------------------------------------------------------------- health

    def _probe_all(self) -> None:
        for place in self._crew.all_places():
            self._probe(place)
        assert self._crew.options.probe_every is not None
        self._later(self._crew.options.probe_every, self._probe_all)

    def _probe(self, place: Place) -> None:
        with self._lock:
            care = self._care(place)
            if self._ended or care.leaving or care.restarting is not None:
                return
            # It may have answered before the failure that asks now.
            care.again, care.probed = care.probed, True
            if care.again:
                return
        life(place, "healthy").add_done_callback(partial(self._answered, place))

    def _answered(self, place: Place, answer: Future[Any]) -> None:
        well = answer.failure is None and bool(answer.result())
        with self._lock:
            care = self._care(place)
            again, care.again, care.probed = care.again, False, False
        if well:
            if again:
                self._probe(place)
            return
        _log.warning("worker.unhealthy", worker=self._crew.plan.name, index=place.index,
                     error=None if answer.failure is None else repr(answer.failure))  # fmt: skip
        self.restart(place)

    # ------------------------------------------------------------- restarts

    def restart(self, place: Place) -> Future[Any]:
        """Restart a worker between two calls; the future of it. One at a time."""
        with self._lock:
            care = self._care(place)
            if care.restarting is not None:
                return care.restarting
            if self._ended or care.leaving:
                # One of too many needs no restart; the others have theirs.
                return Future.ended(None, self._crew.gone() if self._ended else None)
            # Counted from when it was asked for: what ends meanwhile does not ask again.
            care.calls = 0
            told: Future[Any] = Future()
            care.restarting = told
        crew = self._crew
        end = begin_step(place, "restart", crew.clock, crew.options.start_timeout,
                         partial(crew.replace, place))  # fmt: skip
        end.add_done_callback(partial(self._restarted, place, told))
        return told

    def _restarted(self, place: Place, told: Future[Any], end: Future[Any]) -> None:
        failed = end.failure
        with self._lock:
            care = self._care(place)
            care.restarting = None
            care.failures = 0 if failed is None else care.failures + 1
            care.restarts += failed is None
            rest = min(_LONGEST_REST, _FIRST_REST * 2.0 ** min(care.failures - 1, 16))
        if failed is None:
            self._crew.began(place)
            self._crew.rest(place, False)
        elif not self._ended:
            _log.error("worker.not_restarted", worker=self._crew.plan.name, index=place.index,
                       error=repr(failed), again_in=rest)  # fmt: skip
            self._crew.rest(place, True)
            self._later(rest, partial(self._again, place))
        told.end(None, failed)

    def _again(self, place: Place) -> None:
        if place in self._crew.all_places():
            self.restart(place)

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something in the loop that all workers share."""

        def arm() -> None:
            def fire() -> None:
                with self._lock:
                    self._timers.discard(timer)
                    if self._ended:
                        return
                act()

            timer = self._crew.clock.call_later(seconds, fire)
            with self._lock:
                if not self._ended:
                    self._timers.add(timer)
                    return
            timer.cancel()

        background().loop.call_soon_threadsafe(arm)


def _cancel(timers: set[Timer]) -> None:
    for timer in timers:
        timer.cancel()
