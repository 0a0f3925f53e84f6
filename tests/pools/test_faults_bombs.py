"""Calls that start more than they should: what a child has started ends with it, by its group."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pools import bombs
from tests.pools.processes import until
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


def _bounded(kind: str, bounds: dict[str, int]) -> Iterator[Path]:
    """A cgroup of which all members together have little of something.

    Args:
        kind: ``memory`` or ``pids``.
        bounds: the file that bounds it, where there is one for each kind and where not.
    """
    root, name = Path("/sys/fs/cgroup"), f"treadle-test-{os.getpid()}"
    made = root / kind / name if (root / kind).is_dir() else root / name
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"cgroups cannot be made here: {error}")
    try:
        bound = next((one for one in bounds if (made / one).exists()), None)
        if bound is None:
            pytest.skip(f"cgroups here do not count {kind}: there is no {' or '.join(bounds)}")
        try:
            (made / bound).write_text(str(bounds[bound]))
        except OSError as error:
            pytest.skip(f"cgroups here cannot bound {kind}: {error}")
        yield made
    finally:
        until(lambda: _removed(made))


def _removed(group: Path) -> bool:
    """Whether it is gone: not as long as there is a process in it, or an end of one under way."""
    try:
        group.rmdir()
    except OSError:
        return False
    return True


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup with little memory for one child."""
    yield from _bounded("memory", {"memory.limit_in_bytes": _LIMIT, "memory.max": _LIMIT})


@pytest.fixture
def small_machine() -> Iterator[Path]:
    """A cgroup with memory for a program and a small child."""
    bound = 4 * _LIMIT
    yield from _bounded("memory", {"memory.limit_in_bytes": bound, "memory.max": bound})


@pytest.fixture
def few_processes() -> Iterator[Path]:
    """A cgroup with room for forty processes and threads."""
    yield from _bounded("pids", {"pids.max": 40})


def _program(group: Path, code: str) -> list[str]:
    """What a program says that lives in a cgroup, with all that it starts."""
    head = f"""
        import os
        from pathlib import Path
        from tests.pools import bombs
        from treadle import Pool, WorkerCrashed

        bombs.enter(Path({str(group)!r}))
    """
    text = textwrap.dedent(head) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=120
    )
    if "Error" in done.stderr and "cgroup.procs" in done.stderr:
        pytest.skip(f"processes cannot be moved into cgroups here: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_child_that_had_no_memory_says_so(small_machine: Path) -> None:
    # Swap would have it live on.
    swap = small_machine / "memory.swap.max"
    if swap.exists():
        swap.write_text("0")
    said = _program(
        small_machine,
        f"""
        with Pool("process", max_workers=1) as pool:
            try:
                pool.submit(bombs.swell, {16 * _LIMIT}).result(60)
            except WorkerCrashed as error:
                print(error.oom, error.signal, "likely for want of memory" in str(error))
            print(pool.submit(len, "four").result(60))
        """,
    )
    assert said == ["True 9 True", "4"]


def test_a_fork_bomb_that_the_system_stops_leaves_nothing(few_processes: Path) -> None:
    said = _program(
        few_processes,
        f"""
        group = Path({str(few_processes)!r})
        with Pool("process", max_workers=1) as pool:
            print(pool.submit(bombs.fill).result(60) > 10)
            print(pool.submit(len, "four").result(60))
        left = 40
        while left > 4:  # itself, and what goes a moment after its pool
            left = len((group / "cgroup.procs").read_text().split())
        print("over")
        """,
    )
    assert said == ["True", "4", "over"]


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
