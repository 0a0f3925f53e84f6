"""A foreman: claims jobs, runs them at its sites, keeps the leases, settles the verdicts."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NoReturn, Self

from treadle.config import ForemanSettings, foreman_settings
from treadle.depends import Scopes
from treadle.errors import InvalidOption, NotOpen, UsageError
from treadle.events import Event
from treadle.foreman.attempts import Attempts
from treadle.foreman.breakers import Breakers
from treadle.foreman.claimer import Claimer
from treadle.foreman.claimloop import ClaimLoop
from treadle.foreman.heartbeat import Heartbeat
from treadle.foreman.lines import Lines
from treadle.foreman.modes import Modes
from treadle.foreman.notes import Notes
from treadle.foreman.page import Page
from treadle.foreman.presence import Presence
from treadle.foreman.program import JobProgram
from treadle.foreman.recycle import Recycling
from treadle.foreman.running import Noticed, Running
from treadle.foreman.settler import Settler
from treadle.foreman.sites import Sites
from treadle.foreman.status import QUIT, Status
from treadle.foreman.tally import Tally
from treadle.foreman.threads import Threads
from treadle.foreman.turns import Turns
from treadle.foreman.unserved import warn_of_unknown
from treadle.foreman.waits import within
from treadle.foreman.watchdog import Watchdog
from treadle.guards import is_text
from treadle.logs import get_logger
from treadle.policies.breaker import Breaker, BreakerChange, Outcome
from treadle.policies.drive import Step
from treadle.policies.gate import Gate
from treadle.pools.sites.site import Program
from treadle.ports import Backend, Settlement
from treadle.records import SessionInfo, Settled
from treadle.telling import heard
from treadle.version import __version__

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["QUIT", "Foreman"]

_HALF_OPEN = "breaker.half_open"
_NEVER = sys.maxsize
# Looking a member up in its enum costs more than a global name.
_SUCCESS = Outcome.SUCCESS
# Seconds beyond the grace that the store has to take the last verdicts, and to take them and the
# end of the session.
_FLUSH, _LAST = 2.0, 3.0

_log = get_logger("treadle.foreman")
_LONGEST_NAME = 200


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
        threads: those of this process, unless it is simulated.
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
        threads: Threads | None = None,
        **options: Any,
    ) -> None:
        self.options: ForemanSettings = foreman_settings(core.settings.foreman, **options)
        if name is not None and not is_text(name, _LONGEST_NAME):
            raise InvalidOption(
                f"foreman name={name!r} is not a text of 1 to {_LONGEST_NAME} characters that can "
                "be seen; leave it away for one of host and process",
                option="name",
                value=name,
            )
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.burst = burst
        self._core = core
        self._breaker = _checked(breaker)
        self._page = page
        self._threads = threads or Threads()
        self._turns = Turns(self.options.queues)
        self._status = Status()
        # Code that was asked to end has so long to do so: as long as the grace, within reason.
        self._patience = min(5.0, max(1.0, self.options.grace))
        self._life: asyncio.Task[None] | None = None
        # Until when the store may take its time with the end of the session.
        self._until: float | None = None

    @property
    def stopping(self) -> bool:
        """Whether it claims no more."""
        return self._status.stopping

    @property
    def exit_status(self) -> int:
        """0, 75 after ``Quit`` or the last trip of the breaker, 1 after an error of its own."""
        return self._status.exit_status

    @property
    def recycled(self) -> str | None:
        """Why it made room for a fresh process, if it did."""
        return self._status.recycled

    @property
    def stats(self) -> Mapping[str, int]:
        """Jobs running now, and how many ended in which way since the start."""
        tally = self._opened()._tally
        return {"running": len(self._attempts.running),
                "abandoned": tally.abandoned + self._sites.abandoned, **tally.counts}  # fmt: skip

    def _opened(self) -> Self:
        if self._life is None:
            raise NotOpen("the foreman is not open; use 'async with app.foreman() as foreman:'")
        return self

    if not TYPE_CHECKING:  # a type checker says it without our help

        def __enter__(self) -> NoReturn:
            raise UsageError(
                "a foreman lives in an event loop: write 'async with app.foreman():' in an async "
                "function, or run one as a program of its own: treadle run"
            )

        def __exit__(self, *exc_info: object) -> None:
            """There is no way in."""

    async def __aenter__(self) -> Self:
        if self._life is not None:
            raise NotOpen("a foreman runs once; make another with app.foreman()")
        async with AsyncExitStack() as stack:
            await self._open(stack)
            await self._begun()
            # What is opened is closed in reverse order, each whatever becomes of the others.
            self._closing = stack.pop_all()
        self._life = asyncio.get_running_loop().create_task(self._live(), name="treadle-foreman")
        return self

    async def _begun(self) -> None:
        """Say that it is at work, and what it was told to serve that nobody knows."""
        names = self._turns.names
        await warn_of_unknown(
            self._backend, self._core.tasks.values(), (*names, *self.options.exclude)
        )
        _log.info(
            "foreman.started",
            name=self.name,
            queues=",".join(names),
            tasks=len(self._core.tasks),
            concurrency=self.options.concurrency,
            url=self._backend.url,
        )
        self._tell("foreman.started")

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()
        await self.join()

    def _served(self) -> None:
        self._core.serving -= 1

    async def stop(self) -> None:
        """Ask it to stop in good order. Returns at once; :meth:`join` waits for the end."""
        self.ask_to_stop()

    def ask_to_stop(self) -> None:
        """The same, for code that is not asynchronous, in the thread of its event loop.

        Asked before it is open, it opens and stops.
        """
        self._status.stop("asked")

    async def join(self) -> None:
        """Wait for its end: a stop, or with ``burst`` that nothing is left."""
        life = self._opened()._life
        assert life is not None
        await asyncio.shield(life)

    # -- parts -------------------------------------------------------------------------------

    async def _open(self, stack: AsyncExitStack) -> None:
        core = self._core
        core.serving += 1
        stack.callback(self._served)
        scopes = Scopes(core)
        self._sites = self._make_sites(scopes)
        stack.push_async_callback(self._sites.aclose)
        await scopes.open()
        stack.push_async_callback(scopes.aclose)
        self._tally = Tally(core.bus, core.clock, self._page)
        self._backend = backend = heard(await core.ready(), self._tally.fated)
        core.open_spool()
        page = self._page
        self._presence = Presence(backend, self._info, page, self._forgotten, clock=core.clock)
        stack.push_async_callback(self._take_leave)
        await self._presence.open()
        if page is not None:
            self.on_started = lambda running: page.started(running.token)
        # Without a breaker of its own a foreman still honours ``Trip``.
        self._gate = Gate(self._breaker or Breaker(_NEVER), core.clock)
        self._settler = Settler(backend, self._answered, clock=core.clock, chance=core.ids.chance)
        self._breakers = Breakers(
            backend, core.tasks, clock=core.clock, probing=self._probing, told=self._parked
        )
        self._attempts = self._make_attempts()
        self._loop = self._make_loop(backend)
        self._heartbeat = self._make_heartbeat(backend)
        self._heartbeat.start()
        stack.push_async_callback(self._heartbeat.stop)
        self._notes = Notes(
            backend,
            self._presence,
            self._attempts.renewed,
            lease=self.options.lease,
            clock=core.clock,
        )
        stack.push_async_callback(self._notes.aclose)
        ear = asyncio.get_running_loop().create_task(self._listen(), name="treadle-ear")
        stack.push_async_callback(_end, ear)
        stack.push_async_callback(self._settler.aclose)
        stack.push_async_callback(self._breakers.aclose)
        stack.callback(self._attempts.close)

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

    def _make_sites(self, scopes: Scopes) -> Sites:
        program = JobProgram(self._core, scopes)
        return Sites(
            self._core.tasks,
            self._make_modes(program),
            program,
            clock=self._core.clock,
            changed=self._status.changed.set,
        )

    def _make_modes(self, program: Program) -> Modes:
        return Modes(
            self._core,
            program,
            self._threads,
            patience=self._patience,
            most=self.options.concurrency,
            stopping=self._status.asked,
        )

    def _make_attempts(self) -> Attempts:
        return Attempts(
            self._core,
            self._sites,
            self._settler,
            self._tally,
            noticed=self,
            judged=self._judged,
            changed=self._status.changed,
            torn_down=lambda: self._life is not None and self._life.cancelling() > 0,
            lease=self.options.lease,
            unknown_grace=self.options.unknown_grace,
            patience=self._patience,
        )

    def _make_loop(self, backend: Backend) -> ClaimLoop:
        core, options = self._core, self.options
        lines = Lines(self._turns, options.exclude, self._sites)
        claimer = Claimer(
            backend,
            self._presence,
            lines,
            lease=options.lease,
            suspect_every=options.suspect_every,
            clock=core.clock,
            chance=core.ids.chance,
            stop=self._status.asked,
        )
        recycling = Recycling(
            core.clock,
            max_jobs=options.max_jobs,
            max_rss=options.max_rss,
            max_age=options.max_age,
        )
        return ClaimLoop(
            claimer,
            self._attempts,
            self._tally,
            self._status,
            lines,
            gate=self._gate,
            recycling=recycling,
            clock=core.clock,
            concurrency=options.concurrency,
            burst=self.burst,
            probing=lambda: self._tell(_HALF_OPEN, trips=self._gate.trips),
        )

    def _make_heartbeat(self, backend: Backend) -> Heartbeat:
        clock = self._core.clock
        return Heartbeat(
            backend,
            self._presence,
            lambda: list(self._attempts.running),
            loop=asyncio.get_running_loop(),
            lease=self.options.lease,
            clock=clock,
            chance=self._core.ids.chance,
            watchdog=Watchdog(clock, patience=1.0, blocked=self._blocked),
            threads=self._threads,
        )

    # -- life --------------------------------------------------------------------------------

    async def _live(self) -> None:
        try:
            async with self._closing:
                try:
                    await self._loop.run()
                except Exception:
                    _log.exception("foreman.failed")
                    self._status.exit_status = 1
                    self._status.stop("an error of its own")
                    raise
                finally:
                    await self._wind_up()
        finally:
            _log.info("foreman.stopped", name=self.name, **self.stats)
            self._tell("foreman.stopped", status=self.exit_status)

    async def _wind_up(self) -> None:
        """Let running jobs end within the grace, give the rest back, send the last verdicts."""
        running = len(self._attempts.running)
        _log.info("foreman.stopping", reason=self._status.reason, running=running)
        self._tell("foreman.stopping", reason=self._status.reason, running=running)
        clock, grace = self._core.clock, self.options.grace
        until = clock.monotonic() + grace
        if self._attempts.running:
            await within(clock, grace, self._attempts.until_idle())
            self._attempts.end_all()
            # Bounded: what swallows the request is given up after its patience.
            await self._attempts.until_idle()
        now = clock.monotonic()
        self._until = max(until, now) + _LAST
        await within(clock, max(0.0, until - now) + _FLUSH, self._settler.flush())

    async def _take_leave(self) -> None:
        """Be gone from the store, which has what is left of its time for last words."""
        until, now = self._until, self._core.clock.monotonic()
        left = _LAST if until is None else max(_LAST - _FLUSH, until - now)
        await self._presence.close(min(_LAST, left))

    async def _listen(self) -> None:
        """Hear of losses, and of jobs to be cancelled before the next renewal would tell."""
        try:
            async for event in self._backend.subscribe("*"):
                if event.name == "backend.lost_data":
                    self._tell(event.name, **event.data)
                elif any(job.token.job_id == event.job_id for job in self._attempts.running):
                    self._heartbeat.nudge()
        # Events are a convenience: without them the renewals tell, only later.
        except Exception:  # noqa: BLE001
            _log.exception("events.failed")

    # -- what jobs and helpers tell ------------------------------------------------------------

    def on_guarded(self, running: Running) -> None:
        """A job begins that may be the probe of the breaker of its task."""
        if self._core.bus.wanted(_HALF_OPEN):
            self._breakers.begun(running)

    def on_note(self, running: Running) -> None:
        """Progress, metadata or a checkpoint of a running job."""
        self._notes.put(running)

    def on_ending(self, running: Running) -> None:
        """A running job was asked to end."""
        self._attempts.ending(running)

    def _forgotten(self) -> None:
        """The store knows nothing of this foreman any more."""
        self._tell("session.reopened", held=len(self._attempts.running))
        self._attempts.lose_all()

    def _answered(self, ends: Sequence[Settlement], answers: Sequence[Settled]) -> None:
        self._attempts.settled(ends, answers)

    def _judged(self, running: Running, outcome: Outcome, step: Step | None) -> None:
        pause = None if step is None else step.retry_after
        if running.breaker is not None:
            breaker = running.breaker
            running.reported = self._breakers.report(running, breaker, outcome, pause)
            # It is told instead of the foreman's own.
            outcome = Outcome.NEUTRAL
        if outcome is _SUCCESS and self._breaker is None and not running.leave.probe:
            return
        change = self._gate.report(running.leave, outcome, pause)
        if change is not None:
            self._changed(change)
        if step is not None and step.quit is not None:
            said = f"job {running.token.job_id} asked for it: {step.quit}".removesuffix(": ")
            self._status.quit(said, step.quit)

    def _changed(self, change: BreakerChange) -> None:
        name = "breaker.closed" if change is BreakerChange.CLOSED else "breaker.opened"
        _log.warning(name, trips=self._gate.trips)
        self._tell(name, trips=self._gate.trips)
        self._status.changed.set()

    def _probing(self, queue: str, trips: int) -> None:
        """The breaker of a queue lets one job through, and it is here."""
        self._tell(_HALF_OPEN, queue=queue, trips=trips)

    def _parked(self, queue: str, change: BreakerChange, trips: int) -> None:
        """The breaker of a queue has moved, for all foremen."""
        name = "breaker.closed" if change is BreakerChange.CLOSED else "breaker.opened"
        _log.warning(name, queue=queue, trips=trips)
        self._tell(name, queue=queue, trips=trips)

    def _blocked(self, seconds: float, stack: str) -> None:
        self._tell("loop.blocked", seconds=seconds, stack=stack)

    def _tell(self, name: str, **data: Any) -> None:
        if self._core.bus.wanted(name):
            facts = {"foreman": self.name, **data}
            at, queue = self._core.clock.now(), data.get("queue")
            self._core.bus.emit(Event(name=name, at=at, queue=queue, data=facts))


def _checked(breaker: Any) -> Breaker | None:
    if breaker is None or isinstance(breaker, Breaker):
        return breaker
    raise InvalidOption(
        f"breaker={breaker!r} is not a Breaker, such as Breaker(5, pause='10s')",
        option="breaker",
        value=breaker,
    )


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
