"""What a foreman says of its jobs: numbers, events, log lines, and the shared page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from treadle.bus import Bus
from treadle.clock import Clock
from treadle.events import Event
from treadle.foreman.page import Page
from treadle.foreman.running import Running
from treadle.logs import get_logger
from treadle.ports import Settlement
from treadle.records import Settled, Token
from treadle.verdicts import Again, Cancelled, Done, Failed, Released, Verdict

__all__ = ["Tally"]

_log = get_logger("treadle.foreman")
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

    def leased(self, job: Running) -> None:
        """A lease was granted."""
        if self._page is not None:
            self._page.lease(job.token)
        if self._bus.heard and self._bus.wanted("job.started"):
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
        for end, answer in zip(ends, answers, strict=True):
            if page is not None:
                page.ended(end.token)
            job = ending.pop(end.token, None) if ending else None
            if answer is _OK or answer is Settled.ALREADY:
                name = _EVENT_OF[type(end.verdict)]
                counts[name] += 1
                if job is not None:
                    self._say(name, job, end.verdict)
            else:
                self._lost(end.token, job, f"the verdict came too late: {answer}")

    def lost(self, job: Running, reason: str) -> None:
        """A lease went away while its job ran."""
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
            case Failed(cause=cause, fault=fault):
                data |= {"cause": str(cause), "error": fault and f"{fault.type}: {fault.message}"}
                _log.error(name, job=job.token.job_id, task=job.lease.spec.task, **data)
            case Again(delay=delay, cause=cause, fault=fault):
                data |= {"cause": str(cause), "error": fault and f"{fault.type}: {fault.message}",
                         "delay": delay}  # fmt: skip
                _log.warning(name, job=job.token.job_id, task=job.lease.spec.task, **data)
            case Released(delay=delay, reason=reason) if reason:
                data |= {"delay": delay, "reason": reason}
                _log.warning(name, job=job.token.job_id, task=job.lease.spec.task, **data)
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
