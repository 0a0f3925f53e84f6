"""The ledger of one process: a file that only grows, a line at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from treadle.clock import Clock, SystemClock
from treadle.records import Lease
from treadle.testing.ledger.entries import (
    Accepted,
    Answered,
    Blow,
    Effect,
    Entry,
    Fated,
    Fault,
    Granted,
    Passed,
    Retried,
    Said,
    Sent,
    Started,
    Tried,
    Waited,
    encode,
)

__all__ = ["SUFFIX", "Ledger"]

SUFFIX = ".ledger"


class _Attempt(Protocol):
    @property
    def job_id(self) -> str: ...
    @property
    def fence(self) -> int: ...


class Ledger:
    """What one process saw, line by line, past its death.

    Each line is one write to a file opened for appending, so that a process that is killed
    leaves all that it has written, and threads do not mix their lines.

    Args:
        directory: one for all processes of a run.
        name: of this process in the run; a process that is started again has another one.
        clock: gives the times.
    """

    def __init__(self, directory: Path, name: str, clock: Clock | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._clock = clock or SystemClock()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(directory / f"{name}{SUFFIX}", flags, 0o644)

    def write(self, entry: Entry) -> None:
        """Add a line."""
        os.write(self._file, encode(entry) + b"\n")

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)

    def now(self) -> float:
        """What lines are stamped with."""
        return self._clock.monotonic()

    def tried(self, job: str) -> None:
        """A push is about to be sent."""
        self.write(Tried(at=self.now(), job=job))

    def accepted(self, job: str) -> None:
        """The store has answered that it made this job."""
        self.write(Accepted(at=self.now(), job=job))

    def granted(self, lease: Lease, asked: float) -> None:
        """A claim that was sent at ``asked`` was answered with this job."""
        self.write(
            Granted(
                at=self.now(),
                job=lease.token.job_id,
                fence=lease.token.fence,
                since=lease.started,
                asked=asked,
                suspect=lease.suspect,
            )
        )

    def started(self, attempt: _Attempt) -> None:
        """The code of a job has begun; takes its context."""
        self.write(Started(at=self.now(), job=attempt.job_id, fence=attempt.fence))

    def effect(self, attempt: _Attempt) -> None:
        """The code of a job did what it is for; takes its context."""
        self.write(Effect(at=self.now(), job=attempt.job_id, fence=attempt.fence))

    def sent(self, job: str, fence: int, verdict: str) -> None:
        """A verdict is about to be sent."""
        self.write(Sent(at=self.now(), job=job, fence=fence, verdict=verdict))

    def answered(self, job: str, fence: int, verdict: str, answer: str) -> None:
        """The store has answered a verdict."""
        self.write(
            Answered(at=self.now(), job=job, fence=fence, verdict=verdict, answer=answer)
        )  # fmt: skip

    def waited(self, verb: str, seconds: float) -> None:
        """A call of the store was answered late."""
        self.write(Waited(at=self.now(), verb=verb, seconds=seconds))

    def fated(self, job: str, event: str) -> None:
        """The store has answered that a job came to this by itself."""
        self.write(Fated(at=self.now(), job=job, event=event))

    def said(self, event: str, job: str) -> None:
        """An event was told."""
        self.write(Said(at=self.now(), event=event, job=job))

    def passed(self, resource: str, fence: int) -> None:
        """Something that is guarded by a fence took a write."""
        self.write(Passed(at=self.now(), resource=resource, fence=fence))

    def retried(self, job: str) -> None:
        """Somebody asked for a finished job to run once more."""
        self.write(Retried(at=self.now(), job=job))

    def fault(self, process: str, blow: Blow) -> None:
        """Somebody does this to a process. Written before it is done."""
        self.write(Fault(at=self.now(), process=process, blow=blow))
