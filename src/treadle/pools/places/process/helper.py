"""The helper process: forks children, ends them, and tells how they died.

It has one thread and does nothing else, so that forking is safe there whatever its parent does,
and quick, because what children need is loaded already. It ends with its parent, and its children
end with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from treadle.pools.places.process import child, wire
from treadle.pools.places.process.birth import Birth, Death, House
from treadle.pools.places.process.groups import end_group, end_session
from treadle.pools.places.process.wire import Frame, Receiver, frame, send_all

__all__ = ["main"]

_READ = selectors.EVENT_READ
_PR_SET_PDEATHSIG = 1


def main(descriptor: int) -> None:
    """Serve until the parent is gone; in a child, live."""
    control = socket.socket(fileno=descriptor)
    helper = _Helper(control)
    born = helper.serve()
    if born is not None:
        child.live(*born)


class _Helper:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._receiver = Receiver(control)
        self._selector = selectors.DefaultSelector()
        self._pids: dict[int, int] = {}
        # Those that were sent SIGKILL from here.
        self._killed: set[int] = set()
        # Those whose calls have groups of their own.
        self._forking: set[int] = set()
        self._refusal = ""
        self._ooms = _oom_kills()
        self._die_with_parent = _death_signal()

    def serve(self) -> tuple[Birth, int, int] | None:
        """Carry out orders. In a child: what it was born with."""
        self._woken, waker = socket.socketpair()
        with waker:
            return self._serve(waker)

    def _serve(self, waker: socket.socket) -> tuple[Birth, int, int] | None:
        for end in (self._woken, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _heard)
        # The parent decides when it ends.
        signal.signal(signal.SIGTERM, _heard)
        self._selector.register(self._control, _READ)
        self._selector.register(self._woken, _READ)
        while True:
            ready = [key.fileobj for key, _ in self._selector.select()]
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
                self._reap()
            if self._control in ready:
                frames = self._receiver.receive()
                if frames is None:
                    self._end_all()
                    signal.set_wakeup_fd(-1)
                    return None
                for one in frames:
                    born = self._carry_out(one)
                    if born is not None:
                        signal.set_wakeup_fd(-1)
                        return born

    def _carry_out(self, order: Frame) -> tuple[Birth, int, int] | None:
        if order.tag == wire.PLAN:
            self._settle_in(msgspec.json.decode(order.body, type=House))
        elif order.tag == wire.BIRTH:
            return self._give_birth(order)
        elif order.tag == wire.SIGNAL:
            self._signal(order.number, order.body[0], whole=bool(order.body[1]))
        return None

    def _settle_in(self, house: House) -> None:
        sys.path[:] = house.path
        for name in house.preload:
            try:
                importlib.import_module(name)
            except Exception as error:  # noqa: BLE001 - whatever a module does
                self._refusal = f"preload={name!r} cannot be imported: {error!r}"
                return
        others = [thread.name for thread in threading.enumerate()][1:]
        if others:
            self._refusal = (
                f"preload={list(house.preload)!r} starts threads ({', '.join(others)}), beside "
                "which no process can be forked safely"
            )
        gc.collect()
        gc.freeze()

    # ------------------------------------------------------------- births

    def _give_birth(self, order: Frame) -> tuple[Birth, int, int] | None:
        sock, board = order.descriptors
        try:
            if self._refusal:
                self._tell(wire.DIED, order.number, Death(refusal=self._refusal))
                return None
            birth = msgspec.json.decode(order.body, type=Birth)
            try:
                pid = os.fork()
            except OSError as error:
                refusal = f"no process can be started: {error}"
                self._tell(wire.DIED, order.number, Death(refusal=refusal))
                return None
            if pid == 0:
                self._become_child()
                return birth, os.dup(sock), os.dup(board)
            self._pids[order.number] = pid
            if birth.forks:
                self._forking.add(order.number)
            return None
        finally:
            os.close(sock)
            os.close(board)

    def _become_child(self) -> None:
        # A session of its own: an interrupt at the terminal reaches the parent alone, and
        # everything that the child starts can be ended with it.
        os.setsid()
        parent = os.getppid()
        self._die_with_parent()
        if os.getppid() != parent:
            os._exit(0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        self._woken.close()
        self._control.close()
        self._receiver.close()

    # ------------------------------------------------------------- deaths

    def _signal(self, number: int, what: int, *, whole: bool) -> None:
        pid = self._pids.get(number)
        if pid is None:
            return  # reaped meanwhile: the number may be another process by now
        if what == signal.SIGKILL:
            self._killed.add(number)
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whole else os.kill)(pid, what)

    def _reap(self) -> None:
        for number, pid in list(self._pids.items()):
            if not _has_ended(pid):
                continue
            # Before it is reaped its number cannot become that of others.
            self._end_whole(number, pid)
            _, status = os.waitpid(pid, 0)
            del self._pids[number]
            code = os.waitstatus_to_exitcode(status)
            death = Death(status=code, oom=self._was_oom(number, code))
            with contextlib.suppress(OSError):
                self._tell(wire.DIED, number, death)

    def _end_whole(self, number: int, pid: int) -> None:
        if number in self._forking:
            self._forking.discard(number)
            end_session(pid)
        else:
            end_group(pid)

    def _was_oom(self, number: int, code: int) -> bool:
        if code != -signal.SIGKILL or number in self._killed:
            self._killed.discard(number)
            return False
        before, self._ooms = self._ooms, _oom_kills()
        return self._ooms > before

    def _tell(self, tag: int, number: int, death: Death) -> None:
        send_all(self._control, frame(tag, number, msgspec.json.encode(death)))

    def _end_all(self) -> None:
        for number, pid in self._pids.items():
            self._end_whole(number, pid)
        for pid in self._pids.values():
            os.waitpid(pid, 0)


def _heard(number: int, frame: object) -> None:
    """Nothing: that there was a signal wakes the loop."""


def _has_ended(pid: int) -> bool:
    """Whether a child has, without reaping it where that can be asked."""
    if not hasattr(os, "waitid"):
        # To reap it is the only way to know: a signal to its group comes a moment late.
        return _zombie(pid)
    options = os.WEXITED | os.WNOWAIT | os.WNOHANG
    return os.waitid(os.P_PID, pid, options) is not None


def _zombie(pid: int) -> bool:
    import subprocess

    asked = subprocess.run(
        ["/bin/ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip().startswith("Z")


def _death_signal() -> Any:
    """What has a process killed when its parent dies, where the system can."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _oom_kills() -> int:
    """How often the system has killed for want of memory in this control group."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return 0
    return sum(map(_kills_in, lines))


def _kills_in(line: str) -> int:
    """The same, of one of the groups that this process is in: one for each kind, or one for all."""
    _, kinds, group = line.split(":", 2)
    if not kinds:
        file = f"/sys/fs/cgroup{group}/memory.events"
    elif "memory" in kinds.split(","):
        file = f"/sys/fs/cgroup/memory{group}/memory.oom_control"
    else:
        return 0
    try:
        facts = dict(fact.split() for fact in Path(file).read_text().splitlines())
        return int(facts["oom_kill"])
    except (OSError, KeyError, ValueError):
        return 0
