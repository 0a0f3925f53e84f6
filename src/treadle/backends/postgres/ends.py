"""The end of a job, and what follows from it: dependants, retention, tombstones."""

from __future__ import annotations

from treadle.backends.common.attempts import forget_attempt
from treadle.backends.common.damage import set_aside
from treadle.backends.common.ends import fail_by, grave, kept_for
from treadle.backends.common.fates import fate_of
from treadle.backends.common.jobrow import FINAL_CODE, Code, Facts, Flag, make_ready, state_of
from treadle.backends.common.lines import key_line, park
from treadle.backends.common.pushing import dependency_failed
from treadle.backends.postgres.lines import free, key_full, leave, wake_all
from treadle.backends.postgres.rows import Row
from treadle.backends.postgres.tx import Tx
from treadle.ports import ADVANCE
from treadle.records import NewJob, OnFailure

__all__ = [
    "dependency_of",
    "fail_dependant",
    "finish",
    "give_back",
    "give_up",
    "place",
    "remove",
    "tell",
]


async def place(tx: Tx, row: Row, spec: NewJob) -> None:
    """Set the state of a job that waits for nothing but its time and its key."""
    row.line = row.line_rank = row.line_units = None
    if row.due is not None and row.due > tx.now:
        row.state = Code.SCHEDULED
    elif spec.key is not None and await key_full(tx, spec.key):
        park(row, key_line(spec.key))
    else:
        make_ready(row)


async def finish(
    tx: Tx,
    row: Row,
    spec: NewJob,
    state: int,
    facts: Facts,
    *,
    result: bytes | None = None,
) -> None:
    """Bring a job into a final state: ``facts`` hold the cause and fault of a failure."""
    was = row.state
    lines = await free(tx, row)
    row.state, row.finished = state, tx.now
    row.line = row.line_rank = row.line_units = row.key = row.expires = None
    forget_attempt(row)
    if spec.unique is not None and row.flags & (Flag.UNIQUE_DONE | Flag.UNIQUE_START):
        tx.uniques.free(spec.unique.key, row.id)
    if row.flags & Flag.AWAITED:
        tx.dependants.end(row.id, state == Code.SUCCEEDED)
        row.flags &= ~Flag.AWAITED
    if was == Code.WAITING:
        tx.dependants.leave(row.seq)
    keep = kept_for(spec, state)
    if keep is not None and keep <= 0:
        tx.remove(row, was, grave(row, facts))
    else:
        row.keep_until = None if keep is None else tx.now + keep
        if state == Code.FAILED:
            row.failed_task = spec.task
            tx.count_failure(spec.task, 1)
        tx.save_facts(row, facts)
        row.result = result
        tx.save(row, was)
        if state == Code.FAILED:
            await _trim_failed(tx)
    if lines:
        await wake_all(tx, lines)
    else:
        await leave(tx, row, spec)


async def give_back(tx: Tx, row: Row, facts: Facts) -> None:
    """Let a job go on whose attempt is over and whose row says where."""
    lines = await free(tx, row)
    tx.save_facts(row, facts)
    tx.save(row, Code.RUNNING)
    await wake_all(tx, lines)


async def _trim_failed(tx: Tx) -> None:
    """Keep no more failed jobs than the namespace may; the oldest go first."""
    excess = await tx.failed_jobs() - tx.settings.max_failed
    if excess <= 0:
        return
    for (seq,) in await tx.look("oldest_failed", excess):
        row = await tx.row_at(seq)
        # Another claim may have found that it was kept long enough.
        if row is not None:
            await remove(tx, row)


# ------------------------------------------------------------- removal


async def remove(tx: Tx, row: Row) -> None:
    """Remove a job that does not run, as by ``delete`` or because its time to be kept is over."""
    was = row.state
    stone = grave(row, tx.facts(row))
    if was in FINAL_CODE:
        if row.failed_task is not None:
            tx.count_failure(row.failed_task, -1)
        tx.remove(row, was, stone)
        return
    spec = tx.spec(row)
    if spec.unique is not None and row.flags & (Flag.UNIQUE_DONE | Flag.UNIQUE_START):
        tx.uniques.free(spec.unique.key, row.id)
    if row.flags & Flag.AWAITED:
        tx.dependants.end(row.id, False)
    tx.dependants.leave(row.seq)
    tx.remove(row, was, stone)
    await leave(tx, row, spec)


# ------------------------------------------------------------- dependants


async def tell(tx: Tx, most: int = ADVANCE) -> None:
    """Tell those that wait for ended jobs; at most so many, the rest with the next step."""
    while most > 0:
        ended = await tx.dependants.next_ended()
        if ended is None:
            return
        job, succeeded = ended
        waiters = await tx.dependants.waiters(job, most)
        for seq in waiters:
            row = await tx.row_at(seq)
            if row is not None:
                await _told(tx, row, job, succeeded)
        most -= max(1, len(waiters))
        if not await tx.dependants.waiters(job, 1):
            await tx.dependants.told(job)


async def _told(tx: Tx, row: Row, job: str, succeeded: bool) -> None:
    spec = tx.spec(row)
    await tx.dependants.drop(row.seq, job)
    if spec.after is None:
        await give_up(tx, row)
    elif not succeeded and spec.after.on_failure is not OnFailure.RUN:
        await fail_dependant(tx, row, spec, job)
    else:
        if not await tx.dependants.still_waits(row.seq):
            await place(tx, row, spec)
        tx.save(row, Code.WAITING)


async def give_up(tx: Tx, row: Row) -> None:
    """Set a job aside that cannot be read. Its bytes stay, for a version that can."""
    facts = tx.facts(row)
    set_aside(facts, tx.body(row))
    spec = tx.spec(row)
    await finish(tx, row, spec, Code.FAILED, facts)
    tx.fates.append(fate_of(row, spec, facts))


async def fail_dependant(tx: Tx, row: Row, spec: NewJob, job: str) -> None:
    """End a job because one that it waits for did not succeed."""
    facts = tx.facts(row)
    state = fail_by(facts, spec, job)
    await finish(tx, row, spec, state, facts)
    tx.fates.append(fate_of(row, spec, facts, reason=facts.reason))


async def dependency_of(tx: Tx, job_id: str) -> bool | None:
    """How a dependency ended: well or not; ``None`` while it has not ended."""
    row = await tx.row(job_id)
    if row is not None:
        return row.state == Code.SUCCEEDED if row.state in FINAL_CODE else None
    gone = await tx.grave(job_id)
    state = None if gone is None or gone[2] is None else state_of(gone[2])
    return not dependency_failed(state)
