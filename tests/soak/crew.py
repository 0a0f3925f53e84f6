"""The processes of a soak: started, struck, woken, replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.soak.child import Orders
from tests.soak.plan import Kind, Strike
from treadle.cli.statuses import UNAVAILABLE
from treadle.clock import SystemClock
from treadle.testing.ledger import Blow, Ledger

__all__ = ["ROOT", "Crew", "Post", "environment"]

ROOT = Path(__file__).parents[2]
# Seconds within which a process that was asked to freeze at a verdict has one.
_PATIENCE = 3.0


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the crew; each process that fills it works in the same way."""

    name: str
    url: str
    # The root of the tree whose ``src`` it runs; by default this one.
    tree: Path = ROOT
    # The store is a broker without a companion.
    alone: bool = False


def environment(tree: Path = ROOT) -> dict[str, str]:
    """For a process that runs the library of a tree, and finds these tests."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree / "src"), str(ROOT)])}


class _Member:
    def __init__(self, name: str, process: subprocess.Popen[bytes], ledger: Path) -> None:
        self.name = name
        self.process = process
        self.ledger = ledger
        # When it is to be woken; ``None`` while it is not frozen.
        self.wake: float | None = None
        # The store was away in its life.
        self.cut_off = False
        # Asked to freeze at a verdict: until when that is awaited, and for how long.
        self.armed: tuple[float, float] | None = None

    def can_be_struck(self) -> bool:
        """It has had a job, and is not about to be frozen."""
        idle = self.wake is None and self.armed is None
        return idle and self.process.poll() is None and self.begun()

    def begun(self) -> bool:
        """It has had a job."""
        return self.ledger.exists() and self.ledger.stat().st_size > 0

    def excused(self) -> bool:
        """It was killed, or has not begun because the store was away."""
        status = self.process.poll()
        met_nobody = status == UNAVAILABLE and self.cut_off and not self.begun()
        return status == -signal.SIGKILL or met_nobody

    def status(self) -> int | None:
        """How it ended; ``None`` while it runs. Before it listens to signals, one just ends it."""
        status = self.process.poll()
        return 0 if status == -signal.SIGTERM and not self.begun() else status


class Crew:
    """Foreman processes, one for each post.

    Args:
        posts: what there is to fill.
        directory: of ledgers and logs.
        ledger: of who strikes.
        lease, concurrency: of the foremen.
    """

    def __init__(
        self,
        posts: Sequence[Post],
        directory: Path,
        ledger: Ledger,
        *,
        lease: float,
        concurrency: int,
    ) -> None:
        self.killed: set[str] = set()
        self.unexpected: list[str] = []
        self._posts = posts
        self._directory = directory
        self._ledger = ledger
        self._lease = lease
        self._concurrency = concurrency
        self._clock = SystemClock()
        self._members: dict[str, _Member] = {}
        self._generation = 0
        # The store does not answer: what foremen were granted cannot be relied on, nor renewed.
        self._cut_off: dict[str, _Member] | None = None

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """A block in which the store does not answer; written down for each foreman."""
        able = {name: one for name, one in self._members.items() if one.wake is None}
        for member in self._members.values():
            member.cut_off = True
        for member in able.values():
            member.armed = None
            self._ledger.fault(member.name, Blow.FROZEN)
        self._cut_off = able
        try:
            yield
        finally:
            self._cut_off = None
            for member in able.values():
                self._ledger.fault(member.name, Blow.WOKEN)

    def fill(self) -> None:
        """Start a process for each post that has none."""
        for post in self._posts:
            member = self._members.get(post.name)
            if member is None or member.process.poll() is not None:
                self._members[post.name] = self._start(post)

    def _start(self, post: Post) -> _Member:
        self._generation += 1
        name = f"{post.name}.{self._generation}"
        ledgers = self._directory / "ledgers"
        orders = Orders(
            name=name,
            url=post.url,
            ledgers=str(ledgers),
            lease=self._lease,
            concurrency=self._concurrency,
            alone=post.alone,
        )
        with (self._directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.child", msgspec.json.encode(orders).decode()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                env=environment(post.tree),
            )
        return _Member(name, process, ledgers / f"{name}.ledger")

    def strike(self, strike: Strike) -> bool:
        """Strike a process. False when less than half of them can be struck now."""
        if self._cut_off is not None:
            return False
        able = [one for one in self._members.values() if one.can_be_struck()]
        # Where starting a process takes long, one that is struck as soon as it is there would
        # be all there is, and no work would be done between the strikes.
        if len(able) < len(self._posts) // 2:
            return False
        member = able[int(strike.whom * len(able))]
        length = strike.length * self._lease
        match strike.kind:
            case Kind.KILL:
                self.killed.add(member.name)
                self._ledger.fault(member.name, Blow.KILLED)
                member.process.kill()
                member.process.wait()
            case Kind.FREEZE:
                self._frozen(member, length)
                member.process.send_signal(signal.SIGSTOP)
            case Kind.FREEZE_AT_VERDICT:
                member.armed = self._clock.monotonic() + _PATIENCE, length
                member.process.send_signal(signal.SIGUSR1)
        return True

    def _frozen(self, member: _Member, length: float) -> None:
        self._ledger.fault(member.name, Blow.FROZEN)
        member.armed = None
        member.wake = self._clock.monotonic() + length

    def tend(self, *, all_awake: bool = False) -> None:
        """Take note of who froze, wake whose time has come, replace who is gone."""
        if self._cut_off is not None:
            return
        now = self._clock.monotonic()
        for member in self._members.values():
            status = member.process.poll()
            if status is not None:
                if not member.excused():
                    self.unexpected.append(f"{member.name} ended with status {status}")
                continue
            stopped = os.waitid(os.P_PID, member.process.pid, os.WSTOPPED | os.WNOHANG) is not None
            if stopped and member.wake is None:
                _, length = member.armed or (0.0, 1.2 * self._lease)
                self._frozen(member, length)
            if member.armed is not None and now > member.armed[0]:
                member.armed = None
            if member.wake is not None and (all_awake or now >= member.wake):
                self._ledger.fault(member.name, Blow.WOKEN)
                member.process.send_signal(signal.SIGCONT)
                member.wake = None
        self.fill()

    def frozen(self) -> int:
        """How many stand still."""
        return sum(one.wake is not None for one in self._members.values())

    def dismiss(self) -> None:
        """Ask every process to stop in good order."""
        for member in self._members.values():
            if member.process.poll() is None:
                member.process.terminate()

    def statuses(self) -> Iterator[int | None]:
        """The exit status of each process; ``None`` while it runs."""
        return (member.status() for member in self._members.values())

    def close(self) -> None:
        """Leave no process behind."""
        for member in self._members.values():
            if member.process.poll() is None:
                member.process.kill()
                member.process.wait()
