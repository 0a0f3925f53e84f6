"""What a foreman says of its jobs: numbers, events, log lines, and the shared page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from treadle.bus import Bus
from treadle.clock import Clock
from treadle.events import Event
from treadle.fates import Fate, fates_of
from treadle.faults import Fault
from treadle.foreman.page import Page
from treadle.foreman.running import Running
from treadle.logs import get_logger
from treadle.ports import Settlement
from treadle.records import Lease, NewJob, Settled, Token
from treadle.telling import name_of
from treadle.verdicts import Again, Cancelled, Done, Failed, Released, Verdict

__all__ = ["Tally", "log_failed", "tell_enqueued", "why"]

_log = get_logger("treadle.foreman")
_retries = get_logger("treadle.foreman.retries")
# Looking a member up in its enum costs more than a global name.
_OK = Settled.OK
_EVENT_OF: Mapping[type, str] = {
    Done: "job.succeeded",
    Again: "job.retrying",
    Failed: "job.failed",
    Released: "job.released",
    Cancelled: "job.cancelled",
}


class Tally:
    """Counts and tells.

    Args:
        bus: observers; nothing is made for an event that nobody wants.
        page: shared with a supervisor, when there is one.
    """

    def __init__(self, bus: Bus, clock: Clock, page: Page | None) -> None:
        self.unsettled = 0
        self.finished = 0
        self.abandoned = 0
        self.counts: dict[str, int] = dict.fromkeys([*_EVENT_OF.values(), "job.lost"], 0)
        self._bus = bus
        self._clock = clock
        self._page = page
        self._ending: dict[Token, Running] = {}
        # Attempts of which it is not told yet that they began, by their jobs.
        self._early: dict[str, Running] = {}

    def leased(self, job: Running) -> None:
        """A lease was granted."""
        if self._page is not None:
            self._page.lease(job.token)
        if not (self._bus.heard and self._bus.wanted("job.started")):
            return
        job_id = job.token.job_id
        if job.token.fence > 1 and any(token.job_id == job_id for token in self._ending):
            # The store has taken the verdict of the attempt before, and its answer is on its way:
            # that is told first.
            self._early[job_id] = job
        else:
            self._emit("job.started", job, {})

    def ended(self, job: Running, verdict: Verdict) -> None:
        """An attempt ended, its verdict is on the way to the store."""
        self.unsettled += 1
        if type(verdict) is not Done or self._bus.heard:
            self._ending[job.token] = job

    def settled(self, ends: Sequence[Settlement], answers: Sequence[Settled]) -> None:
        """The store has answered."""
        self.unsettled -= len(ends)
        self.finished += len(ends)
        page, ending, counts = self._page, self._ending, self.counts
        # The store had something else to say than these verdicts: they were to be cancelled.
        overruled = {fate.id for fate in fates_of(answers)}
        for end, answer in zip(ends, answers, strict=True):
            if page is not None:
                page.ended(end.token)
            job = ending.pop(end.token, None) if ending else None
            if answer is _OK or answer is Settled.ALREADY:
                if overruled and end.token.job_id in overruled:
                    continue
                name = _EVENT_OF[type(end.verdict)]
                counts[name] += 1
                if job is not None:
                    self._say(name, job, end.verdict)
                    if end.follow_ups:
                        tell_enqueued(self._bus, self._clock, end.follow_ups)
            else:
                self._lost(end.token, job, f"the verdict came too late: {answer}")
            if self._early:
                self._tell_started(end.token.job_id)

    def _tell_started(self, job_id: str) -> None:
        job = self._early.pop(job_id, None)
        if job is not None:
            self._emit("job.started", job, {})

    def fated(self, fates: Sequence[Fate]) -> None:
        """Jobs ended by themselves in what this foreman asked of the store; others tell of it."""
        for fate in fates:
            self.counts[name_of(fate)] += 1

    def lost(self, job: Running, reason: str) -> None:
        """A lease went away while its job ran."""
        self._tell_started(job.token.job_id)
        if self._page is not None:
            self._page.ended(job.token)
        self._lost(job.token, job, reason)

    def _lost(self, token: Token, job: Running | None, reason: str) -> None:
        self.counts["job.lost"] += 1
        _log.warning("job.lost", job=token.job_id, fence=token.fence, reason=reason)
        if job is not None and self._bus.wanted("job.lost"):
            self._emit("job.lost", job, {"reason": reason})

    def _say(self, name: str, job: Running, verdict: Verdict) -> None:
        data: dict[str, Any] = {"seconds": self._clock.monotonic() - job.began}
        match verdict:
            case Failed():
                data |= why(verdict)
                log_failed(job.lease, verdict, data)
            case Again(delay=delay, fault=fault):
                data |= {**why(verdict), "delay": delay}
                # The same once more, and again: only for who asks for it.
                shown = _stack(fault) if _retries.debugging else {}
                _retries.warning(name, **_facts(job.lease), **data, **shown)
            case Released(delay=delay, reason=reason) if reason:
                data |= {"delay": delay, "reason": reason}
                _log.warning(name, **_facts(job.lease), **data)
            case Done(skipped=str(skipped)):
                data["skipped"] = skipped
            case _:
                pass
        if self._bus.wanted(name):
            self._emit(name, job, data)

    def _emit(self, name: str, job: Running, data: Mapping[str, Any]) -> None:
        spec = job.lease.spec
        self._bus.emit(
            Event(
                name=name,
                at=self._clock.now(),
                job_id=spec.id,
                task=spec.task,
                queue=spec.queue,
                attempt=job.lease.attempt,
                data=data,
            )
        )


def why(verdict: Failed | Again) -> dict[str, Any]:
    """The data of an event about an attempt that failed."""
    fault = verdict.fault
    return {"cause": str(verdict.cause), "error": fault and f"{fault.type}: {fault.message}"}


def log_failed(lease: Lease, verdict: Failed, data: Mapping[str, Any]) -> None:
    """Log the end of a job that failed, with its traceback."""
    _log.error("job.failed", **_facts(lease), **data, **_stack(verdict.fault))


def tell_enqueued(bus: Bus, clock: Clock, jobs: Sequence[NewJob]) -> None:
    """Tell of follow-ups, which the end of a job has pushed.

    Not of those with a unique key: what the store made of them is not said.
    """
    if bus.wanted("job.enqueued"):
        now = clock.now()
        for job in jobs:
            if job.unique is None:
                bus.emit(
                    Event(
                        name="job.enqueued", at=now, job_id=job.id, task=job.task, queue=job.queue
                    )
                )


def _facts(lease: Lease) -> dict[str, Any]:
    return {"job": lease.spec.id, "task": lease.spec.task}


def _stack(fault: Fault | None) -> dict[str, Any]:
    """The traceback of a job, below its line."""
    return {"stack": fault.traceback} if fault is not None and fault.traceback else {}
