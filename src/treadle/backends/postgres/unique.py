"""Unique keys: who holds one, and what a push does that finds it held."""

from __future__ import annotations

from treadle.backends.common.jobrow import FINAL_CODE, state_of
from treadle.backends.common.pushing import conflict
from treadle.backends.postgres.rows import Row
from treadle.backends.postgres.tx import Tx
from treadle.records import NewJob, Pushed, PushStatus, Scope, Unique

__all__ = ["hold", "holder_of", "look"]

_CREATED = Pushed(PushStatus.CREATED)


async def look(tx: Tx, job: NewJob, *, skip: bool) -> tuple[Pushed, Row | None]:
    """The answer that the unique key of a new job asks for, and its holder; changes nothing.

    Args:
        skip: a conflict leaves the holder alone, whatever the job says.
    """
    unique = job.unique
    if unique is None:
        return _CREATED, None
    found = await holder_of(tx, unique, job.id)
    if found is None:
        return _CREATED, None
    holder, row = found
    if row is None or skip:
        return Pushed(PushStatus.DUPLICATE, holder), row
    return Pushed(conflict(unique, state_of(row.state)), holder), row


async def holder_of(tx: Tx, unique: Unique, job_id: str) -> tuple[str, Row | None] | None:
    """Another job that holds a key; it may no longer be there."""
    found = await tx.uniques.get(unique.key)
    if found is None or found[0] == job_id:
        return None
    holder, until = found
    row = await tx.row(holder)
    if until is not None:
        return (holder, row) if until > tx.now else None
    # A key that is held until the end of a job is not held by one that has ended.
    return None if row is None or row.state in FINAL_CODE else (holder, row)


def hold(tx: Tx, unique: Unique, job_id: str) -> None:
    """Let a job have a key."""
    until = tx.now + (unique.ttl or 0.0) if unique.scope is Scope.FOR else None
    tx.uniques.hold(unique.key, job_id, until)
