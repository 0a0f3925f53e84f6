"""The leak checks find what is left, and nothing else."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import treadle
from treadle.testing.clock import settle
from treadle.testing.leaks import leaked_tasks, leaks_checked
from treadle.testing.servers.waiting import until

pytest_plugins = ("pytester",)


def test_a_clean_block_passes(tmp_path: Path) -> None:
    with leaks_checked():
        (tmp_path / "x").write_text("x")
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        asyncio.run(settle())


def test_a_thread_is_found_and_its_stack_shown() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="left-alone", daemon=True)
    with (
        pytest.raises(AssertionError, match=r"threads left-alone(?s:.*)in wait"),
        leaks_checked(patience=0.05),
    ):
        thread.start()
    stop.set()
    thread.join()


def test_a_thread_that_is_about_to_end_is_waited_for() -> None:
    with leaks_checked():
        threading.Thread(target=threading.Event().wait, args=(0.05,)).start()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_an_open_file_is_found(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match=r"files .*kept-open"),
        leaks_checked(patience=0.05),
    ):
        descriptor = os.open(tmp_path / "kept-open", os.O_CREAT | os.O_WRONLY)
    os.close(descriptor)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_child_is_found() -> None:
    with (
        pytest.raises(AssertionError, match=r"children .*stdin"),
        leaks_checked(patience=0.05, ignore=("pipe:*",)),
    ):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
        )
    child.communicate()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_child_that_changes_its_program_was_there_before() -> None:
    with subprocess.Popen(
        ["/bin/sh", "-c", "read _; exec sleep 60"], stdin=subprocess.PIPE
    ) as child:
        command = Path(f"/proc/{child.pid}/cmdline")
        with leaks_checked(patience=0.05, ignore=("pipe:*",)):
            child.stdin.close()  # type: ignore[union-attr]
            assert until(lambda: command.read_bytes().startswith(b"sleep"), 20)
        child.kill()


def test_what_is_ignored_by_name_passes() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="known-helper", daemon=True)
    with leaks_checked(patience=0.05, ignore=("known-*",)):
        thread.start()
    stop.set()
    thread.join()


async def test_a_task_is_found() -> None:
    forever = asyncio.Event()
    with pytest.raises(AssertionError, match="tasks left behind"):
        async with leaked_tasks():
            task = asyncio.create_task(forever.wait())
    task.cancel()


async def test_a_cancelled_task_is_not_a_leak() -> None:
    async with leaked_tasks():
        asyncio.create_task(asyncio.Event().wait()).cancel()


def test_the_fixture_and_its_marker(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(treadle.__file__).parents[1]))
    pytester.makeini("[pytest]\nmarkers = leaves\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makeconftest("from treadle.testing import no_leaks\nleaks = no_leaks(patience=0.05)\n")
    pytester.makepyfile(
        """
        import pytest
        import threading

        def leak(name):
            threading.Thread(target=threading.Event().wait, name=name, daemon=True).start()

        def test_leaks():
            leak("forgotten")

        @pytest.mark.leaves("threads")
        def test_may_by_kind():
            leak("known")

        @pytest.mark.leaves("kn*")
        def test_may_by_name():
            leak("known")
        """
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*threads forgotten*"])
