"""The file under the jobs: where it may lie, and what happens when the disk does not play along."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.sqlite_support import claim, finish, job, jobs, opened, session
from treadle.backends.sqlite import connect
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.backends.sqlite.disk import Ballast, file_system, prepare
from treadle.backends.sqlite.reader import Reader
from treadle.backends.sqlite.statements import Statements
from treadle.clock import SystemClock
from treadle.errors import (
    BackendFull,
    BackendReadOnly,
    BackendStalled,
    BackendUnavailable,
    InvalidOption,
    SchemaMismatch,
    UnknownOption,
)
from treadle.ports import Query
from treadle.records import JobState, PushStatus, Settled

# ------------------------------------------------------------- urls


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///jobs.db", str(Path.cwd() / "jobs.db")),
        ("sqlite:////var/lib/jobs.db", "/var/lib/jobs.db"),
        ("sqlite:////tmp/with%20space/jobs.db", "/tmp/with space/jobs.db"),
        ("sqlite:////tmp/with space/jobs.db?durability=normal", "/tmp/with space/jobs.db"),
    ],
)
def test_a_url_names_a_file(url: str, path: str) -> None:
    """Three slashes for the working directory, four for the root."""
    from treadle.backends.sqlite.address import parse

    assert parse(url).path == str(Path(path).resolve())


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite://host/jobs.db", "sqlite:///dir/", "redis:///x"]
)
def test_a_url_without_a_file_is_refused(url: str) -> None:
    """With what to write instead."""
    with pytest.raises(InvalidOption, match="url"):
        connect(url)


def test_what_follows_a_hash_is_not_passed_over() -> None:
    """The jobs would be in a file of another name."""
    with pytest.raises(InvalidOption, match="%23 for # anywhere"):
        connect("sqlite:///jobs#1.db")


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    link = tmp_path / "jobs.db"
    link.symlink_to(link)
    if sys.version_info < (3, 13):  # later ones leave it to the open
        with pytest.raises(InvalidOption, match="cannot be followed"):
            connect(f"sqlite:///{link}")


def test_a_database_in_memory_is_refused() -> None:
    """Nobody else could open it."""
    with pytest.raises(InvalidOption, match="memory://"):
        connect("sqlite:///:memory:")


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    """As all options are."""
    with pytest.raises(UnknownOption, match="did you mean 'durability'"):
        connect("sqlite:///jobs.db?durabilty=normal")


@pytest.mark.parametrize(
    "query", ["durability=fast", "foreign=maybe", "patience=soon", "patience=0", "max_failed=-1"]
)
def test_a_value_that_cannot_work_is_refused(query: str) -> None:
    """Naming the option and the value."""
    name, value = query.split("=")
    with pytest.raises(InvalidOption, match=f"{name}='{value}'"):
        connect(f"sqlite:///jobs.db?{query}")


def test_a_namespace_that_cannot_be_a_prefix_is_refused() -> None:
    """It becomes part of the names of tables."""
    with pytest.raises(InvalidOption, match="namespace"):
        connect("sqlite:///jobs.db", namespace='a"b')


# ------------------------------------------------------------- places


async def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """Payloads are nobody else's business, in whatever file they are."""
    async with opened(tmp_path / "jobs.db") as backend:
        await backend.push([job()])
        files = [path for path in tmp_path.iterdir() if path.is_file()]
        assert len(files) >= 4
        for path in files:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """It is not made: it may be a typing error."""
    with pytest.raises(BackendUnavailable, match="does not exist"):
        async with opened(tmp_path / "nowhere" / "jobs.db"):
            pass


async def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """The url names the directory itself."""
    with pytest.raises(BackendUnavailable, match="is a directory"):
        async with opened(tmp_path):
            pass


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"])
def test_network_file_systems_are_refused(tmp_path: Path, kind: str) -> None:
    """Their locks do not hold."""
    place = tmp_path / "with space"
    place.mkdir()
    mounts = tmp_path / "mounts"
    point = str(place.resolve()).replace(" ", "\\040")
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/export {point} {kind} rw 0 0\n")
    with pytest.raises(BackendUnavailable, match=f"network file system .{kind}"):
        prepare(str(place / "jobs.db"), str(mounts))
    assert not (place / "jobs.db").exists()
    prepare(str(tmp_path / "jobs.db"), str(mounts))


def test_a_file_system_that_cannot_be_told_is_accepted(tmp_path: Path) -> None:
    """Where there is no list of mounts."""
    assert file_system(str(tmp_path), str(tmp_path / "none")) == ""


# ------------------------------------------------------------- other programs, other versions


async def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    """Unless it is asked for; nothing of it is changed."""
    path = tmp_path / "jobs.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE customers (name)")
    other.commit()
    with pytest.raises(SchemaMismatch, match="another program"):
        async with opened(path):
            pass
    assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("customers",)]
    assert other.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    other.close()
    async with opened(path, "?foreign=allow") as backend:
        assert [one.status for one in await backend.push([job()])] == [PushStatus.CREATED]


async def test_an_application_id_of_others_is_refused(tmp_path: Path) -> None:
    """Also when there are no tables yet."""
    path = tmp_path / "jobs.db"
    other = sqlite3.connect(path)
    other.execute("PRAGMA application_id = 7")
    other.close()
    with pytest.raises(SchemaMismatch, match="another program"):
        async with opened(path):
            pass


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """And left as it is."""
    path = tmp_path / "jobs.db"
    path.write_text("dear diary, " * 1000)
    with pytest.raises(SchemaMismatch, match="is not an SQLite database"):
        async with opened(path):
            pass
    assert path.read_text().startswith("dear diary")


async def test_a_newer_schema_is_refused_when_it_says_so(tmp_path: Path) -> None:
    """``min_reader`` decides, not the version."""
    path = tmp_path / "jobs.db"
    async with opened(path):
        pass
    _set_meta(path, version=7, min_reader=1)
    async with opened(path):
        pass
    _set_meta(path, version=7, min_reader=7)
    with pytest.raises(SchemaMismatch, match="newer"):
        async with opened(path):
            pass


def _set_meta(path: Path, **facts: int) -> None:
    connection = sqlite3.connect(path)
    for key, value in facts.items():
        connection.execute("UPDATE treadle_meta SET value = ? WHERE key = ?", (value, key))
    connection.commit()
    connection.close()


async def test_namespaces_do_not_see_each_other(tmp_path: Path) -> None:
    """One file, two sets of tables."""
    path = tmp_path / "jobs.db"
    async with opened(path, namespace="App") as one, opened(path, namespace="app") as two:
        await one.push([job()])
        assert len((await one.find(Query())).records) == 1
        assert (await two.find(Query())).records == ()


# ------------------------------------------------------------- while it is open


async def test_a_file_that_was_removed_is_noticed(tmp_path: Path) -> None:
    """Else jobs would go into a file without a name."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend:
        await backend.push([job()])
        path.rename(tmp_path / "elsewhere.db")
        with pytest.raises(BackendUnavailable, match="was removed"):
            await backend.push([job()])
        (tmp_path / "elsewhere.db").rename(path)
        assert [one.status for one in await backend.push([job()])] == [PushStatus.CREATED]


async def test_who_reads_makes_no_file_in_the_place_of_one_that_was_removed(tmp_path: Path) -> None:
    """An empty one would stand where the jobs are to be put back."""
    path, aside = tmp_path / "jobs.db", tmp_path / "aside.db"
    async with opened(path) as backend:
        await backend.push([job()])
        path.rename(aside)
        reader = Reader(str(path), Statements({}), SystemClock())
        with pytest.raises(BackendUnavailable, match="was removed while it was open"):
            reader.open()
        assert not path.exists()
        aside.rename(path)
        reader.open()
        reader.close()


async def test_a_file_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    """As by a restored copy."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend:
        await backend.push([job()])
        shutil.copy(path, tmp_path / "copy.db")
        (tmp_path / "copy.db").replace(path)
        with pytest.raises(BackendUnavailable, match="replaced"):
            await backend.push([job()])


async def test_a_program_that_locks_the_file_is_named(tmp_path: Path) -> None:
    """Somebody writes without the gate: an error after SQLite's own patience, and no loss."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend:
        backend._store.journal.connection.execute("PRAGMA busy_timeout = 10")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendStalled, match="another program"):
            await backend.push([job()])
        other.execute("ROLLBACK")
        other.close()
        assert [one.status for one in await backend.push([job()])] == [PushStatus.CREATED]


async def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """Told when it is opened. Root may write everything, so another user tries."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend:
        await backend.push([job()])
    script = (
        "import asyncio, os, sys\n"
        "from treadle.backends.sqlite import connect, flock, statements\n"
        "from treadle.errors import BackendReadOnly\n"
        "statements.load('treadle')\n"
        "async def main():\n"
        "    backend = connect(sys.argv[1])\n"
        "    if os.getuid() == 0: os.setuid(65534)\n"
        "    try: await backend.open()\n"
        "    except BackendReadOnly as error: print('read only:', error)\n"
        "asyncio.run(main())\n"
    )
    for part in (path, tmp_path):
        part.chmod(0o555 if part.is_dir() else 0o444)
    for above in tmp_path.parents:
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", script, f"sqlite:///{path}"),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await child.communicate()
    finally:
        tmp_path.chmod(0o755)
        path.chmod(0o600)
    assert said.startswith(b"read only:")


async def test_a_file_that_becomes_read_only(tmp_path: Path) -> None:
    """Told by the step that wanted to write."""
    async with opened(tmp_path / "jobs.db") as backend:
        backend._store.journal.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(BackendReadOnly, match="cannot be written"):
            await backend.push([job()])
        backend._store.journal.connection.execute("PRAGMA query_only = OFF")
        await backend.push([job()])


# ------------------------------------------------------------- full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can make a small file system")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("this machine makes no file systems")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_on_a_full_disk_running_jobs_end(small_disk: Path) -> None:
    """The ballast gives them the space; new jobs are refused till there is some again."""
    async with opened(small_disk / "jobs.db", "?durability=normal") as backend:
        assert (small_disk / "jobs.db-ballast").stat().st_size == Ballast.SIZE
        await backend.push(jobs(50))
        leases = await claim(backend, await session(backend))
        filler = small_disk / "filler"
        _fill(filler)
        accepted = await _push_until_full(backend)
        assert not (small_disk / "jobs.db-ballast").exists()
        assert await finish(backend, leases) == [Settled.OK] * 50
        with pytest.raises(BackendFull):
            await backend.push([job()])
        filler.unlink()
        assert [one.status for one in await backend.push([job()])] == [PushStatus.CREATED]
        assert (small_disk / "jobs.db-ballast").exists()
        page = await backend.find(Query(counts=True))
        counts = page.counts["default"]
        assert counts[JobState.SUCCEEDED] == 50
        assert counts[JobState.QUEUED] == accepted + 1


async def _push_until_full(backend: SqliteBackend) -> int:
    for accepted in range(0, 10_000, 10):
        try:
            await backend.push(jobs(10, payload=b"x" * 1000))
        except BackendFull:
            return accepted
    pytest.fail("the disk was never full")


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


async def test_a_ballast_that_finds_no_space_is_done_without(small_disk: Path) -> None:
    """It opens all the same, to let what runs come to its end."""
    path = small_disk / "jobs.db"
    async with opened(path) as backend:
        await backend.push(jobs(5))
    (small_disk / "jobs.db-ballast").unlink()
    _fill(small_disk / "filler")
    _give(small_disk / "filler", 300_000)
    async with opened(path) as backend:
        assert (await backend.probe())["full"] is True
        with pytest.raises(BackendFull):
            await backend.push([job()])
        leases = await claim(backend, await session(backend))
        assert await finish(backend, leases) == [Settled.OK] * 5


def _give(path: Path, size: int) -> None:
    os.truncate(path, path.stat().st_size - size)
