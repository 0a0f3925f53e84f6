"""Calls that start more than they should: what a child has started ends with it, by its group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pools import bombs
from treadle import Pool, WorkerCrashed
from treadle.testing.clock import eventually

pytestmark = pytest.mark.slow
_LIMIT = 96 << 20


def runs(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def test_what_a_call_left_behind_ends_with_its_child(tmp_path: Path) -> None:
    with Pool("process", max_workers=1) as pool:
        pids = await pool.submit(bombs.spawn, 40, tmp_path / "pids")
        assert all(map(runs, pids))
        # The call has ended, and its child goes on.
        assert await pool.submit(len, "four") == 4
        await pool.astop()
    await eventually(lambda: not any(map(runs, pids)), 30)


async def test_a_fork_bomb_ends_when_its_call_is_cancelled(tmp_path: Path) -> None:
    with Pool("process", max_workers=1, patience=0.5) as pool:
        call = pool.submit(bombs.forks, 5, tmp_path)
        await eventually(lambda: len(list(tmp_path.iterdir())) == 32, 60)
        pids = [int(file.name) for file in tmp_path.iterdir()]
        call.cancel()
        await eventually(lambda: not any(map(runs, pids)), 30)
        assert await pool.submit(len, "four") == 4
        await pool.astop()


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup of which all members together have little memory."""
    root, name = Path("/sys/fs/cgroup"), f"treadle-test-{os.getpid()}"
    first = root / "memory" / name
    made = first if (root / "memory").is_dir() else root / name
    bound = "memory.limit_in_bytes" if made is first else "memory.max"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"cgroups cannot be made here: {error}")
    try:
        if not (made / bound).exists():
            pytest.skip(f"cgroups here do not count memory: there is no {bound}")
        try:
            (made / bound).write_text(str(_LIMIT))
        except OSError as error:
            pytest.skip(f"cgroups here cannot bound memory: {error}")
        yield made
    finally:
        made.rmdir()


async def test_a_child_that_its_cgroup_ends_crashes_its_call_alone(group: Path) -> None:
    with Pool("process", max_workers=1) as pool:
        try:
            pid = await pool.submit(bombs.enter, group)
        except OSError as error:
            await pool.astop()
            pytest.skip(f"processes cannot be moved into cgroups here: {error}")
        fatal, behind = pool.submit(bombs.swell, 4 * _LIMIT), pool.submit(os.getpid)
        with pytest.raises(WorkerCrashed) as caught:
            await fatal
        assert caught.value.signal == 9
        # Another child, outside of the group.
        assert await behind != pid
        await pool.astop()
