"""Changes from outside: cancel, retry, reschedule, reprioritise, delete."""

from __future__ import annotations

import msgspec

from treadle.backends.common.altering import Tally, known_again, reprioritise, start_over
from treadle.backends.common.jobrow import Code, Flag, state_of
from treadle.backends.common.pushing import instant
from treadle.backends.postgres.ends import finish, place, remove, tell
from treadle.backends.postgres.find import search
from treadle.backends.postgres.push import move_due
from treadle.backends.postgres.rows import Row
from treadle.backends.postgres.tx import Tx
from treadle.backends.postgres.unique import hold, holder_of
from treadle.changes import Outcome, outcome
from treadle.ports import (
    ALTER_MAX,
    Altered,
    Cancel,
    Change,
    Delete,
    Query,
    Reprioritise,
    Reschedule,
    Retry,
)
from treadle.records import JobRecord, NewJob, Scope

__all__ = ["alter"]


async def alter(tx: Tx, query: Query, change: Change) -> Altered:
    """Change the jobs that a query finds."""
    query = msgspec.structs.replace(query, limit=min(query.limit, ALTER_MAX))
    found, cursor, _ = await search(tx, query)
    tally = Tally()
    for one in found:
        row = await tx.row(one.id)
        if row is None:  # it went with one that was changed before
            continue
        step = _Change(tx, row, one)
        result = await step.apply(change)
        tally.add(row.id, result, step.state)
        await tell(tx)
    return tally.altered(cursor)


class _Change:
    """One change of one job."""

    def __init__(self, tx: Tx, row: Row, record: JobRecord) -> None:
        self.tx = tx
        self.row = row
        # A change before this one may have changed it too.
        self.state = state_of(row.state)
        self.spec: NewJob = record.spec

    async def apply(self, change: Change) -> Outcome:
        """Carry it out if the table allows it."""
        result = outcome(change, self.state)
        if result is Outcome.REFUSED:
            return result
        match change:
            case Cancel():
                await self._cancel(result)
            case Retry():
                return await self._retry(change)
            case Reschedule():
                at = instant(change.due, self.tx.now)
                await move_due(self.tx, self.row, self.spec, at)
            case Reprioritise():
                self._reprioritise(change.priority)
            case Delete():
                await remove(self.tx, self.row)
        return result

    async def _cancel(self, result: Outcome) -> None:
        tx, row = self.tx, self.row
        if result is Outcome.ASKED:
            row.flags |= Flag.CANCEL
            tx.save(row, row.state)
        else:
            await finish(tx, row, self.spec, Code.CANCELLED, tx.facts(row))

    def _reprioritise(self, priority: int) -> None:
        row = self.row
        reprioritise(row, priority)
        self.tx.save(row, row.state)
        if row.state in (Code.QUEUED, Code.SUSPECT):
            self.tx.ready.add(row.queue)

    async def _retry(self, change: Retry) -> Outcome:
        """Start a finished job over, at the end of the line."""
        tx, row, spec = self.tx, self.row, self.spec
        if not await self._take_unique():
            return Outcome.REFUSED
        was = row.state
        tx.renumber(row, (await tx.numbers(1))[0])
        tx.save_facts(row, known_again(tx.facts(row)))
        if row.failed_task is not None:
            tx.count_failure(row.failed_task, -1)
        start_over(row, spec)
        row.due = instant(change.due, tx.now)
        await place(tx, row, spec)
        tx.save(row, was)
        return Outcome.DONE

    async def _take_unique(self) -> bool:
        """Hold the unique key again, unless another job has it by now."""
        unique = self.spec.unique
        if unique is None:
            return True
        if await holder_of(self.tx, unique, self.row.id) is not None:
            return False
        if unique.scope is not Scope.FOR:
            hold(self.tx, unique, self.row.id)
        if unique.scope is Scope.UNTIL_STARTED:
            self.row.flags |= Flag.UNIQUE_START
        return True
