"""One transaction: what its steps share, and what is written together.

A step locks the rows that it reads and keeps them; what it changes is written in bulk, before
something looks through the jobs and at the end. Steps are alone in their namespace, by the lock
that the transaction begins with, but for plain pushes, claims and settles, which never wait for
a row: so nobody waits in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from treadle.backends.common.damage import facts_of, spec_of
from treadle.backends.common.jobrow import FINAL_CODE, OPEN_CODE, Code, Facts, encode
from treadle.backends.common.rules import Rules, Table, read_rules
from treadle.backends.common.settings import Settings
from treadle.backends.postgres.dependants import Dependants
from treadle.backends.postgres.limits import Limits
from treadle.backends.postgres.parked import Parked
from treadle.backends.postgres.reading import Connection, Reading
from treadle.backends.postgres.rows import Row
from treadle.backends.postgres.seen import EVERYTHING, Since
from treadle.backends.postgres.statements import Statements
from treadle.backends.postgres.uniques import Uniques
from treadle.backends.postgres.writing import Writing
from treadle.fates import Fate
from treadle.queuenames import covers
from treadle.records import NewJob

__all__ = ["Tx"]

_EMPTY = Facts()


class Tx(Reading):
    """A transaction that is being written.

    ``ready`` collects queues that got something to claim, ``changed`` the ids of jobs that
    changed, ``ended`` of those that are final now or gone, ``fates`` what has to be said of jobs
    that ended by themselves, ``stirred`` that a rule changed, ``earliest`` when something will be
    due.
    """

    __slots__ = (
        "_by_id",
        "_by_seq",
        "_counts",
        "_failed",
        "_failures",
        "_graves",
        "_left",
        "_running",
        "_specs",
        "_table",
        "_writing",
        "changed",
        "dependants",
        "earliest",
        "ended",
        "fates",
        "grown",
        "limits",
        "moved",
        "must_sync",
        "parked",
        "ready",
        "real",
        "settings",
        "stirred",
        "to_forget",
        "to_wake",
        "uniques",
    )

    def __init__(
        self,
        connection: Connection,
        sql: Statements,
        settings: Settings,
        now: float,
        *,
        since: Since = EVERYTHING,
        real: bool = False,
    ) -> None:
        super().__init__(connection, sql, now, since=since)
        self.settings = settings
        # Whether the time is the server's own, and not that of a test.
        self.real = real
        self.limits = Limits(self)
        self.uniques = Uniques(self)
        self.dependants = Dependants(self)
        self.parked = Parked(self)
        # Lines that are woken at the end of a batch; ``None`` where they are woken at once.
        self.to_wake: dict[str, None] | None = None
        # Lines that are forgotten at the end of a push if nobody uses them then; ``None`` where
        # they are forgotten at once.
        self.to_forget: dict[str, None] | None = None
        self.ready: set[str] = set()
        self.changed: list[str] = []
        self.ended: list[str] = []
        self.fates: list[Fate] = []
        self.stirred = False
        # It has to reach the disk before it is answered.
        self.must_sync = False
        self.earliest: float | None = None
        # What time has moved on, named as the failpoints name it.
        self.moved: tuple[str, ...] = ()
        # By how many jobs that are not final a queue has become longer.
        self.grown: dict[str, int] = {}
        self._by_id: dict[str, Row | None] = {}
        self._by_seq: dict[int, Row | None] = {}
        self._specs: dict[str, Any] = {}
        # What is left of jobs that are gone.
        self._graves: dict[str, Sequence[Any] | None] = {}
        self._writing = Writing(self)
        self._counts: dict[tuple[int, str], int] = {}
        self._failures: dict[str, int] = {}
        # All failed jobs that were kept before.
        self._failed: int | None = None
        # Queues of which jobs run no longer.
        self._left: set[str] = set()
        self._table: Table | None = None
        # Jobs that run of the queues that have a bound for them.
        self._running: dict[str, int] = {}

    # ------------------------------------------------------------- statements

    async def look(self, name: str, *values: Any) -> Sequence[Any]:
        """Carry out a statement that looks through jobs: what has changed is written first."""
        await self._writing.flush()
        return await self.run(name, *values)

    async def look_one(self, name: str, *values: Any) -> Any:
        """The first row of such a statement, or ``None``."""
        rows = await self.look(name, *values)
        return rows[0] if rows else None

    # ------------------------------------------------------------- jobs

    async def load(self, ids: Iterable[str]) -> None:
        """Lock jobs by id, many at once."""
        wanted = [job_id for job_id in dict.fromkeys(ids) if job_id not in self._by_id]
        if not wanted:
            return
        self.keep(await self.run("jobs_by_id", wanted))
        wanted = [job_id for job_id in wanted if job_id not in self._by_id]
        if wanted:
            self.keep(await self.run("done_by_id", wanted))
            for job_id in wanted:
                self._by_id.setdefault(job_id, None)

    async def load_seqs(self, seqs: Iterable[int]) -> None:
        """Lock jobs by number, many at once."""
        wanted = [seq for seq in dict.fromkeys(seqs) if seq not in self._by_seq]
        if not wanted:
            return
        self.keep(await self.run("jobs_by_seq", wanted))
        wanted = [seq for seq in wanted if seq not in self._by_seq]
        if wanted:
            self.keep(await self.run("done_by_seq", wanted))
            for seq in wanted:
                self._by_seq.setdefault(seq, None)

    def keep(self, rows: Iterable[Any]) -> list[Row]:
        """Remember rows that were read and locked; what was changed here stays."""
        found: list[Row] = []
        for values in rows:
            known = self._by_id.get(values[1])
            if known is None:
                known = Row(*values[:-1])
                self._by_id[known.id] = self._by_seq[known.seq] = known
                self._specs[known.id] = values[-1]
            found.append(known)
        return found

    async def load_graves(self, ids: Iterable[str]) -> None:
        """Read what is left of jobs that are gone, many at once."""
        gone = (job_id for job_id in dict.fromkeys(ids) if self._by_id.get(job_id) is None)
        wanted = [job_id for job_id in gone if job_id not in self._graves]
        if not wanted:
            return
        self._graves.update(dict.fromkeys(wanted))
        for job_id, *grave in await self.look("gone", wanted, self.now):
            self._graves[job_id] = grave

    async def grave(self, job_id: str) -> Sequence[Any] | None:
        """What is left of a job that is gone."""
        if job_id not in self._graves:
            await self.load_graves((job_id,))
        return self._graves.get(job_id)

    async def row(self, job_id: str) -> Row | None:
        """The job of an id."""
        if job_id not in self._by_id:
            await self.load((job_id,))
        return self._by_id[job_id]

    async def row_at(self, seq: int) -> Row | None:
        """The job of a number."""
        if seq not in self._by_seq:
            await self.load_seqs((seq,))
        return self._by_seq[seq]

    def spec(self, row: Row) -> NewJob:
        """What was pushed."""
        body = self._specs.get(row.id)
        return body if type(body) is NewJob else spec_of(row, body)

    def body(self, row: Row) -> Any:
        """What was pushed, as it is stored."""
        body = self._specs.get(row.id)
        return encode(body) if type(body) is NewJob else body

    def facts(self, row: Row) -> Facts:
        """What is true of few jobs; empty for most."""
        return Facts() if row.facts is None else facts_of(row.state, row.facts)

    def save_facts(self, row: Row, facts: Facts) -> None:
        """Keep the facts; they are written with the next :meth:`save`."""
        row.facts = None if facts == _EMPTY else encode(facts)

    def add(self, row: Row, spec: NewJob) -> None:
        """Write a new job."""
        self._by_id[row.id] = self._by_seq[row.seq] = row
        self._specs[row.id] = spec
        self._writing.save(row)
        self.parked.came(row)
        self.count(row.state, row.queue, 1)
        self._awaits(row)

    def save(self, row: Row, was: int) -> None:
        """Write a changed row; ``was`` is the state in which it was read."""
        row.version += 1
        self._writing.save(row)
        self.parked.changed(row, was)
        (self.ended if row.state in FINAL_CODE else self.changed).append(row.id)
        self._awaits(row)
        if was != row.state:
            self.count(was, row.queue, -1)
            self.count(row.state, row.queue, 1)

    def renumber(self, row: Row, seq: int) -> None:
        """Give a job a new place at the end."""
        self._by_seq[row.seq] = None
        row.seq = seq
        self._by_seq[seq] = row

    def remove(self, row: Row, was: int, grave: tuple[Any, ...]) -> None:
        """Remove a job, leaving a tombstone."""
        self._writing.remove(row, grave)
        self._graves[row.id] = grave
        self.parked.gone(row, was)
        self._by_id[row.id] = self._by_seq[row.seq] = None
        self.count(was, row.queue, -1)
        self.ended.append(row.id)

    def bury(self, job_id: str, grave: tuple[Any, ...]) -> None:
        """Leave a tombstone of something that was no job."""
        self._writing.bury(job_id, grave)
        self._graves[job_id] = grave
        self._by_id[job_id] = None

    def forget(self, job_id: str) -> None:
        """An id that was a tombstone is free again."""
        self._by_id.pop(job_id, None)
        self._graves.pop(job_id, None)

    async def flag(self, job_id: str, flag: int) -> None:
        """Mark a live job; no change that anybody would see."""
        row = await self.row(job_id)
        if row is not None and not row.flags & flag:
            row.flags |= flag
            self.touch(row)

    def touch(self, row: Row) -> None:
        """Write a row with no change that anybody would see."""
        self._writing.save(row)

    def put_off(self) -> list[str]:
        """The lines that were to be woken later; from now on they are woken at once."""
        lines, self.to_wake = list(self.to_wake or ()), None
        return lines

    def _awaits(self, row: Row) -> None:
        if row.state == Code.SCHEDULED:
            self.awaits(row.due)
        if row.state < Code.RUNNING:
            self.awaits(row.expires)

    def awaits(self, at: float | None) -> None:
        """Something will happen at an instant; those who wait may have to look then."""
        if at is not None and (self.earliest is None or at < self.earliest):
            self.earliest = at

    # ------------------------------------------------------------- numbers

    def count(self, state: int, queue: str, change: int) -> None:
        """Remember a change of how many jobs of a queue are in a state."""
        counts = self._counts
        counts[state, queue] = counts.get((state, queue), 0) + change
        if state == Code.RUNNING:
            for name in self._running:
                self._running[name] += change if covers(name, queue) else 0
        if state not in FINAL_CODE:
            self.grown[queue] = self.grown.get(queue, 0) + change
        if change > 0 and state in (Code.QUEUED, Code.SUSPECT):
            self.ready.add(queue)
        elif change < 0 and state == Code.RUNNING:
            self._left.add(queue)
        if state == Code.FAILED:
            counts[state, ""] = counts.get((state, ""), 0) + change

    def count_failure(self, task: str, change: int) -> None:
        """Remember a change of how many failed jobs of a task are kept."""
        self._failures[task] = self._failures.get(task, 0) + change

    async def total(self, queue: str, codes: Iterable[int]) -> int:
        """Jobs of the queue and its subqueues in the given states; the empty queue's own."""
        codes = list(codes)
        total = await super().total(queue, codes)
        for (state, name), n in self._counts.items():
            if state in codes and (covers(queue, name) if name else not queue):
                total += n
        return total

    async def open_jobs(self, queue: str) -> int:
        """Jobs of the queue and its subqueues that are not final."""
        return await self.total(queue, OPEN_CODE)

    async def failed_jobs(self) -> int:
        """All failed jobs that are kept. Only steps that take turns change how many."""
        if self._failed is None:
            self._failed = await super().total("", (Code.FAILED,))
        return self._failed + self._counts.get((Code.FAILED, ""), 0)

    async def numbers(self, count: int) -> list[int]:
        """So many new arrival numbers, in order."""
        found: list[int] = (await self.one("numbers", count))[0]
        return found

    async def finish(self) -> None:
        """Write what was put off to the end; the numbers last, because others wait for them."""
        if self.must_sync:
            await self.run("sync")
        await self._writing.flush()
        await self.dependants.flush()
        await self.limits.flush()
        await self.uniques.flush()
        failures = {task: n for task, n in self._failures.items() if n}
        if failures:
            await self.run("count_failures", list(failures), list(failures.values()))
            await self.run("uncount_failures", list(failures))
        counts = [(*key, n) for key, n in sorted(self._counts.items()) if n]
        self._counts.clear()
        if counts:
            states, queues, numbers = zip(*counts, strict=True)
            await self.run("count", states, queues, numbers)
        if self._left:
            # A place under ``max_running`` may have become free, maybe for other queues as well.
            rules = await self.rules()
            bounds = {queue: rules.bounds(queue) for queue in self._left}
            self.ready |= {queue for queue, names in bounds.items() if names}
            self.stirred |= any(names and names != [queue] for queue, names in bounds.items())

    # ------------------------------------------------------------- rules of queues

    async def rules(self) -> Rules:
        """The rules that hold now."""
        if self._table is None:
            self._table = read_rules(await self.run("rules"))
            self._running = {
                name: await self.total(name, (Code.RUNNING,))
                for name, (rule, _) in self._table.items()
                if rule.max_running is not None
            }
        return Rules(self._table, self.now, self._running.__getitem__)

    def forget_rules(self) -> None:
        """Read the rules again."""
        self._table = None
