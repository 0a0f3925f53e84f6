"""Time moves on: what is due, lapsed, expired, or has been kept long enough."""

from __future__ import annotations

import json
from collections.abc import Callable

from treadle.backends.common.attempts import lose_attempt
from treadle.backends.common.fates import fate_of
from treadle.backends.common.horizon import Horizon, past
from treadle.backends.common.jobrow import FINAL_CODE, Code, Flag, JobRow, make_ready
from treadle.backends.sqlite.ends import finish, give_back, place, remove, tell
from treadle.backends.sqlite.tickets import sweep_permits, sweep_tickets
from treadle.backends.sqlite.tx import Reading, Tx
from treadle.failpoints import failpoint
from treadle.ports import ADVANCE, QUEUE_CELL
from treadle.records import Cause

__all__ = ["advance", "horizon", "lose", "outpace"]

_SWEEP = 200
"""Things past their time that one step removes, beside what it grants; see ``outpace``."""


def horizon(reading: Reading) -> Horizon:
    """What comes next."""
    return Horizon(*reading.one("horizon"))


def advance(tx: Tx) -> Horizon:
    """Move on at most ``ADVANCE`` jobs of each kind; what comes next after that."""
    now = tx.now
    found = horizon(tx)
    before = tx.changed_rows()

    if past(found.due, now):
        _each(tx, "due", _come_due)
        tx.moved += ("promote",)
    if past(found.lapse, now):
        _each(tx, "lapsed", _lapse)
        tx.moved += ("reap",)
    # What has come back from a lease may have expired meanwhile.
    if past(found.expires, now) or past(found.lapse, now):
        _each(tx, "expired", _expire)
    if found.ended is not None:
        tell(tx)
    if past(found.permit, now):
        sweep_permits(tx)
    if past(found.ticket, now):
        sweep_tickets(tx)
    _sweep(tx, found, _SWEEP)
    return found if tx.changed_rows() == before else horizon(tx)


def _each(tx: Tx, name: str, step: Callable[[Tx, JobRow], object]) -> None:
    """Take a step for each job that a statement finds and that is still there."""
    for (seq,) in tx.run(name, tx.now, ADVANCE).fetchall():
        row = tx.row_at(seq)
        # The end of one may have been the end of another, that waited for it.
        if row is not None and row.state not in FINAL_CODE:
            step(tx, row)


def _come_due(tx: Tx, row: JobRow) -> None:
    failpoint("promote.before_send")
    if row.flags & Flag.KEYED:
        place(tx, row, tx.spec(row))
    else:
        make_ready(row)
    tx.save(row, Code.SCHEDULED)


def _lapse(tx: Tx, row: JobRow) -> None:
    failpoint("reap.before_send")
    lose(tx, row)


def _expire(tx: Tx, row: JobRow) -> None:
    spec, facts = tx.spec(row), tx.facts(row)
    facts.cause = Cause.EXPIRED
    finish(tx, row, spec, Code.FAILED, facts)
    tx.fates.append(fate_of(row, spec, facts))
    tell(tx)


def lose(tx: Tx, row: JobRow, *, closed: bool = False) -> None:
    """End a lease that nobody settled; ``closed`` when its session ended in good order."""
    spec, facts = tx.spec(row), tx.facts(row)
    attempt, crashes = row.attempt, row.crashes
    final = lose_attempt(row, facts, spec, tx.now, closed=closed)
    if final is None:
        give_back(tx, row, facts)
        if row.crashes > crashes:
            tx.fates.append(fate_of(row, spec, facts, attempt=attempt))
    else:
        finish(tx, row, spec, final.code, facts)
        tx.fates.append(fate_of(row, spec, facts, attempt=attempt))
        tell(tx)


# ------------------------------------------------------------- what was kept long enough


def outpace(tx: Tx, ahead: Horizon, granted: int) -> None:
    """Remove twice what a claim has granted, so that a steady stream of jobs never piles up."""
    if 2 * granted > _SWEEP:
        _sweep(tx, ahead, 2 * granted - _SWEEP)


def _sweep(tx: Tx, found: Horizon, most: int) -> None:
    now = tx.now

    if past(found.keep, now):
        _sweep_jobs(tx, most)
    if past(found.gone, now):
        tx.run("sweep_gone", now, 2 * most)
    if past(found.session, now - 86400.0):
        tx.run("sweep_sessions", now)
        tx.memo.sessions.clear()
    if past(found.unique, now):
        tx.run("sweep_unique", now, most)
    if past(found.rate, now):
        tx.run("sweep_rates", now, most)
    if past(found.cell, now):
        swept = [key for (key,) in tx.run("sweep_cells", now, most).fetchall()]
        if any(key.startswith(QUEUE_CELL) for key in swept):
            tx.memo.forget_rules()


def _sweep_jobs(tx: Tx, most: int) -> None:
    """Remove jobs that were kept long enough, many at once."""
    rows = tx.run("outdated", tx.now, most).fetchall()
    seqs = json.dumps([row[0] for row in rows])
    # The answer to the push of a replaced one is in its facts.
    special = {seq for (seq,) in tx.run("with_facts", seqs).fetchall()}
    for seq in special:
        row = tx.row_at(seq)
        assert row is not None
        remove(tx, row)
    plain = [row for row in rows if row[0] not in special]
    seqs = json.dumps([row[0] for row in plain])
    tx.run("bury_many", tx.now, tx.now + tx.settings.request_ttl, seqs)
    for name in ("delete_jobs", "delete_bodies", "delete_results"):
        tx.run(name, seqs)
    for _, queue, state, failed_task in plain:
        tx.count(state, queue, -1)
        if failed_task is not None:
            tx.count_failure(failed_task, -1)
