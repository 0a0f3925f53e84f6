"""The attempts of a foreman: started from leases, judged when they end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from treadle.arguments import call_of
from treadle.errors import AttemptTimeout, Control, JobCancelled, LeaseLost, Unsupported
from treadle.faults import capture
from treadle.foreman.apart import InTurn
from treadle.foreman.deadlines import Deadlines
from treadle.foreman.running import TAKEN_OVER, CutOff, Noticed, Running, Stopped
from treadle.foreman.settler import Settler
from treadle.foreman.sites import Sites
from treadle.foreman.tally import Tally
from treadle.logs import get_logger
from treadle.policies.breaker import Outcome, Pass
from treadle.policies.drive import AttemptEnd, Step, verdict
from treadle.policies.match import leaf
from treadle.pools.sites.site import Call, Ended
from treadle.ports import Settlement
from treadle.records import Cause, Lease, NewJob, Renewal, Settled
from treadle.verdicts import Again, Done, Failed, Released, Verdict

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.task import Task

__all__ = ["Attempts"]

_log = get_logger("treadle.foreman")
# Looking a member up in its enum costs more than a global name.
_SUCCESS = Outcome.SUCCESS
_ELSEWHERE = ("process", "ray")
_FORGOTTEN = "the store has forgotten the lease of job {}"
_STOPPED = "the foreman stopped before the attempt had ended"


class Attempts:
    """Runs leases at sites and turns what comes of them into verdicts.

    Args:
        core: knows the tasks.
        sites: where each task runs.
        settler: takes the verdicts.
        noticed: what running jobs tell.
        judged: told how each attempt ended, for the breaker and for stopping.
        changed: set whenever an attempt has ended or a verdict was answered.
        torn_down: whether the foreman itself is being cancelled.
        lease: seconds.
        patience: seconds that code has to end once it was asked to.
    """

    def __init__(
        self,
        core: Core,
        sites: Sites,
        settler: Settler,
        tally: Tally,
        *,
        noticed: Noticed,
        judged: Callable[[Running, Outcome, Step | None], None],
        changed: asyncio.Event,
        torn_down: Callable[[], bool],
        lease: float,
        unknown_grace: float,
        patience: float,
    ) -> None:
        # In the order of their starts, as keys.
        self.running: dict[Running, None] = {}
        self._changed = changed
        self._torn_down = torn_down
        self._lease = lease
        self._core = core
        self._clock = core.clock
        self._sites = sites
        self._noticed = noticed
        self._settler = settler
        self._tally = tally
        self._judged = judged
        self._aside = SetAside(core, unknown_grace)
        self._patience = patience
        self._deadlines = Deadlines(core.clock, self._overran)
        self._on_start = self._begun
        loop = asyncio.get_running_loop()
        # What loop.create_task does, without its Python half, unless somebody has replaced it.
        self._spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]] = (
            partial(asyncio.Task, loop=loop)
            if loop.get_task_factory() is None
            else loop.create_task
        )
        self.in_turn = InTurn(self._spawn, self._live)

    def start(self, lease: Lease, held_until: float, leave: Pass) -> None:
        """Begin an attempt. A job of an unknown task is set aside."""
        job = Running(lease, held_until, leave, self._noticed)
        self.running[job] = None
        self._tally.leased(job)
        job.began = self._clock.monotonic()
        spec = lease.spec
        task = self._core.tasks.get(spec.task)
        if task is None:
            self._judged(job, Outcome.NEUTRAL, None)
            self._put(job, self._aside.verdict(lease, f"no task {spec.task!r} here"))
            return
        if task.breaker is not None:
            job.breaker = task.breaker
            self._noticed.on_guarded(job)
        job.timeout = timeout = _timeout(spec, task)
        deadline, alone = None, False
        if task.worker is not None or task.mode in _ELSEWHERE:
            # Its time begins when it has its worker or its process.
            job.on_start = self._on_start
            # Else a death could find code at work of which it is not known that it has begun.
            alone = spec.at_most_once or self._noticed.on_started is not None
        elif timeout is not None:
            deadline, timeout = job.began + timeout, None
            self._deadlines.add(job, deadline)
        call = Call(task.name, spec.payload, deadline, lease, timeout, self._lease, alone)
        if task.is_async:
            self.in_turn.put(job, task, call)
        else:
            job.task = self._spawn(self._live(job, task, call))

    def _begun(self, job: Running) -> None:
        job.began = self._clock.monotonic()
        if job.timeout is not None and job.ending is None and not job.settled:
            self._deadlines.add(job, job.began + job.timeout)

    async def _live(self, job: Running, task: Task[..., Any], call: Call) -> None:
        try:
            try:
                if job.ending is None:
                    ended = await self._sites.of(task).run(call, job)
                else:  # it was asked to end before it had its turn
                    ended = Ended(error=job.ending)
            except Unsupported as error:
                # Declared after the foreman was opened, and nothing here can run it.
                ended = Ended(error=error, undecodable=True)
            except asyncio.CancelledError as error:
                ended = self._cancelled(job, error)
            if not job.settled:
                self._conclude(job, task, ended)
        # A fault of the site or of ours. Its lease would be renewed for ever if nobody judged it.
        except Exception as error:  # noqa: BLE001
            _log.exception("attempt.broken", job=job.token.job_id, task=task.name)
            if not job.settled:
                self._deadlines.discard(job)
                self._judged(job, Outcome.NEUTRAL, None)
                self._put(job, Failed(fault=capture(error)))
        finally:
            job.task = None

    def _cancelled(self, job: Running, error: BaseException) -> Ended:
        """By its own code; or everything is cancelled, because the loop is being torn down."""
        if self._torn_down():
            job.ending = job.ending or Stopped(_STOPPED)
        return Ended(error=error)

    def _overran(self, job: Running) -> None:
        """The deadline has passed: of the attempt, or of its patience after it was asked to end."""
        if job.ending is not None:
            self._give_up_on(job)
            return
        timeout = job.timeout or 0.0
        job.end(AttemptTimeout(f"the attempt ran longer than {timeout:g} s", timeout=timeout))

    def ending(self, job: Running) -> None:
        """A job was asked to end: see that it does, whatever its code does with the request."""
        self._deadlines.discard(job)
        self._deadlines.add(job, self._core.clock.monotonic() + self._patience * 2)

    def _give_up_on(self, job: Running) -> None:
        """The code swallowed the request. Its place is free again, its end no longer counts."""
        self._tally.abandoned += 1
        _log.error("attempt.abandoned", job=job.token.job_id, task=job.lease.spec.task,
                   reason=str(job.ending))  # fmt: skip
        task = self._core.tasks[job.lease.spec.task]
        self._sites.give_up(task, job)
        if isinstance(job.ending, CutOff):
            # It goes on beside whoever has it next: that it was here must not be forgotten.
            self._drop(job)
            return
        self._conclude(job, task, Ended(error=job.ending))

    def _conclude(self, job: Running, task: Task[..., Any], ended: Ended) -> None:
        self._deadlines.discard(job)
        ending, error = job.ending, ended.error
        if ended.committed:
            # Whatever came after it. The store answers that it knows.
            self._judged(job, _SUCCESS, None)
            self._put(job, Done(), ended.follow_ups)
        elif job.lost:
            self._drop(job)
        elif error is None:
            self._judged(job, _SUCCESS, None)
            self._put(job, Done(result=ended.result), ended.follow_ups)
        elif ended.unstarted and ending is None:
            # Back to its old place: another foreman may have a worker for it.
            self._judged(job, Outcome.NEUTRAL, None)
            self._put(job, Released())
        elif isinstance(ending, (Stopped, CutOff)) and not isinstance(leaf(error), Control):
            self._judged(job, Outcome.NEUTRAL, None)
            self._put(job, _given_back(job, ending))
        elif ended.crashed:
            self._judged(job, Outcome.NEUTRAL, None)
            self._put(job, _crashed(job, ended))
        elif ended.undecodable:
            self._judged(job, Outcome.NEUTRAL, None)
            self._put(job, self._aside.verdict(job.lease, str(error), error))
        else:
            self._judge(job, task, ended)

    def _judge(self, job: Running, task: Task[..., Any], ended: Ended) -> None:
        step = verdict(
            task.retry,
            AttemptEnd(
                lease=job.lease,
                now=self._core.clock.now(),
                given=partial(call_of, self._core, job.lease.spec, task),
                error=ended.error,
                ending=job.ending,
                cause=Cause.RESULT if ended.unsendable else None,
                fault=ended.fault,
            ),
            self._core.ids.chance,
        )
        self._judged(job, step.outcome, step)
        self._put(job, step.verdict, ended.follow_ups)

    def _put(self, job: Running, verdict: Verdict, follow_ups: tuple[NewJob, ...] = ()) -> None:
        job.settled = True
        settlement = Settlement(
            token=job.lease.token, verdict=verdict, follow_ups=follow_ups, note=job.latest
        )
        if job.reported is None:
            self._send(job, settlement)
        else:
            # Until the breaker has been told, no other job has its place.
            job.reported.add_done_callback(lambda _: self._send(job, settlement))

    def _send(self, job: Running, settlement: Settlement) -> None:
        self.running.pop(job, None)
        self._tally.ended(job, settlement.verdict)
        self._settler.put(settlement)
        self._changed.set()

    def _drop(self, job: Running) -> None:
        """The lease is gone, and with it the right to say anything of the job."""
        job.settled = True
        self._judged(job, Outcome.NEUTRAL, None)
        self.running.pop(job, None)
        self._tally.lost(job, str(job.ending))
        self._changed.set()

    def renewed(self, jobs: Sequence[Running], answers: Sequence[Renewal]) -> None:
        """Act on the answers to a renewal."""
        for job, answer in zip(jobs, answers, strict=True):
            if job.ending is not None:
                continue  # asked once; to ask again would interrupt how it ends
            if answer is Renewal.LOST:
                job.end(LeaseLost(TAKEN_OVER.format(job.token.job_id)))
            elif answer is Renewal.CANCEL:
                job.end(JobCancelled("the job was cancelled", job_id=job.token.job_id))

    def settled(self, ends: Sequence[Settlement], answers: Sequence[Settled]) -> None:
        """Take note of the answers to verdicts."""
        self._tally.settled(ends, answers)
        self._changed.set()

    async def until_idle(self) -> None:
        """Return when nothing runs."""
        while self.running:
            self._changed.clear()
            await self._changed.wait()

    def lose_all(self) -> None:
        """Ask everything that still runs to end; the store knows of none of these leases."""
        for job in list(self.running):
            job.end(LeaseLost(_FORGOTTEN.format(job.token.job_id)))

    def end_all(self) -> None:
        """Ask everything that still runs to end; it is given back."""
        for job in list(self.running):
            job.end(Stopped(_STOPPED))

    def close(self) -> None:
        """Nothing runs any more."""
        self._deadlines.close()


def _timeout(spec: NewJob, task: Task[..., Any]) -> float | None:
    """Seconds that an attempt may take: what the job says, else what its task says."""
    asked = spec.timeout
    if asked is None:
        return task.timeout
    return None if asked == math.inf else asked


def _given_back(job: Running, ending: Stopped | CutOff) -> Verdict:
    """What becomes of a job that its foreman had no time to wait for, or no lease."""
    if job.lease.spec.at_most_once and job.has_started:
        return Failed(cause=Cause.CRASHED, fault=capture(ending))
    return Released()


def _crashed(job: Running, ended: Ended) -> Verdict:
    """What becomes of a job whose process has died, and nothing else with it."""
    spec = job.lease.spec
    if spec.at_most_once or job.lease.crashes + 1 >= spec.max_crashes:
        return Failed(cause=Cause.CRASHED, fault=ended.fault)
    return Again(cause=Cause.CRASHED, fault=ended.fault)


class SetAside:
    """What happens to a job that cannot be run here: it waits for a foreman that can.

    Given back uncounted, after 10 s first and then twice as long each time up to 5 min, with a
    reason that ``treadle why`` shows; failed only after a grace, so that a deploy that brings the
    task a little later loses nothing.
    """

    def __init__(self, core: Core, grace: float) -> None:
        self._core = core
        self._grace = grace

    def verdict(self, lease: Lease, reason: str, error: BaseException | None = None) -> Verdict:
        """``Released`` with a delay, or ``Failed`` once the grace is over."""
        since = lease.aside_since
        if since is not None and self._core.clock.now() - since >= self._grace:
            if error is not None:
                return Failed(cause=Cause.UNDECODABLE, fault=capture(error))
            return Failed(cause=Cause.UNKNOWN_TASK)
        delay = min(300.0, 10.0 * 2.0 ** min(lease.releases, 10))
        return Released(delay=delay, reason=reason)
