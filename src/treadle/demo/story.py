"""The demo from its start to its end. It prints nothing; it tells an audience."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from treadle.core import Core
from treadle.demo.foremen import Foremen, Victim
from treadle.demo.inputs import Inputs
from treadle.demo.ledger import read
from treadle.demo.results import Results, collect
from treadle.demo.tasks import measure
from treadle.errors import TreadleError
from treadle.ports import Query
from treadle.records import FINAL, JobState

__all__ = ["Audience", "Plan", "Snapshot", "Story"]

_EVERY = 0.25
_CHUNK = 500
_KILLS = (0.15, 0.35, 0.55, 0.75)  # of the files, when --crash kills a process
_WINDOW = 5.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done."""

    inputs: Inputs
    # Holds the ledger, the log, and by default the store.
    directory: Path
    queue: str = "demo"
    processes: int = 2
    crash: bool = False

    @property
    def ledger(self) -> Path:
        """What the attempts write."""
        return self.directory / "ledger.txt"

    @property
    def log(self) -> Path:
        """What the foremen write."""
        return self.directory / "foremen.log"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is."""

    total: int
    counts: Mapping[JobState, int]
    # Since the foremen were started.
    seconds: float
    # Jobs per second, lately.
    rate: float

    @property
    def done(self) -> int:
        """Jobs in a final state."""
        return sum(self.counts.get(state, 0) for state in FINAL)

    @property
    def left(self) -> float | None:
        """Seconds until the end, at the present rate."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None


class Audience(Protocol):
    """Who is told."""

    def enqueued(self, jobs: int, seconds: float) -> None: ...
    def update(self, snapshot: Snapshot) -> None: ...
    def killed(self, victim: Victim) -> None: ...


class Story:
    """Enqueues the files, runs the foremen, kills some, collects the results.

    Args:
        core: reaches the store.
        plan: what is to be done.
        audience: is told of the progress.
    """

    def __init__(self, core: Core, plan: Plan, audience: Audience) -> None:
        self._core = core
        self._plan = plan
        self._audience = audience
        self._recent: deque[tuple[float, int]] = deque()
        self._began = 0.0
        self.victims: list[Victim] = []

    async def run(self) -> Results:
        """Do it all.

        Raises:
            TreadleError: the foremen did not start, or gave up.
        """
        await self._enqueue()
        plan = self._plan
        foremen = Foremen(self._core.url, plan.queue, plan.processes, plan.log)
        try:
            await foremen.start()
            await self._watch(foremen)
        finally:
            await foremen.stop()
        return await collect(self._core, plan.queue, plan.inputs.files, read(plan.ledger))

    async def _enqueue(self) -> None:
        clock, plan = self._core.clock, self._plan
        began = clock.monotonic()
        files = plan.inputs.files
        task = measure.options(queue=plan.queue)
        for at in range(0, len(files), _CHUNK):
            await task.aenqueue_many([(file, plan.ledger) for file in files[at : at + _CHUNK]])
        self._audience.enqueued(len(files), clock.monotonic() - began)

    async def _watch(self, foremen: Foremen) -> None:
        """Look at the store until the foremen have nothing left."""
        backend = await self._core.ready()
        kills = list(_KILLS) if self._plan.crash else []
        total = len(self._plan.inputs.files)
        self._began = self._core.clock.monotonic()
        while True:
            ended = foremen.status
            page = await backend.find(Query(queue=self._plan.queue, limit=1, counts=True))
            snapshot = self._snapshot(page.counts.get(self._plan.queue, {}), total)
            self._audience.update(snapshot)
            if ended is not None:
                break
            if kills and snapshot.done >= kills[0] * total:
                victim = await foremen.kill_one(backend)
                if victim is not None:
                    kills.pop(0)
                    self.victims.append(victim)
                    self._audience.killed(victim)
            await self._core.clock.sleep(_EVERY)
        if ended != 0:
            raise TreadleError(f"the foremen ended with status {ended}:\n{self._last_words()}")

    def _snapshot(self, counts: Mapping[JobState, int], total: int) -> Snapshot:
        now = self._core.clock.monotonic() - self._began
        done = sum(counts.get(state, 0) for state in FINAL)
        self._recent.append((now, done))
        while now - self._recent[0][0] > _WINDOW:
            self._recent.popleft()
        since, before = self._recent[0]
        rate = (done - before) / (now - since) if now > since else 0.0
        return Snapshot(total=total, counts=dict(counts), seconds=now, rate=rate)

    def _last_words(self) -> str:
        lines = self._plan.log.read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-15:])
