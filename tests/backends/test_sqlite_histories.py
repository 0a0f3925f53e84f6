"""Random histories: SQLite answers what memory answers, and what it counts stays true."""

from __future__ import annotations

import random  # noqa: TID251 - a history is seeded
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from treadle.backends import open as open_backend
from treadle.backends.sqlite import SqliteBackend
from treadle.backends.sqlite.rows import STATES
from treadle.backends.sqlite.tx import Reading
from treadle.ids import SystemIds
from treadle.ports import (
    Backend,
    Cancel,
    Claim,
    Delete,
    Held,
    Query,
    QueueRule,
    Reprioritise,
    Reschedule,
    Retry,
    Settlement,
    Write,
)
from treadle.records import (
    FINAL,
    After,
    Hold,
    In,
    JobRecord,
    JobState,
    Keep,
    NewJob,
    OnConflict,
    OnFailure,
    Scope,
    Session,
    SessionInfo,
    Spend,
    Token,
    Unique,
)
from treadle.testing import ManualClock
from treadle.verdicts import Again, Cancelled, Done, Failed, Released, Verdict

QUEUES = ("a", "a.x", "a.y", "a.x.1", "b", "c")
STEPS = 120


class Script:
    """Random steps, the same for every store."""

    def __init__(self, seed: int, *, limits: bool) -> None:
        self.chance = random.Random(seed)
        self.ids = SystemIds(ManualClock(), random.Random(seed))
        self.limits = limits
        self.pushed: list[str] = []

    def maybe(self, share: float, value: Any) -> Any:
        return value if self.chance.random() < share else None

    def asks(self) -> tuple[Hold | Spend, ...]:
        asks: list[Hold | Spend] = []
        if self.limits and self.chance.random() < 0.2:
            units = self.chance.choice((1, 1, 2))
            asks.append(Hold(key=self.chance.choice("mn"), slots=2, units=units))
        if self.limits and self.chance.random() < 0.2:
            asks.append(Spend(key=self.chance.choice("rs"), count=5, per=1.0))
        return tuple(asks)

    def job(self) -> NewJob:
        pick = self.chance.choice
        unique = Unique(
            key=pick("uvw"), scope=pick(list(Scope)), ttl=5.0, on_conflict=pick(list(OnConflict))
        )
        others = (pick(self.pushed), pick(self.pushed)) if self.pushed else ()
        after = After(ids=tuple(dict.fromkeys(others)), on_failure=pick(list(OnFailure)))
        return NewJob(
            id=self.ids.new(),
            task=pick(("t.one", "t.two")),
            payload=b"",
            queue=pick(QUEUES),
            priority=pick((0, 0, 0, 5, -5)),
            due=self.maybe(0.2, In(self.chance.uniform(0, 5))),
            expires=self.maybe(0.1, In(self.chance.uniform(0, 9))),
            unique=self.maybe(0.15, unique),
            key=self.maybe(0.3, pick("kl")) if self.limits else None,
            key_slots=pick((1, 1, 2)),
            ordered=self.chance.random() < 0.4,
            asks=self.asks(),
            after=self.maybe(0.15, after),
            at_most_once=self.chance.random() < 0.1,
            keep=pick(
                (Keep(), Keep(succeeded=0.0, failed=0.0, cancelled=0.0), Keep(succeeded=3.0))
            ),
            flow=self.maybe(0.1, "f"),
            bound=self.maybe(0.1, 30),
        )

    def jobs(self) -> list[NewJob]:
        jobs = [self.job() for _ in range(self.chance.randint(1, 4))]
        if self.pushed and self.chance.random() < 0.2:
            known = self.chance.choice(self.pushed)
            jobs.append(msgspec.structs.replace(jobs[0], id=known))
        self.pushed += [job.id for job in jobs]
        return jobs

    def verdict(self) -> Verdict:
        return self.chance.choice(
            (
                Done(result=b"r"),
                Done(),
                Again(delay=self.chance.choice((0.0, 1.0))),
                Failed(),
                Released(),
                Released(delay=1.0, reason="later"),
                Cancelled(),
            )
        )

    def change(self) -> Any:
        return self.chance.choice(
            (
                Cancel(),
                Delete(),
                Retry(),
                Reprioritise(priority=self.chance.choice((-5, 0, 5))),
                Reschedule(due=In(self.chance.uniform(-1, 3))),
            )
        )

    def rule(self) -> bytes | None:
        rules = (QueueRule(paused=True), QueueRule(max_running=2), QueueRule(), None)
        rule = self.chance.choice(rules)
        return None if rule is None else msgspec.msgpack.encode(rule)


class Player:
    """One store under a script; tokens are told without the nonce, which only it knows."""

    def __init__(self, backend: Backend, clock: ManualClock) -> None:
        self.backend = backend
        self.clock = clock
        self.sessions: list[Session] = []
        self.requests: list[int] = []
        self.tokens: dict[tuple[str, int], Token] = {}

    async def open(self) -> None:
        self.sessions.append(await self.backend.open_session(SessionInfo(name="s")))
        self.requests.append(0)

    async def claim(self, index: int, limit: int, **fields: Any) -> Any:
        self.requests[index] += 1
        ask = Claim(
            session=self.sessions[index], request=self.requests[index], limit=limit, **fields
        )
        claimed = await self.backend.claim(ask)
        assert await self.backend.claim(ask) == claimed
        told: list[Any] = []
        for lease in claimed.leases:
            key = (lease.token.job_id, lease.token.fence)
            self.tokens[key] = lease.token
            told.append((*key, lease.tries, lease.crashes, lease.releases, lease.suspect))
        return told, claimed.suspects_wait

    async def settle(self, keys: Sequence[tuple[str, int]], rest: Sequence[Any]) -> Any:
        ends = [
            Settlement(token=self.tokens[key], verdict=verdict, follow_ups=follow)
            for key, (verdict, follow) in zip(keys, rest, strict=True)
        ]
        return await self.backend.settle(ends), await self.backend.settle(ends)

    async def extend(self, index: int, keys: Sequence[Any], started: bool, lease: float) -> Any:
        held = [Held(token=self.tokens[key], started=started) for key in keys]
        return await self.backend.extend(self.sessions[index], held, lease)

    async def records(self) -> list[JobRecord]:
        page = await self.backend.find(Query(limit=1000, oldest_first=True))
        return [_plain(record) for record in page.records]

    async def numbers(self) -> Any:
        page = await self.backend.find(Query(limit=1, counts=True))
        return page.counts, page.failures


def _plain(record: JobRecord) -> JobRecord:
    """Without what may differ: how often something was written, numbers, what no longer counts."""
    expires = None if record.state in FINAL else record.expires
    return msgspec.structs.replace(record, version=0, seq=0, expires=expires)


def _differences(one: JobRecord, other: JobRecord) -> dict[str, tuple[Any, Any]]:
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in one.__struct_fields__}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


class History:
    """Plays a script on several stores at once and compares their answers."""

    def __init__(self, script: Script, players: Sequence[Player]) -> None:
        self.script = script
        self.players = players
        self.held: list[tuple[str, int]] = []

    async def both(self, verb: str, *args: Any, **fields: Any) -> Any:
        answers = [await getattr(player, verb)(*args, **fields) for player in self.players]
        assert all(answer == answers[0] for answer in answers), (verb, args, answers)
        return answers[0]

    async def ask(self, verb: str, *args: Any) -> Any:
        answers = [await getattr(player.backend, verb)(*args) for player in self.players]
        assert all(answer == answers[0] for answer in answers), (verb, args, answers)
        return answers[0]

    async def step(self) -> None:
        chance = self.script.chance
        names = ["push", "claim", "settle"] * 3 + ["extend", "alter", "rule", "time", "sessions"]
        await getattr(self, f"do_{chance.choice(names)}")()

    async def do_push(self) -> None:
        await self.ask("push", self.script.jobs())

    async def do_claim(self) -> None:
        chance = self.script.chance
        told, _ = await self.both(
            "claim",
            chance.randrange(2),
            chance.randint(1, 6),
            queues=chance.choice((("*",), ("a", "b"), ("a.x", "*"), ("c", "a"))),
            exclude=chance.choice(((), (), ("a.y",), ("b",))),
            lease=4.0,
            holding=chance.choice((0, len(self.held))),
        )
        self.held += [tuple(lease[:2]) for lease in told]

    async def do_settle(self) -> None:
        chance = self.script.chance
        chance.shuffle(self.held)
        count = chance.randint(0, 4)
        chosen, self.held = self.held[:count], self.held[count:]
        follow = (self.script.job(),) if chance.random() < 0.1 else ()
        rest = [(self.script.verdict(), follow) for _ in chosen]
        await self.both("settle", chosen, rest)

    async def do_extend(self) -> None:
        chance = self.script.chance
        keys = [key for key in self.held if chance.random() < 0.5]
        lease = chance.choice((0.0, 1.0, 4.0, 8.0))
        await self.both("extend", chance.randrange(2), keys, chance.random() < 0.5, lease)

    async def do_alter(self) -> None:
        pushed = self.script.pushed or ["no"]
        ids = tuple(dict.fromkeys(self.script.chance.choice(pushed) for _ in range(2)))
        await self.ask("alter", Query(ids=ids), self.script.change())

    async def do_rule(self) -> None:
        name = f"queue:{self.script.chance.choice(QUEUES)}"
        await self.ask("write", [Write(key=name, value=self.script.rule())])

    async def do_time(self) -> None:
        seconds = self.script.chance.choice((0.1, 0.5, 1.0, 4.5))
        for player in self.players:
            player.clock.advance(seconds)
        # Which fifty lapse first is the store's own affair.
        await self.ask("find", Query(limit=0))

    async def do_sessions(self) -> None:
        if self.script.chance.random() < 0.2:
            for player in self.players:
                await player.backend.close_session(player.sessions.pop(0))
                player.requests.pop(0)
                await player.open()

    async def compare(self) -> None:
        first, second = [await player.records() for player in self.players]
        for one, other in zip(first, second, strict=True):
            assert _differences(one, other) == {}
        await self.both("numbers")

    async def finish(self) -> None:
        """Serve everything until nothing is left."""
        for player in self.players:
            writes = [Write(key=f"queue:{name}", value=None) for name in QUEUES]
            assert await player.backend.write(writes)
            for _ in range(300):
                player.clock.advance(1.0)
                told, _ = await player.claim(0, 10)
                keys = [tuple(lease[:2]) for lease in told]
                await player.settle(keys, [(Done(), ())] * len(keys))
                if not [one for one in await player.records() if one.state not in FINAL]:
                    break
            else:
                pytest.fail("some jobs were never served")


async def _player(url: str, seed: int, max_failed: int) -> Player:
    clock = ManualClock()
    ids = SystemIds(clock, random.Random(seed))
    player = Player(open_backend(url, clock=clock, ids=ids, max_failed=max_failed), clock)
    await player.backend.open()
    await player.open()
    await player.open()
    return player


@pytest.mark.parametrize("seed", range(8))
async def test_the_answers_of_memory(tmp_path: Path, seed: int) -> None:
    """Without limits each answer and each record is the same."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}?durability=normal"
    # Which of those that failed at one instant go first is the store's own affair.
    players = [await _player("memory://", seed, 1000), await _player(url, seed, 1000)]
    history = History(Script(seed, limits=False), players)
    try:
        for _ in range(STEPS):
            await history.step()
            await history.compare()
            await check(players[1].backend)
        await history.finish()
    finally:
        for player in players:
            player.backend.close()


@pytest.mark.parametrize("seed", range(8))
async def test_limits_hold_and_everything_ends(tmp_path: Path, seed: int) -> None:
    """With keys, slots and rates no bound is passed, and nobody waits for ever."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}?durability=normal"
    player = await _player(url, seed, 5)
    history = History(Script(seed, limits=True), [player])
    try:
        for _ in range(STEPS):
            await history.step()
            await check(player.backend)
        await history.finish()
        await check(player.backend)
    finally:
        player.backend.close()


async def check(backend: Backend) -> None:
    """What the store counts and what is there agree."""
    assert isinstance(backend, SqliteBackend)
    await backend._store.read(_check)


def _check(reading: Reading) -> None:
    sql = reading.execute
    counted = dict(sql("SELECT state || queue, n FROM treadle_count WHERE queue > ''").fetchall())
    there = sql("SELECT state || queue, count(*) FROM treadle_job GROUP BY state, queue").fetchall()
    assert counted == dict(there)
    failures = dict(sql("SELECT task, n FROM treadle_failure").fetchall())
    failed = sql("SELECT failed_task, count(*) FROM treadle_job WHERE state = 5 GROUP BY 1")
    assert failures == dict(failed.fetchall())
    _check_limits(reading)
    _check_rows(reading)


def _check_limits(reading: Reading) -> None:
    sql = reading.execute
    held = dict(sql("SELECT name, sum(units) FROM treadle_hold GROUP BY name").fetchall())
    for name, slots, taken in sql("SELECT name, slots, held FROM treadle_limit").fetchall():
        assert taken == held.pop(name, 0)
        # Fewer slots may have been declared since; two at the most ever were.
        assert taken <= max(slots, 2)
    assert held == {}
    owners = sql("SELECT owner FROM treadle_hold").fetchall()
    running = {job_id for (job_id,) in sql("SELECT id FROM treadle_job WHERE state = 3")}
    assert {owner for (owner,) in owners} <= running


def _check_rows(reading: Reading) -> None:
    sql = reading.execute
    for table in ("body", "result", "facts", "after"):
        orphans = f"SELECT 1 FROM treadle_{table} WHERE seq NOT IN (SELECT seq FROM treadle_job)"
        assert sql(orphans).fetchone() is None, table
    columns = "id, state, line, until, key, blocks, flags & 64, seq"
    for job_id, code, line, until, key, blocks, facts, seq in sql(
        f"SELECT {columns} FROM treadle_job"
    ).fetchall():
        state = STATES[code]
        assert (until is not None) == (state is JobState.RUNNING), job_id
        assert line is None or state is JobState.WAITING
        if state is JobState.WAITING and line is None:
            assert sql("SELECT 1 FROM treadle_after WHERE seq = ?", (seq,)).fetchone()
        assert key is None or state not in FINAL
        assert bool(facts) == bool(
            sql("SELECT 1 FROM treadle_facts WHERE seq = ?", (seq,)).fetchone()
        )
        if key is not None and state in (JobState.QUEUED, JobState.RUNNING):
            assert blocks == 1
