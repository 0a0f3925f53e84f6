"""The foremen of the demo: another program, which can be killed without harm."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec

from treadle.ports import SESSION_CELL, Backend, Query
from treadle.records import JobState, SessionInfo

__all__ = ["Foremen", "Victim"]

_GRACE = 20.0


class Victim(msgspec.Struct, frozen=True, kw_only=True):
    """A foreman process that was killed."""

    pid: int
    name: str
    # Jobs it was running.
    jobs: int


class Foremen:
    """``treadle run`` with several processes, until the queue is empty.

    Args:
        url, queue: what they work on.
        processes: how many.
        log: where they write what they have to say.
    """

    def __init__(self, url: str, queue: str, processes: int, log: Path) -> None:
        self._queue = queue
        self._log = log
        self._command = [
            *(sys.executable, "-m", "treadle", "run", "treadle.demo.tasks:app"),
            *("--queues", queue, "--processes", str(processes)),
            *("--concurrency", "4", "--burst", "--lease", "10s", "--grace", "10s"),
        ]
        # Not as an argument, which everybody on this machine can read: it may have a password.
        self._environment = {**os.environ, "TREADLE_URL": url}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start them."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl+C is for the demo, which stops them in good order.
                start_new_session=hasattr(os, "setsid"),
            )

    @property
    def status(self) -> int | None:
        """Their exit status; ``None`` while they run."""
        return None if self._process is None else self._process.returncode

    async def stop(self) -> None:
        """Stop them in good order, and if they do not, at once."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        late = asyncio.get_running_loop().call_later(_GRACE, self._kill)
        try:
            await process.wait()
        finally:
            late.cancel()

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def kill_one(self, backend: Backend) -> Victim | None:
        """Kill, with SIGKILL, the process that runs most jobs now; ``None`` when none runs any."""
        page = await backend.find(Query(queue=self._queue, states=(JobState.RUNNING,), limit=100))
        holders = [record.holder for record in page.records]
        ours = [one for one in await self._present(backend) if one.name in holders]
        if not ours:
            return None
        victim = max(ours, key=lambda one: holders.count(one.name))
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        return Victim(pid=victim.pid, name=victim.name, jobs=holders.count(victim.name))

    async def _present(self, backend: Backend) -> list[SessionInfo]:
        """Those that our own program has started, and nobody else's."""
        if self._process is None:
            return []
        prefix = f"{socket.gethostname()}:{self._process.pid}."
        cells = await backend.read([f"{SESSION_CELL}*"])
        found = [msgspec.msgpack.decode(one.value, type=SessionInfo) for one in cells.values()]
        return [one for one in found if one.name.startswith(prefix)]
