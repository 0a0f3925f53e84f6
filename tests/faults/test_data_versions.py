"""What was stored once can be read for ever, and what is newer is not destroyed."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.backends.sqlite_support import claim, finish, job, opened, session
from tests.faults.damage_support import damage, overwrite
from tests.fixtures.first_values import ENVELOPES, VALUES, codec, shape
from tests.fixtures.make_first_format import FOLDER, Expected, make
from tests.model.sqlite_insides import check
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.ports import Held, Query, QueueRule, Write
from treadle.records import (
    Cause,
    JobRecord,
    JobState,
    PushStatus,
    Renewal,
    Settled,
    Unique,
)
from treadle.testing import ManualClock

FORMATS = ("first_format",)


class Recorded(msgspec.Struct):
    """A recorded store, opened by the code of today."""

    backend: SqliteBackend
    clock: ManualClock
    expected: Expected


def expected_of(name: str) -> Expected:
    return msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=Expected)


@pytest.fixture(params=FORMATS)
async def recorded(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Recorded]:
    """A copy of each recorded store, at the time at which it was left."""
    path = tmp_path / "jobs.db"
    shutil.copy(FOLDER / f"{request.param}.sqlite", path)
    expected = expected_of(request.param)
    clock = ManualClock(expected.now)
    async with opened(path, clock=clock) as backend:
        yield Recorded(backend, clock, expected)


async def everything(backend: SqliteBackend) -> dict[str, JobRecord]:
    page = await backend.find(Query(limit=1000))
    return {record.id: record for record in page.records}


async def test_every_job_of_a_recorded_store_is_read_as_it_was(recorded: Recorded) -> None:
    """In every state, with everything that a job can have."""
    found = await everything(recorded.backend)
    assert found == recorded.expected.records
    assert {record.state for record in found.values()} == set(JobState)


async def test_a_foreman_from_before_the_update_goes_on(recorded: Recorded) -> None:
    """Its session is known, its lease is renewed, its verdict is taken."""
    backend, expected = recorded.backend, recorded.expected
    held = [Held(token=expected.held.token, started=True)]
    assert await backend.extend(expected.session, held, 30.0) == [Renewal.HELD]
    assert await finish(backend, [expected.held]) == [Settled.OK]
    assert await finish(backend, [expected.held]) == [Settled.ALREADY]


async def test_what_a_recorded_store_holds_back_is_held_back(recorded: Recorded) -> None:
    """Tombstones, unique keys, pauses and cells."""
    backend, expected = recorded.backend, recorded.expected
    assert [one.status for one in await backend.push([expected.buried])] == [PushStatus.EXISTS]
    other = job(unique=Unique(key="u"))
    assert [one.status for one in await backend.push([other])] == [PushStatus.DUPLICATE]
    assert await claim(backend, await session(backend), queues=("paused",)) == ()
    cells = await backend.read(["own", "queue:paused", "session:*"])
    assert cells["own"].value == b"cell"
    rule = msgspec.msgpack.decode(cells["queue:paused"].value, type=QueueRule)
    assert rule == QueueRule(paused=True, reason="for a while", by="me", max_running=4)
    assert f"session:{expected.session.nonce:x}" in cells


async def test_a_recorded_store_is_served_to_its_end(recorded: Recorded) -> None:
    """Leases lapse, times come, dependencies end, permits and tickets run out."""
    backend, clock = recorded.backend, recorded.clock
    await backend.write([Write(key="queue:paused", value=None)])
    clock.advance(1e6 + 1.0)
    who = await session(backend)
    ended: set[str] = set()
    for request in range(1, 61):
        leases = await claim(backend, who, request, lease=1e6)
        assert set(await finish(backend, leases)) <= {Settled.OK}
        ended |= {lease.token.job_id for lease in leases}
        clock.advance(1.0)
    unfinished = {
        record.id for record in recorded.expected.records.values() if record.finished is None
    }
    # One had to be run within its time, another may be tried once only.
    late = {
        record.id
        for record in recorded.expected.records.values()
        if record.expires is not None or record.spec.at_most_once
    }
    assert ended == unfinished - late
    assert not [one for one in (await everything(backend)).values() if one.finished is None]
    await check(backend)


@pytest.mark.parametrize("name", FORMATS)
def test_recorded_envelopes_are_opened(name: str) -> None:
    """Bare, with headers, signed."""
    for kind, stored in expected_of(name).envelopes.items():
        headers, signed = ENVELOPES[kind]
        envelope = codec(signed=signed).open(bytes.fromhex(stored), associated=b"bound")
        assert (envelope.headers, envelope.body) == (headers, b"body"), kind
        assert bool(envelope.key) is signed


@pytest.mark.parametrize("name", FORMATS)
def test_recorded_arguments_and_results_are_decoded(name: str) -> None:
    """Each kind of value comes back as what it was."""
    expected = expected_of(name)
    for kind, stored in expected.arguments.items():
        hint, value = VALUES[kind]
        args, kwargs = shape(hint).decode(bytes.fromhex(stored))
        assert (args, kwargs) == ((), {"value": value}), kind
        assert type(kwargs["value"]) is type(value)
        assert shape(hint).decode_result(bytes.fromhex(expected.results[kind])) == value, kind


async def test_the_recorded_store_holds_what_can_be_stored(tmp_path: Path) -> None:
    """Made anew it has as many jobs and values: what is added to one is recorded by the other."""
    now = await make(tmp_path)
    newest = expected_of(FORMATS[-1])
    assert len(now.records) == len(newest.records)
    assert now.arguments.keys() == newest.arguments.keys() == VALUES.keys()
    assert now.envelopes.keys() == newest.envelopes.keys() == ENVELOPES.keys()


# ------------------------------------------------------------- older and newer records


async def test_fields_that_a_newer_version_adds_are_passed_over(tmp_path: Path) -> None:
    """Records grow at their end: half of the processes may be updated before the others."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend:
        one = job(meta={"a": 1})
        await backend.push([one])
        who = await session(backend)

        def grown(was: bytes) -> bytes:
            return msgspec.msgpack.encode([*msgspec.msgpack.decode(was), {"new": [1]}, "more"])

        overwrite(path, "body", one.id, grown)
        damage(path, "UPDATE treadle_session SET info = ?", grown(msgspec.msgpack.encode(who.info)))
        [lease] = await claim(backend, who)
        assert lease.spec == one
        assert len(await backend.read(["session:*"])) == 1
        # Untouched: who wrote it can still read all of it.
        stored: list[bytes] = []
        overwrite(path, "body", one.id, lambda was: stored.append(was) or was)
        assert msgspec.msgpack.decode(stored[0])[-2:] == [{"new": [1]}, "more"]


async def test_fields_that_an_older_version_did_not_have_are_given(tmp_path: Path) -> None:
    """Down to the three that every job has."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend:
        one = job()
        await backend.push([one])
        overwrite(
            path,
            "body",
            one.id,
            lambda was: msgspec.msgpack.encode(msgspec.msgpack.decode(was)[:3]),
        )
        [lease] = await claim(backend, await session(backend))
        assert lease.spec == one


async def test_a_kind_of_record_that_is_not_known_is_kept_whole(tmp_path: Path) -> None:
    """It cannot be carried out here; a version that knows it can, once it is retried."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend:
        one = job(payload=bytes(100_000))
        await backend.push([one])

        def newer(was: bytes) -> bytes:
            fields = msgspec.msgpack.decode(was)
            fields[11] = [["borrow", "key", 5]]
            return msgspec.msgpack.encode(fields)

        overwrite(path, "body", one.id, newer)
        assert await claim(backend, await session(backend)) == ()
        [record] = (await everything(backend)).values()
        assert (record.state, record.cause) == (JobState.FAILED, Cause.UNDECODABLE)
        stored: list[bytes] = []
        overwrite(path, "body", one.id, lambda was: stored.append(was) or was)
        assert stored == [newer(msgspec.msgpack.encode(one))]
