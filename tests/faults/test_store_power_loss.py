"""What a power failure leaves of an SQLite store: always a state that it has been in."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random  # noqa: TID251  seeded below
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.backends.sqlite_support import claim, finish, job, jobs, opened, session
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.ports import Cancel, Held, Query, QueueRule, Settlement, Write
from treadle.records import After, Hold, In, Settled, Spend, Unique
from treadle.verdicts import Again, Failed

ROOT = Path(__file__).parents[2]
HEADER, FRAME = 32, 24 + 4096
SECTOR = 512


class Commit(msgspec.Struct, frozen=True):
    """The store after a commit."""

    # Length of the write-ahead log.
    end: int
    # Digest of all tables.
    state: str
    # Whether it was on the disk before it was answered.
    durable: bool


class Life:
    """The files of a store that was cut off, and all the states that it has been in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commits: list[Commit] = []
        self.database = b""
        self.log = b""
        # What lay in the log before this life, and is written over.
        self.before = b""

    def begin(self, path: Path) -> None:
        """Begin with a log that was written back and is about to be written over."""
        self.before = Path(f"{path}-wal").read_bytes()
        self.commits = [Commit(0, state_of(path), durable=True)]

    def note(self, path: Path, *, durable: bool) -> None:
        """Take down a commit."""
        end = filled(Path(f"{path}-wal").read_bytes())
        self.commits.append(Commit(end, state_of(path), durable))

    def take(self, path: Path) -> None:
        """Keep the files as they are."""
        self.database = path.read_bytes()
        self.log = Path(f"{path}-wal").read_bytes()
        assert filled(self.log) == self.commits[-1].end
        assert self.log[16:24] != self.before[16:24]
        assert self.left(b"") == self.commits[0].state

    def left(self, log: bytes) -> str:
        """The state of the store when this is left of its log; it must be sound."""
        folder = self.folder / "left"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = folder / "jobs.db"
        path.write_bytes(self.database)
        Path(f"{path}-wal").write_bytes(log)
        return state_of(path)

    def at(self, offset: int) -> Commit:
        """The last commit that is whole before an offset of the log."""
        return max((one for one in self.commits if one.end <= offset), key=lambda one: one.end)

    def boundaries(self) -> Iterator[int]:
        """Where frames end."""
        yield from range(HEADER, len(self.log) + 1, FRAME)


def filled(log: bytes) -> int:
    """Where the frames of the present round of a log end; older ones may follow."""
    end = HEADER
    while log[end + 8 : end + 16] == log[16:24] and len(log) >= end + FRAME:
        end += FRAME
    return end


def state_of(path: Path) -> str:
    """A digest of all tables of a sound database."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        digest = hashlib.sha256()
        for line in connection.iterdump():
            digest.update(line.encode())
        return digest.hexdigest()
    finally:
        connection.close()


@pytest.fixture(params=["a new log", "a log written over"])
async def life(tmp_path: Path, request: pytest.FixtureRequest) -> Life:
    """A store that has done all that stores do."""
    folder = tmp_path / "life"
    folder.mkdir()
    path = folder / "jobs.db"
    found = Life(tmp_path)
    async with opened(path) as backend:
        found.note(path, durable=True)
        if request.param == "a new log":
            found.commits[0] = Commit(0, found.commits[0].state, durable=True)
        else:
            await _work(backend, found, path)
            backend._store.journal._checkpoint()
            found.begin(path)
        await _work(backend, found, path)
        found.take(path)
    return found


async def _work(backend: SqliteBackend, life: Life, path: Path) -> None:
    who = await session(backend)
    life.note(path, durable=False)
    for number in range(6):
        fields = (
            {},
            {"payload": bytes(9000)},
            {"due": In(60.0)},
            {"key": "k"},
            {"asks": (Hold(key="m", slots=1), Spend(key="r", count=5, per=1.0))},
            {"unique": Unique(key="u")},
        )[number]
        await backend.push(jobs(3, queue=f"q{number}", **fields))
        life.note(path, durable=True)
        leases = await claim(backend, who, number + 1, 4, queues=("q0", "*"))
        life.note(path, durable=False)
        held = [Held(token=one.token, started=True) for one in leases]
        await backend.extend(who, held, 30.0)
        life.note(path, durable=False)
        verdicts = (Failed(), Again(delay=5.0))
        ends = [
            Settlement(token=lease.token, verdict=verdict)
            for lease, verdict in zip(leases, verdicts, strict=False)
        ]
        for end in ends:
            assert await backend.settle([end]) == [Settled.OK]
            life.note(path, durable=True)
        for lease in leases[2:]:
            assert await finish(backend, [lease]) == [Settled.OK]
            life.note(path, durable=True)
    one = job()
    await backend.push([one, job(after=After(ids=(one.id,)))])
    life.note(path, durable=True)
    await backend.alter(Query(ids=(one.id,)), Cancel())
    life.note(path, durable=True)
    rule = msgspec.msgpack.encode(QueueRule(paused=True))
    await backend.write([Write(key="queue:q1", value=rule)])
    life.note(path, durable=True)
    await backend.close_session(who)
    life.note(path, durable=True)


@pytest.mark.parametrize("number", [100, pytest.param(2000, marks=pytest.mark.slow)])
async def test_a_log_cut_anywhere_is_a_moment_of_the_past(life: Life, number: int) -> None:
    """Exactly the last commit that is whole: no half of one, and none that is whole is lost."""
    chance = random.Random(number)
    at_frames = [*life.boundaries()]
    near = [offset + by for offset in at_frames for by in (-1, 1)]
    anywhere = [chance.randrange(len(life.log) + 1) for _ in range(number // 2)]
    if number < len(at_frames):
        at_frames = chance.sample(at_frames, number // 2)
    offsets = [0, *at_frames, *chance.sample(near, min(len(near), number // 4)), *anywhere]
    for offset in (one for one in offsets if 0 <= one <= len(life.log)):
        assert life.left(life.log[:offset]) == life.at(offset).state, offset


@pytest.mark.parametrize("number", [50, pytest.param(1500, marks=pytest.mark.slow)])
async def test_a_flipped_bit_ends_the_log_there(life: Life, number: int) -> None:
    """What comes before it stands, what comes after it is not believed."""
    chance = random.Random(number)
    for _ in range(number):
        offset = chance.randrange(HEADER, len(life.log))
        log = bytearray(life.log)
        log[offset] ^= 1 << chance.randrange(8)
        assert life.left(bytes(log)) == life.at(offset).state, offset


@pytest.mark.parametrize("number", [50, pytest.param(1500, marks=pytest.mark.slow)])
async def test_nothing_that_was_synced_is_lost(life: Life, number: int) -> None:
    """Sectors that were written after the last sync arrive on the disk in any order, or never."""
    chance = random.Random(number)
    order = {commit.state: index for index, commit in enumerate(life.commits)}
    for _ in range(number):
        # The power fails at some commit, or within the one after it.
        last = chance.randrange(1, len(life.commits))
        synced = max(index for index in range(last) if life.commits[index].durable)
        written = life.commits[last].end
        log = bytearray(life.log[:written] + life.before[written:])
        # The head of the log is synced before anything behind it is written.
        for start in range(max(HEADER, life.commits[synced].end), written, SECTOR):
            if chance.random() < 0.5:
                end = min(written, start + SECTOR)
                log[start:end] = life.before[start:end].ljust(end - start, b"\0")
        assert synced <= order[life.left(bytes(log))] <= last


async def test_what_is_left_is_served(life: Life) -> None:
    """The backend opens it and goes on where it was."""
    chance = random.Random(7)
    for commit in chance.sample(life.commits, 8):
        life.left(life.log[: commit.end])
        async with opened(life.folder / "left" / "jobs.db") as backend:
            await backend.push([job(queue="new")])
            leases = await claim(backend, await session(backend), queues=("new",))
            assert await finish(backend, leases) == [Settled.OK]


# ------------------------------------------------------------- what is on the disk by when


def calls(trace: str) -> Iterator[tuple[str, str, str]]:
    """Name, arguments and answer of each call to the system, in the order of their ends."""
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            begun[pid] = rest.removesuffix("<unfinished ...>").rstrip()
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>,?(.*)", rest):
            rest = begun.pop(pid, "") + resumed[1]
        if found := re.match(r"(\w+)\((.*)\)\s+=\s+(-?\d+)", rest):
            yield found[1], found[2], found[3]


class Disk:
    """Follows which files have been written and not yet synced."""

    def __init__(self, path: Path) -> None:
        self.names = {f"{path}": "database", f"{path}-wal": "log"}
        self.dirty: set[str] = set()
        self.open: dict[str, str] = {}
        self.synced = 0

    def follow(self, name: str, arguments: str, answer: str) -> str | None:
        """The word that was said, if it was one."""
        handle = arguments.partition(",")[0].strip()
        file = self.open.get(handle)
        if name == "openat" and (path := re.search(r'"([^"]*)"', arguments)):
            self.open.pop(answer, None)
            if path[1] in self.names:
                self.open[answer] = self.names[path[1]]
        elif name in ("pwrite64", "write") and file:
            if file == "database":
                assert "log" not in self.dirty, "the log is written back before it is synced"
            self.dirty.add(file)
        elif name == "ftruncate" and file == "log":
            assert "database" not in self.dirty, "the log is emptied before the database is synced"
        elif name in ("fsync", "fdatasync") and file:
            self.synced += 1
            self.dirty.discard(file)
        elif name == "close":
            self.open.pop(handle, None)
        elif name == "write" and handle == "1" and (said := re.search(r'"([\w-]+)', arguments)):
            return said[1]
        return None


@pytest.mark.skipif(shutil.which("strace") is None, reason="calls to the system cannot be seen")
@pytest.mark.parametrize("durability", ["full", "normal"])
async def test_what_was_answered_is_on_the_disk(tmp_path: Path, durability: str) -> None:
    """With ``full`` each push, end and change was synced before its answer; claims were not."""
    path, trace = tmp_path / "jobs.db", tmp_path / "trace"
    child = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-qq", "-o", str(trace)),
        *("-e", "trace=openat,close,pwrite64,write,fsync,fdatasync,ftruncate"),
        *(sys.executable, "-m", "tests.faults.power_child"),
        f"sqlite:///{path}?durability={durability}",
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, told = await child.communicate()
    if b"ptrace" in told.lower():
        pytest.skip("this machine lets nobody look at calls to the system")
    assert said.endswith(b"closed\n"), told.decode()
    disk = Disk(path)
    unsynced: list[str] = []
    words: list[str] = []
    for name, arguments, answer in calls(trace.read_text(errors="replace")):
        word = disk.follow(name, arguments, answer)
        if word is not None:
            words.append(word)
            if "log" in disk.dirty:
                unsynced.append(word)
    assert said.decode().split() == words
    assert disk.synced > 0
    if durability == "full":
        # What comes next is synced together with it.
        assert unsynced == ["opened", "claimed", "extended"]
    else:
        assert unsynced == words[:-1]
