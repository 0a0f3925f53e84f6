"""What a test left behind: threads, child processes, open files; tasks by :func:`leaked_tasks`.

In a ``conftest.py``::

    from treadle.testing.leaks import no_leaks

    leaks = no_leaks()  # looks after every test
    leaks = no_leaks(autouse=False)  # after those that ask for it
    leaks = no_leaks(ignore=("pydevd*", "/tmp/cache*"))  # globs over names
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from treadle.clock import SystemClock

__all__ = ["KINDS", "Resources", "leaked_tasks", "leaks_checked", "no_leaks", "resources"]

KINDS = ("threads", "children", "files")
"""What is looked at besides tasks."""
_FILES = Path("/proc/self/fd")
# Helpers that multiprocessing starts once and keeps.
_HELPERS = ("*resource_tracker*", "*forkserver*", "*semaphore_tracker*")
# In the stat of a process, behind its name in parentheses.
_START_FIELD = 19
_PATIENCE = 5.0
_CLOCK = SystemClock()


class Resources:
    """What this process has at one moment, each with a name for people.

    Threads, children and files are keyed so that one that ended and one that began since are
    told apart.
    """

    __slots__ = ("_tick", "held")

    def __init__(self, held: Mapping[tuple[str, object], str], tick: int = 0) -> None:
        self.held = held
        self._tick = tick

    def since(
        self, before: Resources, ignore: Collection[str] = (), kinds: Collection[str] = KINDS
    ) -> list[str]:
        """What is here now and was not before."""
        new = [
            (kind, name, key)
            for (kind, key), name in self.held.items()
            if kind in kinds and not before._had(kind, key, name)
        ]
        return [
            f"{kind} {name}{_stack(key)}"
            for kind, name, key in new
            if not any(fnmatchcase(name, glob) for glob in (*ignore, *_HELPERS))
        ]

    def _had(self, kind: str, key: object, name: str) -> bool:
        if isinstance(key, _Child):
            # A list of children lacks one when another ends while it is read, and one that is
            # about to run a program has no command line for a moment.
            return key.tick < self._tick or (kind, key) in self.held
        return self.held.get((kind, key)) == name


class _Child(NamedTuple):
    """A child process: its number, which another may get later, and its start in clock ticks."""

    pid: int
    tick: int


def resources() -> Resources:
    """Threads, children and open files of this process, now."""
    held: dict[tuple[str, object], str] = {}
    tick = _now_ticks()
    for thread in threading.enumerate():
        held["threads", thread] = thread.name
    for child, name in _children():
        held["children", child] = name
    for descriptor, name in _files():
        held["files", descriptor] = name
    return Resources(held, tick)


@contextmanager
def leaks_checked(
    *,
    ignore: Collection[str] = (),
    kinds: Collection[str] = KINDS,
    patience: float = _PATIENCE,
) -> Iterator[None]:
    """A block after which no thread, child or open file is left that was not there before.

    Args:
        ignore: globs over the names of threads, command lines of children, paths of files.
        kinds: of ``threads``, ``children``, ``files``, those to look at.
        patience: seconds of real time that what is about to end is given to do so.

    Raises:
        AssertionError: something is left; it says what, for a thread also where it is.
    """
    before = resources()
    yield
    deadline = _CLOCK.monotonic() + patience
    pause = threading.Event()
    left = resources().since(before, ignore, kinds)
    while left and _CLOCK.monotonic() < deadline:
        gc.collect()
        _CLOCK.wait(pause, 0.01)
        left = resources().since(before, ignore, kinds)
    if left:
        raise AssertionError("left behind:\n" + "\n".join(f"- {line}" for line in left))


@asynccontextmanager
async def leaked_tasks(ignore: Collection[str] = ()) -> AsyncIterator[None]:
    """A block after which the running loop has no task that it did not have before.

    Raises:
        AssertionError: a task is left; it says which, and where it waits.
    """
    before = asyncio.all_tasks()
    yield
    for _ in range(10):  # a task that was cancelled needs a turn to end
        await _CLOCK.sleep(0)
    left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()]
    left = [task for task in left if not any(fnmatchcase(task.get_name(), g) for g in ignore)]
    if left:
        raise AssertionError("tasks left behind:\n" + "\n".join(f"- {task!r}" for task in left))


def no_leaks(
    *, autouse: bool = True, ignore: Collection[str] = (), patience: float = _PATIENCE
) -> Callable[..., Any]:
    """A pytest fixture that fails a test which leaves something behind.

    Assign it to a name in a ``conftest.py``; see :func:`leaks_checked` for the arguments. A
    test marked ``@pytest.mark.leaves("children", "/tmp/cache*")`` may leave what is of these
    kinds, or has a name like these globs.
    """
    import pytest

    @pytest.fixture(autouse=autouse)
    def leaks(request: pytest.FixtureRequest) -> Iterator[None]:
        allowed = [arg for mark in request.node.iter_markers("leaves") for arg in mark.args]
        kinds = [kind for kind in KINDS if kind not in allowed]
        with leaks_checked(ignore=(*ignore, *allowed), kinds=kinds, patience=patience):
            yield

    return leaks


def _now_ticks() -> int:
    """Clock ticks since the machine started, as the starts of processes are counted."""
    try:
        seconds = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return 0
    return int(seconds * os.sysconf("SC_CLK_TCK"))


def _children() -> list[tuple[_Child, str]]:
    found: list[tuple[_Child, str]] = []
    for file in Path("/proc/self/task").glob("*/children"):
        try:
            pids = file.read_text().split()
        except OSError:  # the thread ended meanwhile
            continue
        found += [(_Child(int(pid), _start(pid)), _command(pid)) for pid in pids]
    return found


def _start(pid: str) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it ended meanwhile
        return 0
    return int(stat.rpartition(")")[2].split()[_START_FIELD])


def _command(pid: str) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:  # it ended meanwhile
        return ""
    return b" ".join(words).decode(errors="replace").strip() or f"pid {pid} (not waited for)"


def _files() -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for link in _FILES.iterdir() if _FILES.is_dir() else ():
        try:
            found.append((int(link.name), str(link.readlink())))
        except OSError:  # the descriptor of the listing itself
            continue
    return found


def _stack(key: object) -> str:
    frame = sys._current_frames().get(getattr(key, "ident", None) or -1)
    return "" if frame is None else "\n" + "".join(traceback.format_stack(frame)[-3:]).rstrip()
