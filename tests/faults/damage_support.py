"""A store with jobs in every state, and ways to damage what is stored of them."""

from __future__ import annotations

import random  # noqa: TID251  seeded below
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tests.backends.sqlite_support import claim, finish, job, session
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.faults import Fault
from treadle.ports import Cancel, Held, Query, Settlement
from treadle.records import After, Cause, In, Note, Session
from treadle.testing import ManualClock
from treadle.verdicts import Again, Failed, Released

__all__ = ["DAMAGES", "STATES", "Populated", "damage", "mutated", "overwrite", "populate"]

Bytes = Callable[[bytes], Any]
"""What takes the place of stored bytes; ``None`` removes the row."""

DAMAGES: dict[str, Bytes] = {
    "empty": lambda was: b"",
    "one_byte": lambda was: b"\x9d",
    "random": lambda was: random.Random(1).randbytes(200),
    "zeros": lambda was: bytes(4096),
    "cut_in_half": lambda was: was[: len(was) // 2],
    "last_byte_missing": lambda was: was[:-1],
    "a_text": lambda was: "a text, not bytes",
    "a_number": lambda was: 7,
    "a_map": lambda was: msgspec.msgpack.encode({"id": "x"}),
    "a_list_of_others": lambda was: msgspec.msgpack.encode([[1], {"a": 2}, None, 3.5, "x"]),
    "a_list_where_a_text_is_due": lambda was: msgspec.msgpack.encode([["id"], ["task"], b""]),
    "another_job": lambda was: msgspec.msgpack.encode(job(queue="elsewhere", key="k")),
    "compressed": lambda was: zlib.compress(bytes(1 << 26)),
    "claims_to_be_huge": lambda was: b"\x93\xdb\xff\xff\xff\xff" + was,
    "nested_a_million_deep": lambda was: b"\x91" * 1_000_000 + b"\xc0",
    "maps_nested_a_million_deep": lambda was: b"\x93\xa1a\xa1b" + b"\x81\xa0" * 1_000_000,
    "missing": lambda was: None,
}

STATES = ("queued", "suspect", "running", "scheduled", "retrying", "waiting", "parked")
ENDED = ("failed", "succeeded", "cancelled")


class Populated(msgspec.Struct):
    """The ids of jobs by the state that they were brought into, and who holds the running ones."""

    who: Session
    ids: dict[str, str]
    running: Any
    requests: int


async def populate(backend: SqliteBackend, clock: ManualClock, queue: str) -> Populated:
    """One job in each state; those that can have a history have one."""
    who = await session(backend)
    ids: dict[str, str] = {}
    # A suspect is granted alone, so it is made last but for those that are not claimed.
    for state in ("failed", "succeeded", "cancelled", "retrying", "running", "suspect"):
        ids[state] = await _run(backend, state, queue)
    leases = {}
    for number, state in enumerate(("failed", "succeeded", "cancelled", "retrying", "running"), 1):
        [lease] = await claim(backend, who, number, 1, queues=(f"{queue}.{state}",), lease=1e6)
        leases[state] = lease
    note = Note(current=1.0, message="half", checkpoint=b"c")
    held = [Held(token=lease.token, started=True, note=note) for lease in leases.values()]
    await backend.extend(who, held, 1e6)
    await finish(backend, [leases["succeeded"]])
    fault = Fault(type="ValueError", message="no")
    await backend.settle(
        [
            Settlement(
                token=leases["failed"].token, verdict=Failed(cause=Cause.ERROR, fault=fault)
            ),
            Settlement(
                token=leases["retrying"].token,
                verdict=Again(delay=50.0, cause=Cause.ERROR, fault=fault),
            ),
            Settlement(token=leases["cancelled"].token, verdict=Released(delay=9.0, reason="no")),
        ]
    )
    await backend.alter(Query(ids=(ids["cancelled"],)), Cancel())
    [lost] = await claim(backend, who, 6, 1, queues=(f"{queue}.suspect",), lease=1e6)
    await backend.extend(who, [Held(token=lost.token, started=True, note=note)], 0.0)
    ids["scheduled"] = await _push(backend, queue=queue, due=In(60.0))
    ids["queued"] = await _push(backend, queue=queue)
    ids["waiting"] = await _push(backend, queue=queue, after=After(ids=(ids["queued"],)))
    ids["parked"] = await _push(backend, queue=queue, key=f"{queue}.key")
    return Populated(who, ids, leases["running"], 6)


async def _run(backend: SqliteBackend, state: str, queue: str) -> str:
    key = f"{queue}.key" if state == "running" else None
    return await _push(backend, queue=f"{queue}.{state}", key=key)


async def _push(backend: SqliteBackend, **fields: Any) -> str:
    one = job(**fields)
    await backend.push([one])
    return one.id


def overwrite(path: Path, table: str, job_id: str, how: Bytes) -> bool:
    """Damage what a table has of a job, as another program could; whether it had anything."""
    column = {"body": "spec", "facts": "data", "result": "data"}[table]
    connection = sqlite3.connect(path, timeout=30.0)
    try:
        [seq] = connection.execute("SELECT seq FROM treadle_job WHERE id = ?", (job_id,)).fetchone()
        found = connection.execute(
            f"SELECT {column} FROM treadle_{table} WHERE seq = ?", (seq,)
        ).fetchone()
        if found is None:
            return False
        value = how(found[0])
        if value is None:
            connection.execute(f"DELETE FROM treadle_{table} WHERE seq = ?", (seq,))
        else:
            connection.execute(
                f"UPDATE treadle_{table} SET {column} = ? WHERE seq = ?", (value, seq)
            )
        connection.commit()
        return True
    finally:
        connection.close()


def damage(path: Path, statement: str, *values: Any) -> None:
    """Carry out one statement as another program."""
    connection = sqlite3.connect(path, timeout=30.0)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


def mutated(chance: random.Random, was: bytes) -> bytes:
    """Bytes with a few flipped, cut out, doubled or put in."""
    data = bytearray(was)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 8))
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 30)]
            case _:
                del data[at:]
    return bytes(data)
