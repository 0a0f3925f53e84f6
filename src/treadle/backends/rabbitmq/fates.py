"""What an answer says of a job whose message has ended by itself, or goes back after a crash."""

from __future__ import annotations

from treadle.backends.common.damage import UNREADABLE
from treadle.backends.rabbitmq.envelope import DeadLetter, Envelope
from treadle.fates import Fate
from treadle.records import Cause, JobState

__all__ = ["crashed", "dead", "unreadable"]


def dead(letter: DeadLetter) -> Fate:
    """The fate of a job that has failed."""
    return _fate(letter.envelope, JobState.FAILED, letter.cause)


def crashed(envelope: Envelope) -> Fate:
    """The fate of a job that has crashed and runs once more."""
    return _fate(envelope, JobState.QUEUED, Cause.CRASHED)


def unreadable(job_id: str, queue: str) -> Fate:
    """The fate of a job whose message cannot be read."""
    return Fate(
        id=job_id,
        task=UNREADABLE,
        queue=queue,
        state=JobState.FAILED,
        cause=Cause.UNDECODABLE,
    )


def _fate(envelope: Envelope, state: JobState, cause: Cause) -> Fate:
    spec = envelope.spec
    # What may run once only fails by a crash that is not counted.
    attempt = max(1, envelope.tries + envelope.crashes)
    return Fate(
        id=spec.id,
        task=spec.task,
        queue=spec.queue,
        state=state,
        cause=cause,
        attempt=attempt if cause is Cause.CRASHED else None,
        crashes=envelope.crashes,
    )
