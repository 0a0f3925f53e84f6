"""The way to the sockets of other processes, where the path is too long for their names."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from treadle.backends.common.hub import Notice
from treadle.backends.sqlite.peers import Peers, supported

pytestmark = pytest.mark.skipif(
    not supported() or not Path("/proc/self/fd").is_dir(), reason="needs AF_UNIX and /proc"
)


def made(directory: Path) -> Peers:
    long = directory / ("d" * 100)
    long.mkdir(exist_ok=True)
    return Peers(str(long / "jobs.db"), "1-a", lambda notice: None, lambda events: None)


def descriptors() -> set[str]:
    """What this process has open of a database; reading the list opens a descriptor itself."""
    found = set[str]()
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(one.readlink()))
    return {path for path in found if "jobs.db" in path}


def test_two_threads_that_need_it_first_open_one_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = made(tmp_path)
    other = threading.Thread(target=peers.tell, args=(Notice(stirred=True),))
    opened: list[int] = []
    real = os.open

    def slowly(path: Any, flags: int, *rest: Any) -> int:
        if str(path).endswith("-wake"):
            if not opened:
                opened.append(-1)
                other.start()
                other.join(0.2)  # it comes this far too, or waits for its turn
            opened.append(real(path, flags, *rest))
            return opened[-1]
        return real(path, flags, *rest)

    directory = tmp_path / ("d" * 100) / "jobs.db-wake"
    directory.mkdir()
    (directory / "2-b.sock").touch()
    monkeypatch.setattr(os, "open", slowly)
    peers.listen()
    other.join()
    peers.close()
    assert len(opened) == 2  # the mark, and one descriptor
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[1])


def test_after_the_end_nobody_is_told_and_nobody_buried(tmp_path: Path) -> None:
    peers, other = made(tmp_path), tmp_path / ("d" * 100) / "jobs.db-wake" / "2-b.sock"
    peers.listen()
    other.touch()
    peers.close()
    before = descriptors()
    peers.tell(Notice(stirred=True))
    assert other.exists()
    assert descriptors() == before
