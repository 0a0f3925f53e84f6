"""What the Redis store counts and what is there agree."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

import msgspec

from treadle.backends.redis import RedisBackend
from treadle.backends.redis.decode import record
from treadle.backends.redis.layout import COMMON, FACTS, KEYED, SUSPECT
from treadle.backends.redis.names import long, short
from treadle.ports import Backend
from treadle.records import FINAL, JobRecord, JobState

OF_JOBS = {b"j", b"f", b"a", b"p", b"r", b"w", b"t", b"d"}
LETTERS = dict(zip(JobState, "WSQRDFC", strict=True))
# All keys with what is in them, in one request: a store has hundreds, and is looked at often.
EVERYTHING = """
local read = {string = {'GET'}, hash = {'HGETALL'}, set = {'SMEMBERS'}, zset = {'ZRANGE', 0, -1},
  list = {'LRANGE', 0, -1}}
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local verb = read[redis.call('TYPE', key).ok]
  found[#found + 1] = {key, redis.call(verb[1], key, unpack(verb, 2))}
end
return found
"""


async def check(backend: Backend) -> None:
    """What the store counts and what is there agree."""
    assert isinstance(backend, RedisBackend)
    store = backend._store
    every = re.sub(r"[{}]", "?", store.prefix) + "*"
    found = await store.link.command("EVAL", EVERYTHING, 0, every)
    Insides({key[len(store.prefix) :]: value for key, value in found}).check()


class Insides:
    """All keys of a namespace."""

    def __init__(self, there: dict[bytes, Any]) -> None:
        # By their names without the prefix.
        self.there = there
        self.keys: dict[str, set[str]] = defaultdict(set)
        for key in there:
            kind, _, rest = key.partition(b":")
            self.keys[kind.decode()].add(long(rest) if kind in OF_JOBS else rest.decode())
        self.stored = {one: self.there[self.key("j", one)] for one in self.keys["j"]}
        self.jobs = {one: self.job(one, stored) for one, stored in self.stored.items()}

    def key(self, kind: str, job_id: str) -> bytes:
        return f"{kind}:".encode() + short(job_id)

    def job(self, job_id: str, stored: bytes) -> JobRecord:
        payload = self.there.get(self.key("p", job_id), b"")
        pairs = self.there.get(self.key("f", job_id), [])
        return record([short(job_id), stored, payload, b"", pairs, [], []])

    def hash(self, key: bytes) -> dict[bytes, bytes]:
        pairs = self.there.get(key, [])
        return dict(zip(pairs[::2], pairs[1::2], strict=True))

    def facts(self, job_id: str) -> dict[bytes, bytes]:
        return self.hash(self.key("f", job_id))

    def names(self, key: str) -> set[str]:
        return {one.decode() for one in self.there.get(key.encode(), [])}

    def ids(self, key: str, start: int = 0) -> set[str]:
        found = self.there.get(key.encode(), [])
        return {long(one[start:]) for one in found if one != b"~" * 65}

    def check(self) -> None:
        self.check_indexes()
        self.check_times()
        self.check_facts()
        self.check_lines()

    def check_indexes(self) -> None:
        there: dict[str, set[str]] = defaultdict(set)
        for one in self.jobs.values():
            letter = "X" if one.suspect and one.state is JobState.QUEUED else LETTERS[one.state]
            there[f"{letter}:{one.spec.queue}"].add(one.id)
        assert {name: self.ids(f"q:{name}") for name in self.keys["q"]} == there
        queues = {name.partition(":")[2] for name in there}
        assert self.names("queues") == queues
        ready = {name[2:] for name in there if name.startswith("Q:")}
        assert self.names("ready") == ready
        suspects = {name[2:] for name in there if name.startswith("X:")}
        assert self.names("suspects") == suspects
        failed = Counter(one.spec.task for one in self.jobs.values() if one.state == "failed")
        assert {task: len(self.ids(f"ft:{task}")) for task in self.keys["ft"]} == failed

    def check_times(self) -> None:
        running = {one.id for one in self.jobs.values() if one.state is JobState.RUNNING}
        assert self.ids("leased") == running
        scheduled = {one.id for one in self.jobs.values() if one.state is JobState.SCHEDULED}
        assert self.ids("due", 12) == scheduled
        for one in self.jobs.values():
            if one.expires is not None and one.state in ("waiting", "scheduled", "queued"):
                assert one.id in self.ids("expiring", 12)
        final = {one.id for one in self.jobs.values() if one.state in FINAL}
        assert self.ids("kept") <= final
        assert self.ids("failed", 12) == {
            one.id for one in self.jobs.values() if one.state is JobState.FAILED
        }

    def check_facts(self) -> None:
        for kind in ("f", "a", "p", "r", "w"):
            assert self.keys[kind] <= set(self.jobs), kind
        for job_id in self.keys["f"]:
            assert COMMON.unpack_from(self.stored[job_id])[1] & FACTS, job_id
        for one in self.jobs.values():
            flags = COMMON.unpack_from(self.stored[one.id])[1]
            assert bool(flags & SUSPECT) == one.suspect
            if one.state is JobState.WAITING:
                parked = self.facts(one.id).get(b"parked")
                assert parked or one.id in self.keys["w"], one.id
            else:
                assert one.id not in self.keys["w"]

    def check_lines(self) -> None:
        held: Counter[str] = Counter()
        members: Counter[str] = Counter()
        for one in self.jobs.values():
            facts = self.facts(one.id)
            if one.state is JobState.RUNNING:
                held.update(_units(facts.get(b"holds")))
            else:
                assert b"holds" not in facts
            if b"parked" in facts:
                assert one.state is JobState.WAITING
                assert one.id in self.ids(f"lw:{facts[b'parked'].decode()}")
            if b"woken" in facts:
                assert one.state is JobState.QUEUED
                assert short(one.id) in self.hash(b"lk:" + facts[b"woken"])
            if COMMON.unpack_from(self.stored[one.id])[1] & KEYED and one.state not in FINAL:
                members[f"key:{one.spec.key}"] += 1
        for permit in self.keys["g"]:
            held.update(_units(self.hash(f"g:{permit}".encode()).get(b"holds")))
        lines = {name: self.hash(f"l:{name}".encode()) for name in self.keys["l"]}
        assert {n: int(one[b"used"]) for n, one in lines.items() if one[b"used"] != b"0"} == held
        assert {
            n: int(one[b"members"]) for n, one in lines.items() if one[b"members"] != b"0"
        } == members
        for name in self.keys["lk"] | self.keys["lw"] | self.keys["lt"]:
            assert name in lines, name
        for name, line in lines.items():
            woken = self.hash(f"lk:{name}".encode()).values()
            assert int(line[b"woken"]) == sum(int(one.partition(b":")[0]) for one in woken)


def _units(holds: bytes | None) -> dict[str, int]:
    return dict(msgspec.msgpack.decode(holds)) if holds else {}
