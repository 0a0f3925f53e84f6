"""Time moves on: what is due, lapsed, expired, or has been kept long enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec.structs import astuple, replace

from treadle.backends.common import horizon as common
from treadle.backends.common.attempts import lose_attempt
from treadle.backends.common.fates import fate_of
from treadle.backends.common.horizon import past
from treadle.backends.common.jobrow import FINAL_CODE, Code, Flag, make_ready
from treadle.backends.postgres.ends import finish, give_back, place, remove, tell
from treadle.backends.postgres.reading import Reading
from treadle.backends.postgres.rows import Row
from treadle.backends.postgres.tickets import sweep_permits, sweep_tickets
from treadle.backends.postgres.tx import Tx
from treadle.failpoints import failpoint
from treadle.ports import ADVANCE, QUEUE_CELL
from treadle.records import Cause

__all__ = ["Horizon", "advance", "horizon", "lose", "outpace", "spare"]

_SWEEP = 200
"""Things past their time that one step removes, beside what it grants; see ``outpace``."""


class Horizon(common.Horizon, frozen=True, gc=False):
    """What comes next, as it was seen by the clock of the server."""

    # The earliest end of the time of those jobs that are removed one by one.
    outdated: float | None
    # The time at which this was seen.
    now: float

    def reached(self, now: float) -> bool:
        """Whether there is something to move on that somebody could notice.

        Jobs that were kept long enough are not seen any more, whether they were removed or not.
        """
        seen = (self.due, self.lapse, self.expires, self.permit, self.ticket)
        return self.ended is not None or any(past(at, now) for at in seen)

    def swept(self, now: float) -> bool:
        """Whether no job is left that was kept long enough."""
        return not (past(self.keep, now) or past(self.outdated, now))

    def anything(self, now: float) -> bool:
        """Whether there is something to move on or to remove."""
        return not self.swept(now) or super().anything(now)


async def horizon(reading: Reading) -> Horizon:
    """What comes next."""
    return Horizon(*await reading.one("horizon", reading.now, *astuple(reading.since)))


async def advance(tx: Tx) -> Horizon:
    """Move on at most ``ADVANCE`` jobs of each kind; what comes next after that."""
    now = tx.now
    found = await horizon(tx)
    if past(found.lapse, now) and await spare(tx):
        found = await horizon(tx)

    if past(found.due, now):
        await _each(tx, "due", _come_due)
        tx.moved += ("promote",)
    if past(found.lapse, now):
        await _each(tx, "lapsed", _lapse)
        tx.moved += ("reap",)
    # What has come back from a lease may have expired meanwhile.
    if past(found.expires, now) or past(found.lapse, now):
        await _each(tx, "expired", _expire)
    if found.ended is not None:
        await tell(tx)
    if past(found.permit, now):
        await sweep_permits(tx)
    if past(found.ticket, now):
        await sweep_tickets(tx)
    await _sweep(tx, found, _SWEEP)
    if not found.anything(now):
        return found
    return Horizon(*await tx.look_one("horizon", now, *astuple(tx.since)))


async def spare(tx: Tx) -> bool:
    """Give what has lapsed a moment more, where nobody could renew it."""
    return tx.real and bool((await tx.look_one("spare"))[0])


async def _each(tx: Tx, name: str, step: Callable[[Tx, Row], Awaitable[object]]) -> None:
    """Take a step for each job that a statement finds and that is still there."""
    since = (tx.since.lapsed,) if name == "lapsed" else ()
    seqs = [seq for (seq,) in await tx.look(name, tx.now, ADVANCE, *since)]
    await tx.load_seqs(seqs)
    for seq in seqs:
        row = await tx.row_at(seq)
        # The end of one may have been the end of another, that waited for it.
        if row is not None and row.state not in FINAL_CODE:
            await step(tx, row)


async def _come_due(tx: Tx, row: Row) -> None:
    failpoint("promote.before_send")
    if row.flags & Flag.KEYED:
        await place(tx, row, tx.spec(row))
    else:
        make_ready(row)
    tx.save(row, Code.SCHEDULED)


async def _lapse(tx: Tx, row: Row) -> None:
    failpoint("reap.before_send")
    await lose(tx, row)


async def _expire(tx: Tx, row: Row) -> None:
    spec, facts = tx.spec(row), tx.facts(row)
    facts.cause = Cause.EXPIRED
    await finish(tx, row, spec, Code.FAILED, facts)
    tx.fates.append(fate_of(row, spec, facts))
    await tell(tx)


async def lose(tx: Tx, row: Row, *, closed: bool = False) -> None:
    """End a lease that nobody settled; ``closed`` when its session ended in good order."""
    spec, facts = tx.spec(row), tx.facts(row)
    attempt, crashes = row.attempt, row.crashes
    final = lose_attempt(row, facts, spec, tx.now, closed=closed)
    if final is None:
        await give_back(tx, row, facts)
        if row.crashes > crashes:
            tx.fates.append(fate_of(row, spec, facts, attempt=attempt))
    else:
        await finish(tx, row, spec, final.code, facts)
        tx.fates.append(fate_of(row, spec, facts, attempt=attempt))
        await tell(tx)


# ------------------------------------------------------------- what was kept long enough


async def outpace(tx: Tx, ahead: Horizon, granted: int) -> None:
    """Remove twice what a claim has granted, so that a steady stream of jobs never piles up."""
    if 2 * granted > _SWEEP:
        await _sweep(tx, ahead, 2 * granted - _SWEEP)


async def _sweep(tx: Tx, found: Horizon, most: int) -> None:
    now = tx.now

    if not found.swept(now):
        await _sweep_jobs(tx, most)
    if past(found.gone, now):
        [[gone]] = await tx.run("sweep_gone", now, tx.since.gone, 2 * most)
        tx.since = replace(tx.since, gone=gone)
    if past(found.session, now - 86400.0):
        await tx.run("sweep_sessions", now)
    if past(found.unique, now):
        await tx.run("sweep_unique", now, most)
    if past(found.rate, now):
        await tx.run("sweep_rates", now, most)
    if past(found.cell, now):
        swept = [key for (key,) in await tx.run("sweep_cells", now, most)]
        if any(key.startswith(QUEUE_CELL) for key in swept):
            tx.forget_rules()


async def _sweep_jobs(tx: Tx, most: int) -> None:
    """Remove jobs that were kept long enough, many at once."""
    forget = tx.now + tx.settings.request_ttl
    swept, kept = await tx.look_one("sweep_done", tx.now, tx.since.kept, forget, most)
    tx.since = replace(tx.since, kept=kept)
    left = most - swept
    if left <= 0:
        return
    # Those of which more is known go one by one.
    seqs = [seq for (seq,) in await tx.look("outdated", tx.now, left)]
    await tx.load_seqs(seqs)
    for seq in seqs:
        row = await tx.row_at(seq)
        if row is not None and row.state in FINAL_CODE:
            await remove(tx, row)
