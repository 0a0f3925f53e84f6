"""The end of a job, and what follows from it: dependants, retention, tombstones."""

from __future__ import annotations

from treadle.backends.common.attempts import forget_attempt
from treadle.backends.common.damage import set_aside, spec_of
from treadle.backends.common.ends import fail_by, grave, kept_for
from treadle.backends.common.fates import fate_of
from treadle.backends.common.jobrow import (
    FINAL_CODE,
    Code,
    Facts,
    Flag,
    JobRow,
    make_ready,
    state_of,
)
from treadle.backends.common.lines import key_line, park
from treadle.backends.common.pushing import dependency_failed
from treadle.backends.sqlite.lines import free, key_full, leave, wake_all
from treadle.backends.sqlite.tx import Tx
from treadle.ports import ADVANCE
from treadle.records import NewJob, OnFailure

__all__ = [
    "bury",
    "finish",
    "give_back",
    "give_up",
    "place",
    "remove",
    "tell",
]


def place(tx: Tx, row: JobRow, spec: NewJob) -> None:
    """Set the state of a job that waits for nothing but its time and its key."""
    row.line = row.line_rank = row.line_units = None
    if row.due is not None and row.due > tx.now:
        row.state = Code.SCHEDULED
    elif spec.key is not None and key_full(tx, spec.key):
        park(row, key_line(spec.key))
    else:
        make_ready(row)


def finish(
    tx: Tx,
    row: JobRow,
    spec: NewJob,
    state: int,
    facts: Facts,
    *,
    result: bytes | None = None,
) -> None:
    """Bring a job into a final state: ``facts`` hold the cause and fault of a failure."""
    was = row.state
    lines = free(tx, row)
    row.state, row.finished = state, tx.now
    row.line = row.line_rank = row.line_units = row.key = row.expires = None
    forget_attempt(row)
    if spec.unique is not None and row.flags & (Flag.UNIQUE_DONE | Flag.UNIQUE_START):
        tx.run("free_unique", spec.unique.key, row.id)
    if row.flags & Flag.AWAITED:
        tx.run("ended", row.id, state == Code.SUCCEEDED)
        row.flags &= ~Flag.AWAITED
    if was == Code.WAITING:
        tx.run("delete_after", row.seq)
    keep = kept_for(spec, state)
    if keep is not None and keep <= 0:
        bury(tx, row, facts)
        _delete(tx, row, was)
    else:
        row.keep_until = None if keep is None else tx.now + keep
        if state == Code.FAILED:
            row.failed_task = spec.task
            tx.count_failure(spec.task, 1)
        tx.save_facts(row, facts)
        if result is not None:
            tx.run_rows("save_results", 2, [row.seq, result])
        tx.save(row, was)
        if state == Code.FAILED:
            _trim_failed(tx)
    if lines:
        wake_all(tx, lines)
    else:
        leave(tx, row, spec)


def give_back(tx: Tx, row: JobRow, facts: Facts) -> None:
    """Let a job go on whose attempt is over and whose row says where."""
    lines = free(tx, row)
    tx.save_facts(row, facts)
    tx.save(row, Code.RUNNING)
    wake_all(tx, lines)


def _trim_failed(tx: Tx) -> None:
    """Keep no more failed jobs than the namespace may; the oldest go first."""
    tx.flush()
    found = tx.one("failed_total")
    excess = (0 if found is None else found[0]) - tx.settings.max_failed
    if excess <= 0:
        return
    for (seq,) in tx.run("oldest_failed", excess).fetchall():
        row = tx.row_at(seq)
        assert row is not None
        remove(tx, row)


# ------------------------------------------------------------- removal


def bury(tx: Tx, row: JobRow, facts: Facts) -> None:
    """Leave a tombstone."""
    tx.run("bury", row.id, *grave(row, facts), tx.now, tx.now + tx.settings.request_ttl)


def remove(tx: Tx, row: JobRow) -> None:
    """Remove a job that does not run, as by ``delete`` or because its time to be kept is over."""
    was = row.state
    facts = tx.facts(row)
    bury(tx, row, facts)
    if was in FINAL_CODE:
        if row.failed_task is not None:
            tx.count_failure(row.failed_task, -1)
        _delete(tx, row, was)
        return
    spec = tx.spec(row)
    if spec.unique is not None and row.flags & (Flag.UNIQUE_DONE | Flag.UNIQUE_START):
        tx.run("free_unique", spec.unique.key, row.id)
    if row.flags & Flag.AWAITED:
        tx.run("ended", row.id, False)
    tx.run("delete_after", row.seq)
    _delete(tx, row, was)
    leave(tx, row, spec)


def _delete(tx: Tx, row: JobRow, was: int) -> None:
    for table in ("delete_job", "delete_body", "delete_result", "drop_facts"):
        tx.run(table, row.seq)
    tx.count(was, row.queue, -1)
    tx.ended.append(row.id)


# ------------------------------------------------------------- dependants


def tell(tx: Tx, most: int = ADVANCE) -> None:
    """Tell those that wait for ended jobs; at most so many, the rest with the next step."""
    while most > 0:
        ended = tx.one("next_ended")
        if ended is None:
            return
        job, succeeded = ended
        waiters = tx.run("waiters", job, most).fetchall()
        for (seq,) in waiters:
            row = tx.row_at(seq)
            if row is not None:
                _told(tx, row, job, bool(succeeded))
        most -= max(1, len(waiters))
        if tx.one("waiters", job, 1) is None:
            tx.run("told", job)


def _told(tx: Tx, row: JobRow, job: str, succeeded: bool) -> None:
    spec = tx.spec(row)
    tx.run("drop_after", row.seq, job)
    if spec.after is None:
        give_up(tx, row)
    elif not succeeded and spec.after.on_failure is not OnFailure.RUN:
        fail_dependant(tx, row, spec, job)
    else:
        if tx.one("still_waits", row.seq) is None:
            place(tx, row, spec)
        tx.save(row, Code.WAITING)


def give_up(tx: Tx, row: JobRow) -> None:
    """Set a job aside that cannot be read. Its bytes stay, for a version that can."""
    facts, body = tx.facts(row), tx.body(row)
    set_aside(facts, body)
    spec = spec_of(row, body)
    finish(tx, row, spec, Code.FAILED, facts)
    tx.fates.append(fate_of(row, spec, facts))


def fail_dependant(tx: Tx, row: JobRow, spec: NewJob, job: str) -> None:
    """End a job because one that it waits for did not succeed."""
    facts = tx.facts(row)
    state = fail_by(facts, spec, job)
    finish(tx, row, spec, state, facts)
    tx.fates.append(fate_of(row, spec, facts, reason=facts.reason))


def dependency_of(tx: Tx, job_id: str) -> bool | None:
    """How a dependency ended: well or not; ``None`` while it has not ended."""
    found = tx.one("state_of", job_id)
    if found is not None:
        return found[0] == Code.SUCCEEDED if found[0] in FINAL_CODE else None
    gone = tx.one("gone", job_id, tx.now)
    state = None if gone is None or gone[2] is None else state_of(gone[2])
    return not dependency_failed(state)
