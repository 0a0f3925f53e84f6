"""One simulation: processes, a network, faults from a seed, and what was found at the end."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random  # noqa: TID251 - seeded
from typing import Any

import msgspec

from treadle.backends.memory import MemoryBackend, connect
from treadle.ids import SystemIds
from treadle.records import FINAL, JobState
from treadle.testing.simulation.audit import Audit
from treadle.testing.simulation.faults import Faults
from treadle.testing.simulation.loop import SimulatedClock, SimulatedLoop
from treadle.testing.simulation.network import Network
from treadle.testing.simulation.people import Common, ForemanProcess, Producer
from treadle.testing.simulation.verdicts import judge

__all__ = ["Outcome", "simulate"]

_DRAINED_BY = 900.0
"""Virtual seconds after the last fault by which everything must have ended."""
_REPEATED_BY = 20.0
"""Virtual seconds within which everybody has said again what was not heard."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of a simulation."""

    seed: int
    # Promises that were broken, each a line.
    broken: tuple[str, ...]
    # What happened, a line each.
    trace: tuple[str, ...]
    # Jobs, and virtual seconds.
    jobs: int
    seconds: float

    @property
    def digest(self) -> str:
        """A short name of the trace: two runs are the same when it is the same."""
        return hashlib.blake2b("\n".join(self.trace).encode(), digest_size=8).hexdigest()

    def __str__(self) -> str:
        if not self.broken:
            return f"seed {self.seed}: {self.jobs} jobs in {self.seconds:.0f} s, nothing broken"
        lines = "\n".join(f"- {one}" for one in self.broken)
        return (
            f"seed {self.seed} broke promises:\n{lines}\n"
            f"replay it with: python -m treadle.testing.simulation {self.seed} --trace"
        )


def simulate(seed: int) -> Outcome:
    """Run the simulation of a seed. The same seed gives the same outcome, to the letter."""
    loop = SimulatedLoop()
    try:
        with _listening() as said:
            world = _World(loop, seed)
            try:
                loop.run_until_complete(world.run())
                outcome = world.outcome(seed, said)
            finally:
                world.bury()
    finally:
        loop.close()
    return outcome


class _World:
    def __init__(self, loop: SimulatedLoop, seed: int) -> None:
        self._loop = loop
        self._chance = Random(f"{seed}:world")
        clock = SimulatedClock(loop)
        ids = SystemIds(clock, Random(f"{seed}:store"))
        backend = connect("memory://", clock=clock, ids=ids)
        self._backend: MemoryBackend = backend
        self.audit = Audit(loop.time, self._state)
        self._common = Common(loop, Network(backend, self.audit, loop), self.audit, seed)
        self._lease = self._chance.choice((4.0, 8.0, 15.0))
        self.faults = Faults(self._common, Random(f"{seed}:faults"), self._lease)
        self.producers: list[Producer] = []
        loop.set_exception_handler(self._unhandled)

    def _state(self, job_id: str) -> JobState | None:
        job = self._backend._shared.jobs.get(job_id)
        return None if job is None else job.state

    def _unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.audit.violation(f"unhandled: {context['message']} {error!r}")

    async def run(self) -> None:
        """The whole of it."""
        chance = self._chance
        storm = chance.uniform(10.0, 40.0)
        for _ in range(chance.randint(1, 3)):
            self.faults.hire()
        for number in range(chance.randint(1, 2)):
            self.producers.append(
                Producer(
                    self._common, f"producer-{number}", jobs=chance.randint(5, 25), within=storm
                )
            )
        await self.faults.rage(storm)
        self.faults.calm()
        await self._drain()
        await self._retire()
        judge(self.audit, self._backend, [one for p in self.producers for one in p.accepted])

    def outcome(self, seed: int, said: list[str]) -> Outcome:
        """What came of it, before it is tidied up."""
        audit = self.audit
        return Outcome(
            seed=seed,
            broken=(*audit.broken, *(f"logged: {line}" for line in said)),
            trace=tuple(audit.trace),
            jobs=len(audit.lives),
            seconds=self._loop.time(),
        )

    async def _drain(self) -> None:
        """Wait until the producers have said all and every job has ended."""
        # What was said in vain during the storm is said again.
        await asyncio.sleep(_REPEATED_BY)  # noqa: TID251 - virtual time
        until = self._loop.time() + _DRAINED_BY
        while self._loop.time() < until:
            said = all(one.task.done() for one in self.producers) and self._common.network.idle
            if said and not self._open():
                return
            await asyncio.sleep(0.5)  # noqa: TID251 - virtual time
        for line in self._open():
            self.audit.violation(f"nothing came of {line} within {_DRAINED_BY:g} s of calm")

    def _open(self) -> list[str]:
        jobs = self._backend._shared.jobs.values()
        return [
            f"job {job.id} ({job.spec.task}), which is {job.state} {job.reason}"
            for job in jobs
            if job.state not in FINAL
        ]

    async def _retire(self) -> None:
        """Stop all foremen, and wait until those that never said goodbye are forgotten."""
        for _ in range(400):
            for one in self.faults.foremen:
                one.ask_to_stop()
            if all(one.ended for one in self.faults.foremen):
                break
            await asyncio.sleep(0.5)  # noqa: TID251 - virtual time
        for one in self.faults.foremen:
            self._check_end(one)
        await asyncio.sleep(70.0)  # noqa: TID251 - virtual time: longer than a presence lasts

    def _check_end(self, one: ForemanProcess) -> None:
        if not one.ended:
            self.audit.violation(f"{one.name} was asked to stop and did not")
        elif not one.process.dead and (error := one.task.exception()) is not None:
            self.audit.violation(f"{one.name} ended with {error!r}")

    def bury(self) -> None:
        """End every task that is left, so that nothing runs when it is collected."""
        loop = self._loop
        loop.set_exception_handler(lambda _, __: None)
        for one in (*self.faults.foremen, *self.producers):
            one.link.cut = True
            one.process.bury()
        for _ in range(50):
            tasks = asyncio.all_tasks(loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks, timeout=60.0))
        loop.run_until_complete(loop.shutdown_asyncgens())
        self._backend.close()


_ALARMING = ("attempt.broken", "settle.broken", "foreman.failed", "events.failed")


class _Ears(logging.Handler):
    """Notes what a foreman says that must not happen, whatever the network does."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(_ALARMING):
            error = record.exc_info[1] if record.exc_info else None
            self.heard.append(f"{text} {error!r}")


@contextmanager
def _listening() -> Iterator[list[str]]:
    """The alarming lines of the log in a block; the others are not shown."""
    logger = logging.getLogger("treadle")
    ears, level, propagates = _Ears(), logger.level, logger.propagate
    handlers = logger.handlers
    logger.handlers = list[logging.Handler]([ears])
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield ears.heard
    finally:
        logger.handlers = handlers
        logger.setLevel(level)
        logger.propagate = propagates
