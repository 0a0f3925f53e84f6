"""What all servers have in common: starting, stopping, killing, freezing."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from treadle.testing.servers.guardian import Guardian
from treadle.testing.servers.ports import free_port
from treadle.testing.servers.waiting import until

__all__ = ["Server", "ServerFailed"]

_STOP_SECONDS = 20.0


class ServerFailed(RuntimeError):
    """A server did not start, or not in time; the end of its log says why."""


class Server(ABC):
    """One server process with a port and a folder of its own.

    Args:
        port: where it listens; a free one by default.
    """

    start_seconds = 30.0
    """How long it may take to start."""
    stop_signal = signal.SIGTERM
    """What makes it end in good order."""
    user: str | None = None
    """Who it runs as; this process's user by default."""

    def __init__(self, *, port: int | None = None) -> None:
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"treadle-{type(self).__name__.lower()}-"))
        self.log = self.folder / "server.log"
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian: Guardian | None = None
        _alive.add(self)

    @property
    @abstractmethod
    def url(self) -> str:
        """Where a client finds it."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What is run, in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves clients by now."""

    def environment(self) -> Mapping[str, str]:
        """Variables for it, besides those of this process."""
        return {}

    def prepare(self) -> None:  # noqa: B027 - a hook that some need
        """Make what it needs in its folder, before each start."""

    @property
    def pid(self) -> int:
        """Of its main process.

        Raises:
            ServerFailed: it does not run.
        """
        if self._process is None:
            raise ServerFailed(f"{type(self).__name__} does not run; start() it")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process lives, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> Self:
        """Start it, with the data that it left, and wait until it answers."""
        self.prepare()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(self.command()),
                cwd=self.folder,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self.user,
                start_new_session=True,
            )
        self._guardian = Guardian(self._process.pid, self.folder)
        if wait:
            self.await_answer()
        return self

    def await_answer(self) -> None:
        """Return as soon as it serves clients.

        Raises:
            ServerFailed: it ended, or took too long.
        """
        ready = until(lambda: not self.running or self.answers(), self.start_seconds)
        if not ready or not self.running:
            said = self.said()
            self.kill()
            raise ServerFailed(f"{type(self).__name__} did not start:\n{said}")

    def said(self, lines: int = 20) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """End it in good order, as an operator does."""
        if self._process is not None and self.running:
            self._process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it at once, as ``kill -9`` or the loss of its machine does; its data stay."""
        if self._process is None:
            return
        family = [] if self._process.poll() is not None else _descendants(self._process.pid)
        for pid in (self._process.pid, *family) if self.running else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        until(lambda: not any(_lives(pid) for pid in family), _STOP_SECONDS)
        self._process = None
        if self._guardian is not None:
            self._guardian.dismiss()
            self._guardian = None

    def freeze(self) -> None:
        """Stand still: connections stay, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """End it in good order and start it again."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Remove its data, so that it starts empty; only when it does not run."""
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry != self.log:
                entry.unlink()

    def close(self) -> None:
        """End it and remove its folder."""
        if self._owner == os.getpid():
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
            _alive.discard(self)

    def __enter__(self) -> Self:
        if not self.running:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        for pid in (self.pid, *_descendants(self.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _descendants(pid: int) -> list[int]:
    """The processes that it started, and theirs."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in file.read_text().split()]
        except OSError:  # the thread ended meanwhile
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


def _lives(pid: int) -> bool:
    process = Path(f"/proc/{pid}")
    try:
        stat = (process / "stat").read_text()
        threads = len(list((process / "task").iterdir()))
    except OSError:
        return False
    # After the name, which is in parentheses, comes the state: Z has ended. What it had is open
    # until its last thread has, too.
    return threads > 1 or not stat.rpartition(")")[2].lstrip().startswith("Z")


_alive: weakref.WeakSet[Server] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for server in list(_alive):
        server.close()
