"""Keeps a number of foreman processes alive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from treadle.config import foreman_settings
from treadle.errors import BackendError
from treadle.foreman.child import Orders
from treadle.foreman.page import Page
from treadle.foreman.serve import RECYCLED
from treadle.foreman.signals import heard
from treadle.foreman.status import QUIT
from treadle.foreman.waits import either
from treadle.logs import get_logger
from treadle.ports import Held
from treadle.records import Session, SessionInfo

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["Supervisor"]

_log = get_logger("treadle.supervisor")
_STEADY = 30.0
# Starts in a row that come to nothing before it is given up: restarting does not mend a missing
# module or a wrong URL.
_STARTS = 5
_LONGEST_PAUSE = 30.0
# Slots of a page for each place, because a job keeps its own until its verdict is answered.
_SLOTS = 4


class Supervisor:
    """Starts foreman processes and replaces those that die.

    A death is reported to the store at once: the shared page of the dead process tells which jobs
    had started, so that only those are blamed, and all of its jobs run again without waiting for
    the leases to lapse. A process that keeps dying is restarted with growing pauses. ``Quit`` in
    one stops all.

    Args:
        core: of the app, for the store and the clock.
        target: the app, as the children load it.
        processes: how many.
        burst: children stop when there is nothing left, and so does this.
        url: other than the app's.
        options: of the foremen.
    """

    def __init__(
        self,
        core: Core,
        target: str,
        *,
        processes: int,
        burst: bool = False,
        url: str | None = None,
        log_level: str = "info",
        log_format: str = "console",
        **options: Any,
    ) -> None:
        settings = foreman_settings(core.settings.foreman, **options)
        self._core = core
        self._grace = settings.grace
        self._places = settings.concurrency
        self._processes = processes
        self._orders = Orders(
            target=target,
            page="",
            url=url,
            burst=burst,
            name="",
            options={key: value for key, value in options.items() if value is not None},
            log_level=log_level,
            log_format=log_format,
        )
        self._stopping = False
        self._status = 0
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._last: asyncio.TimerHandle | None = None

    @property
    def pids(self) -> list[int]:
        """Process ids of the foremen that live now."""
        return [child.pid for child in self._children.values()]

    async def run(self) -> int:
        """Run until a signal, ``Quit``, or with ``burst`` until nothing is left.

        Returns:
            The exit status: 0; 75 after ``Quit``; 1 when the processes do not start.
        """
        self._stop = asyncio.Event()
        self._folder = Path(tempfile.mkdtemp(prefix="treadle-"))
        loop = asyncio.get_running_loop()
        with heard(loop, lambda number: loop.call_soon_threadsafe(self.stop, number.name)):
            try:
                async with asyncio.TaskGroup() as group:
                    for number in range(self._processes):
                        group.create_task(self._keep(number))
            finally:
                if self._last is not None:
                    self._last.cancel()
                shutil.rmtree(self._folder, ignore_errors=True)
        return self._status

    async def _keep(self, number: int) -> None:
        """One process after another in the same place."""
        deaths = failed = refused = generation = 0
        while not self._stopping:
            began = self._core.clock.monotonic()
            generation += 1
            page = self._folder / f"{number}-{generation}"
            try:
                child = await self._start(page)
            except OSError as error:
                # No memory, no process more, no disk: that may pass, and the others go on.
                refused += 1
                page.unlink(missing_ok=True)
                await self._pause("foreman.not_started", number, repr(error), refused + 1)
                continue
            refused = 0
            status = await self._serve(number, page, child)
            opened = await self._report(page, status)
            if status == QUIT and not self._stopping:
                self._status = QUIT
                self.stop("a task asked to quit")
            if self._stop.is_set() or (status == 0 and self._orders.burst):
                return
            failed = 0 if opened else failed + 1
            if opened and status in (0, RECYCLED):
                continue  # it was asked to end, by age or by somebody else
            if failed >= _STARTS:
                self._status = 1
                self.stop(f"process {number + 1} does not start: exit status {status}")
                return
            steady = self._core.clock.monotonic() - began >= _STEADY
            deaths = 1 if steady else deaths + 1
            reason = f"signal {-status}" if status < 0 else f"exit status {status}"
            await self._pause("foreman.died", number, reason, deaths)

    async def _start(self, page: Path) -> asyncio.subprocess.Process:
        """A new process that waits for its orders."""
        Page.create(page, self._places * _SLOTS)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "treadle.foreman.child",
            stdin=asyncio.subprocess.PIPE,
            # A group of its own: an interrupt at the terminal must reach the children once,
            # through this process.
            start_new_session=hasattr(os, "setsid"),
        )

    async def _serve(self, number: int, page: Path, child: asyncio.subprocess.Process) -> int:
        """Give a process its orders and wait for its end."""
        name = f"{socket.gethostname()}:{os.getpid()}.{number + 1}"
        orders = msgspec.structs.replace(self._orders, page=str(page), name=name)
        self._children[number] = child
        assert child.stdin is not None
        try:
            with contextlib.suppress(ConnectionError):
                child.stdin.write(msgspec.json.encode(orders) + b"\n")
                await child.stdin.drain()
            if self._stopping:
                self._signal(child, signal.SIGTERM)
            return await child.wait()
        finally:
            del self._children[number]
            child.stdin.close()

    async def _report(self, page: Path, status: int) -> bool:
        """Tell the store what a process held when it died. False when it never got as far."""
        nonce, leases = Page.take(page)
        if nonce == 0 or (status in (0, QUIT, RECYCLED) and not leases):
            return nonce != 0
        session = Session(nonce=nonce, info=SessionInfo(name="", pid=0))
        started = [Held(token=token, started=True) for token, begun in leases if begun]
        try:
            backend = await self._core.ready()
            # Two verbs: what had started is a crash, the rest goes back as if never claimed.
            await backend.extend(session, started, 0.0)
            await backend.close_session(session)
        except BackendError as error:
            _log.warning("death.not_reported", error=str(error), hint="its leases will lapse")
        else:
            _log.info("death.reported", held=len(leases), started=len(started))
        return True

    async def _pause(self, what: str, number: int, reason: str, times: int) -> None:
        """Say what happened, and wait longer each time. After the first time not at all."""
        pause = 0.0 if times == 1 else min(_LONGEST_PAUSE, 0.5 * 2.0 ** min(times - 2, 16))
        _log.error(what, number=number + 1, reason=reason, again_in=pause)
        await either(self._core.clock.sleep(pause), self._stop.wait())

    def stop(self, reason: str) -> None:
        """Ask all children to stop in good order; asked again, kill them."""
        again = self._stopping
        self._stopping = True
        self._stop.set()
        _log.info("supervisor.stopping", reason=reason, children=len(self._children))
        for child in list(self._children.values()):
            self._signal(child, signal.SIGKILL if again else signal.SIGTERM)
        if not again:
            # A child that does not keep its own grace is not asked a third time.
            loop = asyncio.get_running_loop()
            self._last = loop.call_later(self._grace * 2 + 15.0, self._kill)

    def _kill(self) -> None:
        for child in list(self._children.values()):
            self._signal(child, signal.SIGKILL)

    def _signal(self, child: asyncio.subprocess.Process, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)
