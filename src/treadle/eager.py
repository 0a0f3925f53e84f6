"""Eager mode: jobs run where they are enqueued, before the enqueue returns. For tests.

Nothing is faked. The job goes into a store in memory, through the codec, and is claimed, run
and settled from there; so its record, its attempts and its result are the real ones. What
differs: a retry does not wait, and rates and slots do not apply. A job with a delay, of a
paused queue, or that waits for another one stays where it is.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from treadle.arguments import call_of
from treadle.depends import Scopes
from treadle.errors import AttemptTimeout
from treadle.foreman.program import JobProgram
from treadle.foreman.sites import Sites
from treadle.foreman.tally import log_failed, tell_enqueued, why
from treadle.loopthread import LoopThread
from treadle.outcome import outcome
from treadle.policies.drive import AttemptEnd, verdict
from treadle.pools.sites.site import Call, Channel, Ended, Program, Site
from treadle.ports import Backend, Claim, Query, Settlement
from treadle.records import Cause, JobState, Lease, NewJob, Note, Session, SessionInfo
from treadle.verdicts import Again, Cancelled, Done, Failed, Released, Verdict

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.task import Task

__all__ = ["EagerRunner"]

T = TypeVar("T")
_LEASE = 86400.0
_caller: ContextVar[_Caller | None] = ContextVar("treadle.eager.caller", default=None)
_running: ContextVar[tuple[str, ...]] = ContextVar("treadle.eager.running", default=())


class EagerRunner:
    """Runs the jobs of an app where they are enqueued.

    Args:
        core: of the app.
        raises: an enqueue raises the error of the first job that failed in it.
    """

    def __init__(self, core: Core, *, raises: bool = False) -> None:
        self._core = core
        self._raises = raises

    def adapted(self, new: NewJob) -> NewJob:
        """The job without what would make it wait for others."""
        return msgspec.structs.replace(new, asks=()) if new.asks else new

    def call(self, background: LoopThread, verb: Coroutine[Any, Any, T]) -> T:
        """Carry out a blocking verb; plain functions of tasks run in this thread."""
        caller = _Caller()
        token = _caller.set(caller)
        try:
            future = background.start(verb)
        finally:
            _caller.reset(token)
        return caller.serve(future)

    async def drain(self, job_ids: Sequence[str]) -> None:
        """Run what can run, until these jobs have ended or cannot run now."""
        backend = await self._core.ready()
        session = await backend.open_session(SessionInfo(name="eager"))
        scopes = Scopes(self._core)
        await scopes.open()
        sites = self._sites(JobProgram(self._core, scopes))
        try:
            failed = await self._run_all(backend, session, sites)
            for job_id in job_ids:
                await self._elsewhere(backend, job_id)
        finally:
            # Workers live as long as the enqueue that needed them.
            await sites.aclose()
            await scopes.aclose()
            await backend.close_session(session)
        if failed and self._raises:
            page = await backend.find(Query(ids=(failed[0],)))
            outcome(self._core, failed[0], page, None)

    def _sites(self, program: Program) -> Sites:
        here = _Here(program)
        tasks, clock = self._core.tasks, self._core.clock
        return Sites(tasks, here, program, clock=clock, changed=lambda: None)

    async def _run_all(self, backend: Backend, session: Session, sites: Sites) -> list[str]:
        """Run what there is, and give the ids of the jobs that failed."""
        failed: list[str] = []
        request, more = 0, True
        while more:
            request += 1
            claimed = await backend.claim(
                Claim(session=session, request=request, limit=1, lease=_LEASE)
            )
            for lease in claimed.leases:
                settlement = await self._attempt(lease, sites)
                await backend.settle([settlement])
                self._tell(lease, settlement)
                if isinstance(settlement.verdict, Failed):
                    failed.append(lease.spec.id)
            more = bool(claimed.leases) or claimed.more
        return failed

    async def _elsewhere(self, backend: Backend, job_id: str) -> None:
        """Return when nobody else who enqueues at the same time is running the job."""
        version = -1
        while job_id not in _running.get():
            page = await backend.find(Query(ids=(job_id,), wait=30.0, version=version))
            if not page.records or page.records[0].state is not JobState.RUNNING:
                return
            version = page.records[0].version

    async def _attempt(self, lease: Lease, sites: Sites) -> Settlement:
        task = self._core.tasks.get(lease.spec.task)
        if task is None:
            failed = Failed(cause=Cause.UNKNOWN_TASK)
            return Settlement(token=lease.token, verdict=failed)
        channel = _Channel()
        timeout = task.options.timeout if lease.spec.timeout is None else lease.spec.timeout
        clock = self._core.clock
        if timeout == math.inf:
            timeout = None
        deadline = None if timeout is None else clock.monotonic() + timeout
        call = Call(task.name, lease.spec.payload, deadline, lease)
        token = _running.set((*_running.get(), lease.spec.id))
        attempt = asyncio.get_running_loop().create_task(_run(sites.of(task), call, channel))
        _running.reset(token)
        timer = None
        if timeout is not None:
            timer = clock.call_later(timeout, partial(channel.overran, attempt, timeout))
        try:
            ended = await attempt
        finally:
            attempt.cancel()
            if timer is not None:
                timer.cancel()
        return Settlement(
            token=lease.token,
            verdict=self._judge(task, lease, ended, channel),
            follow_ups=tuple(map(self.adapted, ended.follow_ups)),
            note=channel.latest,
        )

    def _judge(
        self, task: Task[..., Any], lease: Lease, ended: Ended, channel: _Channel
    ) -> Verdict:
        cause = Cause.UNDECODABLE if ended.undecodable else None
        step = verdict(
            task.options.retry,
            AttemptEnd(
                lease=lease,
                now=self._core.clock.now(),
                given=partial(call_of, self._core, lease.spec, task),
                error=ended.error,
                result=ended.result,
                ending=channel.ending,
                cause=Cause.RESULT if ended.unsendable else cause,
            ),
            self._core.ids.chance,
        )
        end = step.verdict
        return msgspec.structs.replace(end, delay=0.0) if isinstance(end, Again) else end

    def _tell(self, lease: Lease, settlement: Settlement) -> None:
        data: dict[str, Any] = {}
        match settlement.verdict:
            case Done():
                name = "job.succeeded"
            case Failed() as end:
                name, data = "job.failed", why(end)
                log_failed(lease, end, data)
            case Again() as end:
                name, data = "job.retrying", {**why(end), "delay": 0.0}
            case Cancelled():
                name = "job.cancelled"
            case Released():
                name = "job.released"
        self._core.tell(name, lease.spec, lease.attempt, data)
        tell_enqueued(self._core.bus, self._core.clock, settlement.follow_ups)


async def _run(site: Site, call: Call, channel: _Channel) -> Ended:
    return await site.run(call, channel)


class _Here:
    """The site of tasks of every mode: where the job is enqueued."""

    abandoned = 0

    def __init__(self, program: Program) -> None:
        self._program = program

    def of(self, task: Task[..., Any]) -> Site:
        """Where jobs of a task run."""
        return self

    def __iter__(self) -> Iterator[Site]:
        yield self

    def run(self, call: Call, channel: Channel) -> Awaitable[Ended]:
        """Run a call to its end."""
        return self._program(call, channel, _invoke)

    async def aclose(self) -> None:
        """Nothing to let go of."""


class _Channel:
    """What is said between a job and nobody in particular."""

    stopping = False

    def __init__(self) -> None:
        self.ending: BaseException | None = None
        self.latest: Note | None = None

    def started(self) -> None:
        """Nobody counts crashes here."""

    def note(self, note: Note) -> None:
        """Keep the last word for the verdict."""
        self.latest = note

    def committing(self, yes: bool) -> None:
        """Nobody renews leases here."""

    def overran(self, attempt: asyncio.Task[Ended], timeout: float) -> None:
        """End an attempt that runs longer than it may."""
        self.ending = AttemptTimeout(f"the attempt ran longer than {timeout:g} s", timeout=timeout)
        attempt.cancel()


async def _invoke(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a plain function in the thread that enqueued it, where that waits; else in another."""
    caller = _caller.get()
    if caller is None or caller.gone:
        return await asyncio.to_thread(fn, *args, **kwargs)
    return await caller.run(partial(fn, *args, **kwargs))


class _Caller:
    """A thread that waits for a verb, and meanwhile runs plain functions for it."""

    def __init__(self) -> None:
        self.gone = False
        self._work: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()

    async def run(self, fn: Callable[[], Any]) -> Any:
        """Run a function in the thread."""
        done: Future[Any] = Future()
        self._work.put((partial(contextvars.copy_context().run, fn), done))
        return await asyncio.wrap_future(done)

    def serve(self, verb: Future[T]) -> T:
        """Run functions until the verb has ended, and give its result."""
        verb.add_done_callback(lambda _: self._work.put(None))
        try:
            while (work := self._work.get()) is not None:
                fn, done = work
                if not done.set_running_or_notify_cancel():
                    continue
                try:
                    done.set_result(fn())
                # Whatever a task raises is the end of its attempt, and not of the caller;
                # except that Ctrl-C is meant for the caller.
                except BaseException as error:
                    done.set_exception(error)
                    if isinstance(error, KeyboardInterrupt):
                        raise
            return verb.result()
        finally:
            self.gone = True
            verb.cancel()
