"""A row as the record that a query shows, and what is shown of a job that is gone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from treadle.backends.common.damage import spec_of
from treadle.backends.common.jobrow import Code, Facts, Flag, JobRow, state_of
from treadle.backends.common.pushing import repeated
from treadle.ports import Gone
from treadle.records import JobRecord, JobState, Pushed, Token

__all__ = ["gone", "shown"]


def shown(
    row: JobRow,
    body: Any,
    facts: Facts,
    result: bytes | None,
    *,
    now: float,
    awaited: Callable[[], Collection[str]],
) -> JobRecord:
    """The record of a row.

    Args:
        row: of the job.
        body: what was pushed, encoded.
        facts: what is true of few jobs.
        result: encoded.
        now: a job whose time has come counts as queued before it is moved.
        awaited: gives the ids of jobs that it still waits for; only asked where it waits for some.
    """
    spec = spec_of(row, body)
    waits: tuple[str, ...] = ()
    if row.state == Code.WAITING and row.line is None and spec.after is not None:
        left = set(awaited())
        waits = tuple(job for job in dict.fromkeys(spec.after.ids) if job in left)
    state = state_of(row.state)
    if state is JobState.SCHEDULED and row.due is not None and row.due <= now:
        state = JobState.QUEUED
    return JobRecord(
        spec=spec,
        seq=row.seq,
        state=state,
        version=row.version,
        reason=row.line or (f"after:{waits[0]}" if waits else facts.reason),
        priority=-row.rank,
        due=row.due,
        expires=row.expires,
        fence=row.fence,
        tries=row.tries,
        crashes=row.crashes,
        suspect=bool(row.flags & Flag.SUSPECT),
        cancel_asked=bool(row.flags & Flag.CANCEL),
        created=row.created,
        started=row.started,
        finished=row.finished,
        lease_until=row.until if row.state == Code.RUNNING else None,
        holder=row.holder or "",
        waits_for=waits,
        note=facts.note,
        result=result,
        skipped=facts.skipped,
        cause=facts.cause,
        fault=facts.fault,
        attempts=facts.attempts,
    )


def gone(
    job_id: str, pushed: Pushed, code: int | None, ended: tuple[int | None, int | None], at: float
) -> Gone:
    """What is left of a job.

    Args:
        job_id: of the job.
        pushed: the answer that its push got.
        code: of its final state; ``None`` when it had none.
        ended: fence and nonce of the token that ended it.
        at: when it went.
    """
    fence, nonce = ended
    return Gone(
        pushed=repeated(pushed),
        state=None if code is None else state_of(code),
        token=None if fence is None or nonce is None else Token(job_id, fence, nonce),
        at=at,
    )
