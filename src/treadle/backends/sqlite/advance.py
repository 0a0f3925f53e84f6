"""Time moves on: what is due, lapsed, expired, or has been kept long enough."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from treadle.backends.common.lapses import Lapse, Lost, lapse
from treadle.backends.sqlite.ends import (
    finish,
    forget_attempt,
    place,
    record_attempt,
    remove,
    tell,
)
from treadle.backends.sqlite.lines import free, wake_all
from treadle.backends.sqlite.rows import FINAL_CODE, Code, Facts, Flag, Row
from treadle.backends.sqlite.tickets import sweep_permits, sweep_tickets
from treadle.backends.sqlite.tx import Reading, Tx
from treadle.ports import ADVANCE, QUEUE_CELL
from treadle.records import Attempt, Cause

__all__ = ["Horizon", "advance", "horizon", "lose"]

_SWEEP = 200
"""Things past their time that one step removes; more than a claim adds, so it never piles up."""


class Horizon(msgspec.Struct, frozen=True, gc=False):
    """The earliest instant of each kind; ``None`` where there is nothing."""

    due: float | None
    lapse: float | None
    expires: float | None
    keep: float | None
    gone: float | None
    session: float | None
    unique: float | None
    rate: float | None
    permit: float | None
    ticket: float | None
    cell: float | None
    # Jobs have ended whose dependants have not all been told.
    ended: int | None

    def reached(self, now: float) -> bool:
        """Whether there is something to move on that somebody could notice."""
        return self.ended is not None or any(
            at is not None and at <= now
            for at in (self.due, self.lapse, self.expires, self.keep, self.permit, self.ticket)
        )

    def behind(self, now: float) -> bool:
        """Whether there are jobs that another step would make claimable."""
        return self.ended is not None or any(
            at is not None and at <= now for at in (self.due, self.lapse)
        )

    @property
    def next_change(self) -> float | None:
        """When a job changes by itself."""
        times = [at for at in (self.due, self.lapse, self.expires) if at is not None]
        return min(times) if times else None


def horizon(reading: Reading) -> Horizon:
    """What comes next."""
    return Horizon(*reading.one("horizon"))


def advance(tx: Tx) -> Horizon:
    """Move on at most ``ADVANCE`` jobs of each kind; what comes next after that."""
    now = tx.now
    found = horizon(tx)
    before = tx.changed_rows()

    def reached(at: float | None) -> bool:
        return at is not None and at <= now

    if reached(found.due):
        _each(tx, "due", _come_due)
    if reached(found.lapse):
        _each(tx, "lapsed", lose)
    if reached(found.expires):
        _each(tx, "expired", _expire)
    if found.ended is not None:
        tell(tx)
    if reached(found.permit):
        sweep_permits(tx)
    if reached(found.ticket):
        sweep_tickets(tx)
    _sweep(tx, found)
    return found if tx.changed_rows() == before else horizon(tx)


def _each(tx: Tx, name: str, step: Callable[[Tx, Row], object]) -> None:
    """Take a step for each job that a statement finds and that is still there."""
    for (seq,) in tx.run(name, tx.now, ADVANCE).fetchall():
        row = tx.row_at(seq)
        # The end of one may have been the end of another, that waited for it.
        if row is not None and row.state not in FINAL_CODE:
            step(tx, row)


def _come_due(tx: Tx, row: Row) -> None:
    if row.flags & Flag.KEYED:
        place(tx, row, tx.spec(row))
    else:
        tx.make_ready(row)
    tx.save(row, Code.SCHEDULED)


def _expire(tx: Tx, row: Row) -> None:
    facts = tx.facts(row)
    facts.cause = Cause.EXPIRED
    finish(tx, row, tx.spec(row), Code.FAILED, facts)
    tell(tx)


def lose(tx: Tx, row: Row, *, closed: bool = False) -> None:
    """End a lease that nobody settled; ``closed`` when its session ended in good order."""
    spec = tx.spec(row)
    started = bool(row.flags & (Flag.STARTED | Flag.SUSPECT))
    lost = Lost(
        at_most_once=spec.at_most_once,
        cancel_asked=bool(row.flags & Flag.CANCEL),
        started=started,
        crashes=row.crashes,
        max_crashes=spec.max_crashes,
        closed=closed,
    )
    where = lapse(lost)
    facts = tx.facts(row)
    if started:
        _blame(tx, row, facts)
    if where is Lapse.CANCELLED or where is Lapse.FAILED:
        facts.cause = Cause.CRASHED if where is Lapse.FAILED else None
        state = Code.FAILED if where is Lapse.FAILED else Code.CANCELLED
        finish(tx, row, spec, state, facts)
        tell(tx)
        return
    lines = free(tx, row)
    forget_attempt(row)
    if where is Lapse.SUSPECT:
        row.flags |= Flag.SUSPECT
    tx.make_ready(row)
    tx.save_facts(row, facts)
    tx.save(row, Code.RUNNING)
    wake_all(tx, lines)


def _blame(tx: Tx, row: Row, facts: Facts) -> None:
    attempt = Attempt(
        number=row.attempt,
        cause=Cause.CRASHED,
        started=row.started,
        ended=tx.now,
        holder=row.holder or "",
    )
    record_attempt(tx, row, facts, attempt)
    row.crashes += 1
    row.expires = None


# ------------------------------------------------------------- what was kept long enough


def _sweep(tx: Tx, found: Horizon) -> None:
    now = tx.now

    def reached(at: float | None) -> bool:
        return at is not None and at <= now

    if reached(found.keep):
        _sweep_jobs(tx)
    if reached(found.gone):
        tx.run("sweep_gone", now, 2 * _SWEEP)
    if found.session is not None and found.session <= now - 86400.0:
        tx.run("sweep_sessions", now)
        tx.memo.sessions.clear()
    if reached(found.unique):
        tx.run("sweep_unique", now, _SWEEP)
    if reached(found.rate):
        tx.run("sweep_rates", now, _SWEEP)
    if reached(found.cell):
        swept = [key for (key,) in tx.run("sweep_cells", now, _SWEEP).fetchall()]
        if any(key.startswith(QUEUE_CELL) for key in swept):
            tx.memo.forget_rules()


def _sweep_jobs(tx: Tx) -> None:
    """Remove jobs that were kept long enough, many at once."""
    rows = tx.run("outdated", tx.now, _SWEEP).fetchall()
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
