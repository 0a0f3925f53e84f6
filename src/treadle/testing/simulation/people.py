"""Processes that enqueue jobs and change them, and the foremen that run them."""

from __future__ import annotations

from random import Random  # noqa: TID251 - seeded
from typing import Any, cast

import msgspec

from treadle import Context, Treadle
from treadle.errors import BackendError, EnqueueError, JobNotFound
from treadle.foreman import Foreman
from treadle.ids import SystemIds
from treadle.job import Job
from treadle.ports import Backend
from treadle.store import Store
from treadle.testing.simulation.audit import Audit
from treadle.testing.simulation.loop import Process, SimulatedClock, SimulatedLoop
from treadle.testing.simulation.network import Link, Network
from treadle.testing.simulation.tasks import declare
from treadle.testing.simulation.threads import SimulatedThreads

__all__ = ["AWAY", "Common", "ForemanProcess", "Producer"]

AWAY = (BackendError, OSError)
"""What a process gets to hear when it cannot reach its store."""
_PATIENCE = 6.0


class Common(msgspec.Struct, frozen=True):
    """What all processes of one simulation have in common."""

    loop: SimulatedLoop
    network: Network
    audit: Audit
    seed: int


class _AppProcess:
    """A process with an app of its own, and its connection to the store."""

    def __init__(self, common: Common, name: str) -> None:
        self.name = name
        self.common = common
        self.process = Process(common.loop, name)
        self.chance = Random(f"{common.seed}:{name}")
        self.clock = SimulatedClock(common.loop, ahead=self.chance.choice((0.0, 0.0, -90.0, 400.0)))
        ids = SystemIds(self.clock, self.chance)
        self.link: Link = common.network.link(self.process, self.chance)
        backend = cast("Backend", self.link)
        self.app = Treadle("memory://", clock=self.clock, ids=ids, patience=_PATIENCE)
        core = self.app.core
        core.store = Store(
            self.link.url,
            lambda _: backend,
            clock=self.clock,
            ids=ids,
            patience=_PATIENCE,
            hear=core.hear,
        )
        declare(self.app, self)

    def started(self, ctx: Context) -> None:
        self.common.audit.started(self.process, ctx.job_id, ctx.fence)

    def effect(self, ctx: Context) -> None:
        self.common.audit.effect(self.process, ctx.job_id, ctx.fence)

    async def work(self, least: float, most: float) -> None:
        await self.clock.sleep(self.chance.uniform(least, most))

    async def step(self, ctx: Context, least: float, most: float) -> None:
        await self.work(least, most)
        self.common.audit.goes_on(self.process, ctx.job_id, ctx.fence)

    def note(self, what: str) -> None:
        self.common.audit.note(self.name, what)


class ForemanProcess(_AppProcess):
    """A process with a foreman.

    Args:
        lease: seconds.
    """

    def __init__(self, common: Common, name: str, lease: float) -> None:
        super().__init__(common, name)
        self._foreman: Foreman | None = None
        self._options: dict[str, Any] = {
            "lease": lease,
            "concurrency": self.chance.choice((1, 2, 5)),
            "grace": self.chance.choice((0.0, 1.0, 10.0)),
            "suspect_every": 4.0,
            "queues": self.chance.choice(("*", "*", "a,default,b", "a:3,default:1,b:1")).split(","),
        }
        self.task = self.process.spawn(self._live())

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to expect of it."""
        return self.process.dead or self.task.done()

    def ask_to_stop(self) -> None:
        """Ask the foreman to stop in good order, as a signal does."""
        if self._foreman is not None and not self.process.frozen:
            self._foreman.ask_to_stop()

    async def _live(self) -> None:
        threads = SimulatedThreads(self.chance)
        foreman = self.app.foreman(name=self.name, threads=threads, **self._options)
        self._foreman = foreman
        try:
            async with foreman:
                self.note("is open")
                await foreman.join()
        except AWAY as error:
            # A foreman that cannot even begin ends, and its supervisor tries again.
            self.note(f"could not begin: {error!r}")
        self.note(f"ended with {foreman.exit_status}")
        if foreman.exit_status:
            self.common.audit.violation(f"{self.name} ended with status {foreman.exit_status}")


class Producer(_AppProcess):
    """A process that enqueues, and changes its mind."""

    def __init__(self, common: Common, name: str, *, jobs: int, within: float) -> None:
        super().__init__(common, name)
        self.accepted: list[str] = []
        self._jobs = jobs
        self._pause = within / max(1, jobs)
        self.task = self.process.spawn(self._live())

    async def _live(self) -> None:
        for _ in range(self._jobs):
            await self.work(0.0, 2 * self._pause)
            if self.accepted and self.chance.random() < 0.25:
                await self._change(self.app.job(self.chance.choice(self.accepted)))
            else:
                await self._enqueue()

    async def _enqueue(self) -> None:
        name = self.chance.choice(sorted(self.app.tasks))
        task = self.app.tasks[name].options(**self._wishes())
        several = self.chance.random() < 0.15
        try:
            if several:
                jobs = await task.aenqueue_many([()] * self.chance.randint(2, 6))
            else:
                jobs = [await task.aenqueue()]
        except (*AWAY, EnqueueError) as error:
            self.note(f"enqueue {name} failed: {type(error).__name__}")
            return
        for job in jobs:
            if job.created:
                self.note(f"accepted {job.id}")
                self.accepted.append(job.id)

    def _wishes(self) -> dict[str, Any]:
        """What one call has instead of the options of its task."""
        chance, wishes = self.chance, dict[str, Any]()
        if chance.random() < 0.2:
            wishes["delay"] = chance.uniform(0.0, 6.0)
        if chance.random() < 0.1:
            wishes["expires"] = chance.uniform(1.0, 20.0)
        if chance.random() < 0.2:
            wishes["priority"] = chance.choice((-5, 5))
        if chance.random() < 0.2:
            wishes["queue"] = chance.choice(("a", "a.x", "a.y", "b", "default"))
        if self.accepted and chance.random() < 0.15:
            wishes["after"] = chance.sample(self.accepted, min(len(self.accepted), 2))
            wishes["on_failure"] = chance.choice(("fail", "cancel", "run"))
        return wishes

    async def _change(self, job: Job[Any]) -> None:
        what = self.chance.choice(("acancel", "acancel", "aretry", "areschedule", "areprioritise"))
        arguments: dict[str, Any] = {}
        if what == "areschedule":
            arguments["delay"] = self.chance.uniform(0.0, 5.0)
        elif what == "areprioritise":
            arguments["priority"] = self.chance.randint(-10, 10)
        self.note(f"{what} {job.id}")
        try:
            await getattr(job, what)(**arguments)
        except (*AWAY, JobNotFound) as error:
            self.note(f"{what} failed: {type(error).__name__}")
