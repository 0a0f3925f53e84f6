"""Files of the embedded store belong to their owner alone, and links in their place are refused."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from treadle import Treadle
from treadle.backends.sqlite.disk import SIBLINGS, too_open
from treadle.errors import TreadleError
from treadle.foreman.page import Page

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files of Windows have no modes")


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """What the process takes away from the rights of new files; nothing, at the worst."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def rights(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


async def test_all_files_are_the_owners_alone(umask: int, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir(0o700)
    seen: dict[str, int] = {}
    async with Treadle(f"sqlite:///{folder}/jobs.db") as app:

        @app.task(name="t")
        async def t() -> None:
            for path in folder.rglob("*"):
                seen[path.name] = rights(path)

        job = await t.aenqueue()
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
        await job.aresult()
    for suffix in ("", "-wal", "-shm", "-lock", "-ballast"):
        assert seen[f"jobs.db{suffix}"] == 0o600, suffix
    assert seen["jobs.db-wake"] == 0o700
    assert too_open(str(folder / "jobs.db")) == []


@pytest.mark.parametrize("suffix", SIBLINGS)
@pytest.mark.parametrize("target", ["a file", "a directory", "nothing"])
async def test_a_planted_link_is_refused_and_what_it_points_to_is_left_alone(
    suffix: str, target: str, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    if target == "a file":
        victim.write_text("precious")
    elif target == "a directory":
        victim.mkdir()
    (tmp_path / f"jobs.db{suffix}").symlink_to(victim)
    app = Treadle(f"sqlite:///{tmp_path}/jobs.db")

    @app.task(name="t")
    async def t() -> None: ...

    with pytest.raises(TreadleError, match="symbolic link"):
        await t.aenqueue()
    await app.aclose()
    if target == "a file":
        assert victim.read_text() == "precious"
    elif target == "a directory":
        assert list(victim.iterdir()) == []
    else:
        assert not victim.exists()


@pytest.mark.parametrize("what", ["a file of others", "a pipe", "a socket"])
async def test_what_is_no_database_is_not_written_to(what: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        path.write_bytes(b"precious" * 1000)
    app = Treadle(f"sqlite:///{path}")

    @app.task(name="t")
    async def t() -> None: ...

    with pytest.raises(TreadleError):
        await t.aenqueue()
    await app.aclose()
    if what == "a file of others":
        assert path.read_bytes() == b"precious" * 1000


def test_a_shared_page_is_the_owners_and_is_never_one_that_was_there(
    umask: int, tmp_path: Path
) -> None:
    path = tmp_path / "page"
    Page.create(path, 4)
    assert rights(path) & 0o077 == 0
    with pytest.raises(FileExistsError):
        Page.create(path, 4)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        Page.create(link, 4)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("path", "mode", "says"),
    [
        ("jobs.db", 0o644, "others can read jobs.db"),
        ("jobs.db", 0o660, "others can write jobs.db"),
        ("jobs.db-lock", 0o666, "others can write jobs.db-lock"),
        (".", 0o777, "others can put files into"),
    ],
)
def test_doctor_says_when_others_have_rights(
    path: str,
    mode: int,
    says: str,
    shell: Shell,
) -> None:
    shell.directory.chmod(0o700)
    shell.enqueue("add", "1")
    assert "rights" not in shell("doctor", status=1).out
    (shell.directory / path).chmod(mode)
    shown = shell("doctor", status=1).out
    assert f"warn  rights: {says}" in shown
    assert "chmod" in shown
