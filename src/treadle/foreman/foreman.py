"""A foreman: claims jobs, runs them in places, keeps the leases, settles the verdicts."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import sys
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Self

from treadle.config import ForemanSettings, foreman_settings
from treadle.depends import Scopes
from treadle.errors import BackendError, NotOpen
from treadle.events import Event
from treadle.foreman.attempts import Attempts
from treadle.foreman.claimer import Claimer, Found
from treadle.foreman.heartbeat import Heartbeat
from treadle.foreman.notes import Notes
from treadle.foreman.page import Page
from treadle.foreman.program import JobProgram
from treadle.foreman.recycle import Recycling
from treadle.foreman.running import Noticed, Running
from treadle.foreman.settler import Settler
from treadle.foreman.tally import Tally
from treadle.foreman.turns import Turns
from treadle.foreman.watchdog import Watchdog
from treadle.logs import get_logger
from treadle.policies.breaker import Breaker, BreakerChange, Outcome, Pass
from treadle.policies.drive import Step
from treadle.policies.gate import Gate
from treadle.pools.aio import AsyncioPlace
from treadle.pools.place import Place
from treadle.pools.thread import ThreadPlace
from treadle.records import SessionInfo
from treadle.version import __version__

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["QUIT", "Foreman"]

_NEVER = sys.maxsize
QUIT = 75
"""Exit status after ``Quit`` or the last trip of the breaker (EX_TEMPFAIL of sysexits.h)."""

_log = get_logger("treadle.foreman")


class Foreman(Noticed):
    """Runs the jobs of an app in this process, as long as it is open.

    Usually made by ``app.foreman(...)``. Everything that it needs is opened on entry and closed
    on exit; leaving stops it in good order: no more claims, running jobs are told
    (``ctx.stopping``) and have ``grace`` seconds, what is left then is given back uncounted.

    Args:
        core: of the app.
        burst: stop by itself when there is nothing left to claim.
        breaker: pauses the foreman after too many failed jobs.
        name: shown to people; host and process id by default.
        page: shared with a supervisor.
        options: see :class:`~treadle.config.ForemanSettings`; what is not given comes from the
            configuration.
    """

    def __init__(
        self,
        core: Core,
        *,
        burst: bool = False,
        breaker: Breaker | None = None,
        name: str | None = None,
        page: Page | None = None,
        **options: Any,
    ) -> None:
        self.options: ForemanSettings = foreman_settings(core.settings.foreman, **options)
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.burst = burst
        self.stopping = False
        self.exit_status = 0
        self.recycled: str | None = None
        self._core = core
        self._breaker = breaker
        self._page = page
        self._turns = Turns(self.options.queues)
        self._life: asyncio.Task[None] | None = None

    @property
    def stats(self) -> Mapping[str, int]:
        """Jobs running now, and how many ended in which way since the start."""
        tally = self._opened()._tally
        return {"running": len(self._attempts.running), "abandoned": tally.abandoned,
                **tally.counts}  # fmt: skip

    def _opened(self) -> Self:
        if self._life is None:
            raise NotOpen("the foreman is not open; use 'async with app.foreman() as foreman:'")
        return self

    async def __aenter__(self) -> Self:
        if self._life is not None:
            raise NotOpen("a foreman runs once; make another with app.foreman()")
        backend = await self._core.ready()
        session = await backend.open_session(self._info())
        if self._page is not None:
            self._page.open(session.nonce)
            self.on_started = self._mark
        loop = asyncio.get_running_loop()
        core, options = self._core, self.options
        self._backend, self._session = backend, session
        self._stop = asyncio.Event()
        self._scopes = Scopes(core)
        await self._scopes.open()
        self._places = self._make_places()
        self._tally = Tally(core.bus, core.clock, self._page)
        # Without a breaker of its own a foreman still honours ``Trip``.
        self._gate = Gate(self._breaker or Breaker(_NEVER), core.clock)
        self._settler = Settler(backend, self._answered, clock=core.clock, chance=core.ids.chance)
        self._attempts = Attempts(
            core,
            self._places,
            self,
            self._settler,
            self._tally,
            self._judged,
            unknown_grace=options.unknown_grace,
            patience=min(5.0, options.grace),
        )
        self._notes = Notes(
            backend, session, self._attempts.renewed, lease=options.lease, clock=core.clock
        )
        self._claimer = Claimer(
            backend,
            session,
            self._turns,
            exclude=options.exclude,
            lease=options.lease,
            suspect_every=options.suspect_every,
            clock=core.clock,
            chance=core.ids.chance,
        )
        self._recycling = Recycling(
            core.clock,
            max_jobs=options.max_jobs,
            max_rss=options.max_rss,
            max_age=options.max_age,
        )
        self._heartbeat = Heartbeat(
            backend,
            session,
            lambda: list(self._attempts.running),
            loop=loop,
            lease=options.lease,
            clock=core.clock,
            chance=core.ids.chance,
            watchdog=Watchdog(core.clock, patience=1.0, blocked=self._blocked),
        )
        self._heartbeat.start()
        _log.info(
            "foreman.started",
            name=self.name,
            queues=",".join(self._turns.names),
            tasks=len(core.tasks),
            concurrency=options.concurrency,
            url=backend.url,
        )
        self._tell("foreman.started")
        self._ear = loop.create_task(self._listen(), name="treadle-ear")
        self._life = loop.create_task(self._live(), name="treadle-foreman")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()
        await self.join()

    async def stop(self) -> None:
        """Ask it to stop in good order. Returns at once; :meth:`join` waits for the end."""
        self._opened()
        if not self.stopping:
            self.stopping = True
            _log.info("foreman.stopping", running=len(self._attempts.running))
            self._tell("foreman.stopping")
        self._stop.set()
        self._attempts.changed.set()

    async def join(self) -> None:
        """Wait for its end: a stop, or with ``burst`` that nothing is left."""
        life = self._opened()._life
        assert life is not None
        await asyncio.shield(life)

    def _info(self) -> SessionInfo:
        return SessionInfo(
            name=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=self._turns.names,
            exclude=tuple(self.options.exclude),
            tasks=tuple(self._core.tasks),
            concurrency=self.options.concurrency,
            version=__version__,
        )

    def _make_places(self) -> dict[str, Place]:
        program = JobProgram(self._core, self._scopes)
        patience = min(5.0, self.options.grace)
        return {
            "asyncio": AsyncioPlace(program),
            "thread": ThreadPlace(program, clock=self._core.clock, patience=patience),
        }

    # -- life --------------------------------------------------------------------------------

    async def _live(self) -> None:
        try:
            await self._claim_until_stopped()
        except Exception:
            _log.exception("foreman.failed")
            self.exit_status = 1
            raise
        finally:
            await self._shut_down()

    async def _claim_until_stopped(self) -> None:
        attempts, claimer = self._attempts, self._claimer
        while not self.stopping:
            free = self._free_places()
            held = len(attempts.running) + self._tally.unsettled
            if free <= 0 or (held and (claimer.alone or claimer.draining())):
                await self._until_changed()
                continue
            leave = self._gate.admit()
            if not isinstance(leave, Pass):
                await self._held_back(leave)
                continue
            found, leases = await claimer.claim(1 if leave.probe else free, held)
            for lease in leases:
                attempts.start(lease, claimer.held_until, leave)
            if leave.probe and not leases:
                self._gate.report(leave, Outcome.NEUTRAL)
            if leases or found is not Found.NOTHING:
                # A store in memory answers without waiting; the jobs must get their turn.
                await self._core.clock.sleep(0)
            elif self.burst and not held:
                return
            else:
                await self._idle()
            self._recycle()

    async def _listen(self) -> None:
        """Hear of jobs that are to be cancelled before the next renewal would tell."""
        async for event in self._backend.subscribe("job.cancelling"):
            if any(job.token.job_id == event.job_id for job in list(self._attempts.running)):
                self._heartbeat.nudge()

    def _free_places(self) -> int:
        free = self.options.concurrency - len(self._attempts.running)
        if self._recycling.max_jobs is not None:
            begun = self._tally.finished + self._tally.unsettled + len(self._attempts.running)
            free = min(free, self._recycling.max_jobs - begun)
        return free

    async def _until_changed(self) -> None:
        """Wait until an attempt ends, a verdict is answered, or a stop is asked for."""
        self._attempts.changed.clear()
        await self._attempts.changed.wait()
        self._recycle()

    async def _idle(self) -> None:
        """Wait for something to claim, an attempt that ends, or a stop."""
        self._attempts.changed.clear()
        await self._either(self._claimer.idle(), self._attempts.changed.wait())

    async def _held_back(self, pause: float | None) -> None:
        """The breaker is open: wait out its pause, or the probe; or stop with its last trip."""
        if pause is None:
            self._quit("the breaker has tripped for the last time")
        elif pause == math.inf:
            await self._until_changed()
        else:
            await self._either(self._core.clock.sleep(pause), self._stop.wait())

    async def _either(self, one: Awaitable[object], other: Awaitable[object]) -> None:
        waits = [asyncio.ensure_future(one), asyncio.ensure_future(other)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _recycle(self) -> None:
        begun = self._tally.finished + self._tally.unsettled + len(self._attempts.running)
        reason = self._recycling.reason(begun)
        if reason is not None and not self.stopping:
            self.recycled = reason
            self.stopping = True
            _log.info("foreman.recycled", reason=reason)

    async def _shut_down(self) -> None:
        self.stopping = True
        grace = self.options.grace
        if self._attempts.running:
            await self._within(grace, self._until_idle())
            self._attempts.end_all()
            await self._within(grace, self._until_idle())
        await self._within(grace, self._settler.flush())
        self._attempts.close()
        await self._notes.aclose()
        self._ear.cancel()
        await asyncio.wait({self._ear})
        await self._heartbeat.stop()
        try:
            await self._backend.close_session(self._session)
        except BackendError as error:
            _log.warning("session.not_closed", error=str(error), hint="its leases will lapse")
        await self._scopes.aclose()
        for place in self._places.values():
            await place.aclose()
        _log.info("foreman.stopped", name=self.name, **self.stats)
        self._tell("foreman.stopped")

    async def _until_idle(self) -> None:
        while self._attempts.running:
            self._attempts.changed.clear()
            await self._attempts.changed.wait()

    async def _within(self, seconds: float, wait: Awaitable[object]) -> None:
        await self._either(wait, self._core.clock.sleep(seconds))

    # -- what jobs and helpers tell ------------------------------------------------------------

    def on_note(self, running: Running) -> None:
        """Progress, metadata or a checkpoint of a running job."""
        self._notes.put(running)

    def on_ending(self, running: Running) -> None:
        """A running job was asked to end."""
        self._attempts.ending(running)

    def _mark(self, running: Running) -> None:
        if self._page is not None:
            self._page.started(running.token)

    def _answered(self, ends: Any, answers: Any) -> None:
        self._attempts.settled(ends, answers)

    def _judged(self, running: Running, outcome: Outcome, step: Step | None) -> None:
        if outcome is Outcome.SUCCESS and self._breaker is None and not running.leave.probe:
            return
        pause = None if step is None else step.retry_after
        change = self._gate.report(running.leave, outcome, pause)
        if change is not None:
            self._changed(change)
        if step is not None and step.quit:
            self._quit(f"job {running.token.job_id} asked for it")

    def _changed(self, change: BreakerChange) -> None:
        name = "breaker.closed" if change is BreakerChange.CLOSED else "breaker.opened"
        _log.warning(name, trips=self._gate.trips)
        self._tell(name, trips=self._gate.trips)
        self._attempts.changed.set()

    def _quit(self, reason: str) -> None:
        _log.warning("foreman.quit", reason=reason)
        self.exit_status = QUIT
        self.stopping = True
        self._stop.set()
        self._attempts.changed.set()

    def _blocked(self, seconds: float, stack: str) -> None:
        self._tell("loop.blocked", seconds=seconds, stack=stack)

    def _tell(self, name: str, **data: Any) -> None:
        if self._core.bus.wanted(name):
            facts = {"foreman": self.name, **data}
            self._core.bus.emit(Event(name=name, at=self._core.clock.now(), data=facts))
