"""One write transaction: what its steps share, and what is written once at its end."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from treadle.backends.common.damage import facts_of, spec_of
from treadle.backends.common.jobrow import FINAL_CODE, OPEN_CODE, Code, Facts, Flag, JobRow, encode
from treadle.backends.common.rules import Rules, Table, read_rules
from treadle.backends.common.settings import Settings
from treadle.backends.sqlite.grants import Grants
from treadle.backends.sqlite.statements import Statements, sizes
from treadle.fates import Fate
from treadle.queuenames import ALL
from treadle.records import NewJob

__all__ = ["Memo", "Reading", "Surprise", "Tx"]

_BLOCKING = frozenset({Code.QUEUED, Code.SUSPECT, Code.RUNNING})


class Surprise(Exception):
    """Something is not as it nearly always is: the step is to be done again, carefully."""


class Memo:
    """What the writer knows of the store without reading, as long as nobody else writes."""

    def __init__(self) -> None:
        self.grants = Grants()
        self.rules: Table | None = None
        self.sequence: int | None = None
        # When the presence of a session ends.
        self.sessions: dict[int, float] = {}
        # The member of a named queue that was served last.
        self.turns: dict[str, str | None] = {}
        # No suspect waits anywhere.
        self.no_suspects = False

    def forget_rules(self) -> None:
        """Read the rules again."""
        self.rules = None

    def forget(self) -> None:
        """Read everything again; what is granted proves itself."""
        self.rules = None
        self.sequence = None
        self.sessions.clear()
        self.turns.clear()
        self.no_suspects = False


class Reading:
    """Named statements on one connection, at one moment."""

    __slots__ = ("execute", "now", "sql")

    def __init__(self, connection: sqlite3.Connection, sql: Statements, now: float = 0.0) -> None:
        self.execute = connection.execute
        self.sql = sql
        self.now = now

    def run(self, name: str, *values: Any) -> sqlite3.Cursor:
        """Carry out a named statement."""
        return self.execute(self.sql[name], values)

    def one(self, name: str, *values: Any) -> Any:
        """The first row of a named statement, or ``None``."""
        return self.execute(self.sql[name], values).fetchone()

    def row(self, job_id: str) -> JobRow | None:
        """The job of an id."""
        found = self.one("row_by_id", job_id)
        return None if found is None else JobRow(*found)

    def row_at(self, seq: int) -> JobRow | None:
        """The job of a number."""
        found = self.one("row_by_seq", seq)
        return None if found is None else JobRow(*found)

    def spec(self, row: JobRow) -> NewJob:
        """What was pushed."""
        return spec_of(row, self.body(row))

    def body(self, row: JobRow) -> Any:
        """What was pushed, as it is stored."""
        found = self.one("body", row.seq)
        return None if found is None else found[0]

    def facts(self, row: JobRow) -> Facts:
        """What is true of few jobs; empty for most."""
        if not row.flags & Flag.FACTS:
            return Facts()
        found = self.one("facts", row.seq)
        return facts_of(row.state, None if found is None else found[0])

    def total(self, queue: str, codes: Iterable[int]) -> int:
        """Jobs of the queue and its subqueues in the given states."""
        if queue == ALL:
            return sum(self.one("total_of_all", code)[0] for code in codes)
        return sum(self.one("total", code, queue, queue + ".", queue + "/")[0] for code in codes)


class Tx(Reading):
    """A transaction that is being written.

    ``ready`` collects queues that got something to claim, ``changed`` the ids of jobs that
    changed, ``ended`` of those that are final now or gone, ``fates`` what has to be said of jobs
    that ended by themselves, ``stirred`` that a rule changed,
    ``earliest`` when something will be due; ``must_sync`` asks for a sync of the disk where the
    operation has none, ``then`` what is to be done in this process once it is committed.
    """

    __slots__ = (
        "_connection",
        "_counts",
        "_failures",
        "_numbered",
        "careful",
        "changed",
        "earliest",
        "ended",
        "fates",
        "grants",
        "grown",
        "memo",
        "moved",
        "must_sync",
        "ready",
        "settings",
        "stirred",
        "then",
    )

    def __init__(
        self, connection: sqlite3.Connection, sql: Statements, settings: Settings, memo: Memo
    ) -> None:
        super().__init__(connection, sql)
        self.grants = memo.grants
        self._connection = connection
        self.settings = settings
        self.memo = memo
        self.ready: set[str] = set()
        self.changed: list[str] = []
        self.ended: list[str] = []
        self.fates: list[Fate] = []
        self.then: list[Callable[[], object]] = []
        # A shortcut has failed before; take none.
        self.careful = False
        self.must_sync = False
        self.stirred = False
        self.earliest: float | None = None
        # What time has moved on, named as the failpoints name it.
        self.moved: tuple[str, ...] = ()
        # By how many jobs that are not final a queue has become longer.
        self.grown: dict[str, int] = {}
        self._counts: dict[tuple[int, str], int] = {}
        self._failures: dict[str, int] = {}
        self._numbered = False

    # ------------------------------------------------------------- jobs

    def run_rows(self, name: str, width: int, values: list[Any]) -> int:
        """Carry out a statement of many rows; ``values`` are those of all rows, flat.

        Returns:
            How many rows it changed.
        """
        at = changed = 0
        for size in sizes(len(values) // width):
            done = self.execute(self.sql.rows(name, size), values[at : at + size * width])
            changed += done.rowcount
            at += size * width
        return changed

    def save_facts(self, row: JobRow, facts: Facts) -> None:
        """Keep the facts; the flag is kept with the next :meth:`save`."""
        if facts == Facts():
            if row.flags & Flag.FACTS:
                self.run("drop_facts", row.seq)
                row.flags &= ~Flag.FACTS
            return
        self.run("save_facts", row.seq, encode(facts))
        row.flags |= Flag.FACTS

    def save(self, row: JobRow, was: int) -> None:
        """Write a changed row; ``was`` is the state in which it was read."""
        row.version += 1
        state = row.state
        blocks = row.key is not None and (
            state in _BLOCKING
            or (state == Code.SCHEDULED and (row.tries > 0 or row.flags & Flag.PAID))
            or (state == Code.WAITING and row.line is not None)
        )
        self.run(
            "save",
            *(state, row.rank, row.flags, row.fence, row.nonce, row.tries, row.crashes),
            *(row.version, row.due, row.expires, row.started, row.finished, row.until),
            *(row.keep_until, row.ended_fence, row.ended_nonce, row.holder, row.line),
            *(row.line_rank, row.line_units, row.key, 1 if blocks else 0, row.failed_task, row.seq),
        )
        (self.ended if state in FINAL_CODE else self.changed).append(row.id)
        if state == Code.SCHEDULED:
            self.awaits(row.due)
        elif state < Code.RUNNING:
            self.awaits(row.expires)
        if was != state:
            self.count(was, row.queue, -1)
            self.count(state, row.queue, 1)

    def changed_rows(self) -> int:
        """How many rows this connection has changed so far; to see whether a step did."""
        return self._connection.total_changes

    def awaits(self, at: float | None) -> None:
        """Something will happen at an instant; those who wait may have to look then."""
        if at is not None and (self.earliest is None or at < self.earliest):
            self.earliest = at

    # ------------------------------------------------------------- numbers

    def count(self, state: int, queue: str, change: int) -> None:
        """Remember a change of how many jobs of a queue are in a state."""
        counts = self._counts
        counts[state, queue] = counts.get((state, queue), 0) + change
        if state not in FINAL_CODE:
            self.grown[queue] = self.grown.get(queue, 0) + change
        if change > 0:
            if state in (Code.QUEUED, Code.SUSPECT):
                self.ready.add(queue)
                if state == Code.SUSPECT:
                    self.memo.no_suspects = False
        elif state == Code.RUNNING and (bounds := self.rules.bounds(queue)):
            # A place under ``max_running`` became free, maybe for other queues as well.
            self.ready.add(queue)
            self.stirred |= bounds != [queue]
        if state == Code.FAILED:
            counts[state, ""] = counts.get((state, ""), 0) + change

    def count_failure(self, task: str, change: int) -> None:
        """Remember a change of how many failed jobs of a task are kept."""
        self._failures[task] = self._failures.get(task, 0) + change

    def flush(self) -> None:
        """Write the numbers, before they are read and at the end."""
        if self._counts:
            deltas = [(*key, n) for key, n in self._counts.items() if n]
            self._counts.clear()
            at = 0
            for size in sizes(len(deltas)):
                flat = [value for delta in deltas[at : at + size] for value in delta]
                left = self.execute(self.sql.rows("count", size), flat).fetchall()
                for state, queue, n in left:
                    if n == 0:
                        self.run("uncount", state, queue)
                at += size
        if self._failures:
            for task, n in self._failures.items():
                self.run("count_failures", task, n)
                self.run("uncount_failures", task)
            self._failures.clear()

    def numbers(self, count: int) -> int:
        """The first of so many new arrival numbers in a row."""
        last: int = self.one("sequence")[0] if self.memo.sequence is None else self.memo.sequence
        self.memo.sequence = last + count
        self._numbered = True
        return last + 1

    def finish(self) -> None:
        """Write what was put off to the end."""
        self.flush()
        if self._numbered:
            self.run("save_sequence", self.memo.sequence)

    # ------------------------------------------------------------- rules of queues

    @property
    def rules(self) -> Rules:
        """The rules that hold now."""
        if self.memo.rules is None:
            self.memo.rules = read_rules(self.run("rules").fetchall())
        return Rules(self.memo.rules, self.now, self._running)

    def _running(self, queue: str) -> int:
        self.flush()
        return self.total(queue, (Code.RUNNING,))

    def open_jobs(self, queue: str) -> int:
        """Jobs of the queue and its subqueues that are not final."""
        self.flush()
        return self.total(queue, OPEN_CODE)
