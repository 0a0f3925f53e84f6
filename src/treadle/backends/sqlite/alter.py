"""Changes from outside: cancel, retry, reschedule, reprioritise, delete."""

from __future__ import annotations

import msgspec

from treadle.backends.common.changes import Outcome, outcome
from treadle.backends.sqlite.ends import finish, place, remove, tell
from treadle.backends.sqlite.find import Found, search
from treadle.backends.sqlite.lines import line_rank
from treadle.backends.sqlite.push import instant, move_due
from treadle.backends.sqlite.rows import Code, Facts, Flag, Row, state_of
from treadle.backends.sqlite.tx import Tx
from treadle.backends.sqlite.unique import hold, holder_of
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
from treadle.records import JobState, NewJob, Scope

__all__ = ["alter"]


def alter(tx: Tx, query: Query, change: Change) -> Altered:
    """Change the jobs that a query finds."""
    query = msgspec.structs.replace(query, limit=min(query.limit, ALTER_MAX))
    found, cursor, _ = search(tx, query)
    done: list[str] = []
    asked: list[str] = []
    refused: dict[str, JobState] = {}
    for one in found:
        row = tx.row(one.row.id)
        if row is None:  # it went with one that was changed before
            continue
        step = _Change(tx, row, one)
        result = step.apply(change)
        if result is Outcome.DONE:
            done.append(row.id)
        elif result is Outcome.ASKED:
            asked.append(row.id)
        else:
            refused[row.id] = step.state
        tell(tx)
    return Altered(done=tuple(done), asked=tuple(asked), refused=refused, cursor=cursor)


class _Change:
    """One change of one job."""

    def __init__(self, tx: Tx, row: Row, found: Found) -> None:
        self.tx = tx
        self.row = row
        # A change before this one may have changed it too.
        self.state = state_of(row.state)
        self.spec: NewJob = found.record.spec

    def apply(self, change: Change) -> Outcome:
        """Carry it out if the table allows it."""
        result = outcome(change, self.state)
        if result is Outcome.REFUSED:
            return result
        match change:
            case Cancel():
                self._cancel(result)
            case Retry():
                return self._retry(change)
            case Reschedule():
                at = instant(self.tx, change.due)
                assert at is not None
                move_due(self.tx, self.row, self.spec, at)
            case Reprioritise():
                self._reprioritise(change.priority)
            case Delete():
                remove(self.tx, self.row)
        return result

    def _cancel(self, result: Outcome) -> None:
        tx, row = self.tx, self.row
        if result is Outcome.ASKED:
            row.flags |= Flag.CANCEL
            tx.save(row, row.state)
        else:
            finish(tx, row, self.spec, Code.CANCELLED, tx.facts(row))

    def _reprioritise(self, priority: int) -> None:
        row = self.row
        row.rank = -priority
        if row.line is not None:
            row.line_rank = line_rank(row.flags, row.rank)
        self.tx.save(row, row.state)
        if row.state in (Code.QUEUED, Code.SUSPECT):
            self.tx.ready.add(row.queue)

    def _retry(self, change: Retry) -> Outcome:
        """Start a finished job over, at the end of the line."""
        tx, row, spec = self.tx, self.row, self.spec
        if not self._take_unique():
            return Outcome.REFUSED
        was = row.state
        seq = tx.numbers(1)
        for table in ("renumber_job", "renumber_body", "renumber_facts"):
            tx.run(table, seq, row.seq)
        row.seq = seq
        before = tx.facts(row)
        facts = Facts(note=before.note, attempts=before.attempts, replaced=before.replaced)
        tx.save_facts(row, facts)
        if row.failed_task is not None:
            tx.count_failure(row.failed_task, -1)
            row.failed_task = None
        row.tries = row.crashes = 0
        row.started = row.finished = row.keep_until = row.expires = None
        row.key = spec.key
        row.due = instant(tx, change.due)
        place(tx, row, spec)
        tx.save(row, was)
        return Outcome.DONE

    def _take_unique(self) -> bool:
        """Hold the unique key again, unless another job has it by now."""
        unique = self.spec.unique
        if unique is None:
            return True
        if holder_of(self.tx, unique, self.row.id) is not None:
            return False
        if unique.scope is not Scope.FOR:
            hold(self.tx, unique, self.row.id)
        if unique.scope is Scope.UNTIL_STARTED:
            self.row.flags |= Flag.UNIQUE_START
        return True
