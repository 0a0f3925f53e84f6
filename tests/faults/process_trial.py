"""A store, processes that work on it, and what was done to them; judged by the ledgers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.process_child import Orders
from tests.faults.process_jobs import Jobs
from treadle import Job, JobState, Treadle, backends
from treadle.clock import SystemClock
from treadle.failpoints import ENVIRONMENT
from treadle.ids import SystemIds
from treadle.ports import Claim, Query
from treadle.records import SessionInfo
from treadle.testing.ledger import Blow, Findings, Ledger, Witness, check, dump, witnessed

__all__ = ["LEASE", "Child", "Trial", "trial"]

ROOT = Path(__file__).parents[2]
LEASE = 2.0
PATIENCE = 60.0
OPTIONS = {"suspect_every": 0.5, "concurrency": 20, "grace": 5.0}
_OPEN = (JobState.WAITING, JobState.SCHEDULED, JobState.QUEUED, JobState.RUNNING)
_CLOCK = SystemClock()


class Child:
    """A process of a trial."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, ledger: Ledger) -> None:
        assert process.stdout is not None
        self.process = process
        self.name = name
        self._ledger = ledger
        self._stdout = process.stdout

    async def hears(self, word: str, times: int = 1) -> bool:
        """Wait until it has said a word so often; whether it did before its end."""
        async with asyncio.timeout(PATIENCE):
            for _ in range(times):
                said = ""
                while said != word:
                    line = await self._stdout.readline()
                    if not line:
                        return False
                    said = line.decode().strip()
        return True

    async def rest(self) -> list[str]:
        """All that it still has to say."""
        return (await self._stdout.read()).decode().split()

    def _state(self) -> str:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0]

    async def stopped(self) -> None:
        """Wait until it stands still. It is written down as such from its start."""
        async with asyncio.timeout(PATIENCE):
            while self._state() != "T":
                await _CLOCK.sleep(0.005)

    def freeze(self) -> None:
        """Stop it where it is."""
        self._ledger.fault(self.name, Blow.FROZEN)
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)
        self._ledger.fault(self.name, Blow.WOKEN)

    def tamper(self) -> None:
        """Write down that from now on nothing in it can be relied on."""
        self._ledger.fault(self.name, Blow.FROZEN)

    def kill(self) -> None:
        """Kill it where it is."""
        self._ledger.fault(self.name, Blow.KILLED)
        self.process.kill()

    async def ended(self) -> int:
        """Wait for its end, and write it down if it was a bad one.

        Raises:
            AssertionError: it does not end; where each of its threads is stands in its errors.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                status = await self.process.wait()
        except TimeoutError:
            state = self._state()
            self.process.send_signal(signal.SIGUSR2)
            await _CLOCK.sleep(1)  # nothing tells that it has written everything
            raise AssertionError(f"{self.name} does not end; its state is {state}") from None
        if status != 0:
            self.died()
        return status

    def died(self) -> None:
        """Write down that it did not end in good order."""
        self._ledger.fault(self.name, Blow.KILLED)

    async def stop(self) -> int:
        """Ask it to end in good order."""
        if self.process.returncode is None:
            self.process.terminate()
        return await self.ended()

    async def close(self) -> None:
        """Leave nothing of it."""
        if self.process.returncode is None:
            self.process.kill()
        await self._stdout.read()
        await self.process.wait()
        self.process._transport.close()  # type: ignore[attr-defined]


class Trial:
    """A store in a folder, an app of the driver, and the processes that it started."""

    def __init__(self, folder: Path, app: Treadle, ledger: Ledger, lease: float) -> None:
        self.folder = folder
        self.app = app
        self.lease = lease
        self.ledger = ledger
        self.go_on = folder / "ledgers" / "go on"
        self.jobs = Jobs(app, ledger, self.go_on)
        self.children: list[Child] = []
        # Those who have claimed a job and say nothing any more.
        self._silent: list[str] = []
        self._numbers = count(1)

    @property
    def _ledgers(self) -> Path:
        return self.folder / "ledgers"

    async def start(
        self,
        point: str = "",
        rule: str = "",
        *,
        pushes: int = 0,
        unique: bool = False,
        group: int | None = None,
        **options: Any,
    ) -> Child:
        """A process, armed with one failpoint, that is up.

        Args:
            point: whose passes it says.
            rule: what happens there.
            pushes: jobs to push one by one, instead of serving.
            unique: they have one unique key, and wait until all may go on.
            group: of processes, to be in; 0 makes one. Else it is that of the test.
            options: of the foreman.
        """
        name = f"{next(self._numbers)}-{point or 'unarmed'}-{rule}"
        orders = Orders(
            url=self.app.core.url,
            ledgers=str(self._ledgers),
            name=name,
            point=point,
            pushes=pushes,
            unique=unique,
            options={**OPTIONS, "lease": self.lease, **options},
        )
        path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        armed = f"{point}={rule}" if rule else ""
        with (self.folder / "stderr").open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tests.faults.process_child", msgspec.json.encode(orders).decode()),
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                process_group=group,
                env={**os.environ, "PYTHONPATH": path, ENVIRONMENT: armed},
            )
        child = Child(process, name, self.ledger)
        self.children.append(child)
        assert await child.hears("ready"), self.errors()
        return child

    def errors(self) -> str:
        """What the processes wrote on their standard error."""
        return (self.folder / "stderr").read_text()

    async def work(self, number: int = 50) -> Sequence[Job[Any]]:
        """Jobs of all kinds: asyncio, threads, a retry, one that outlives a renewal."""
        few = max(1, number // 10)
        add, again = self.jobs.add, self.jobs.again
        made: list[Job[Any]] = []
        made += await self.jobs.slow.aenqueue_many([(0, self.lease * 0.6)])
        made += await again.aenqueue_many([(n,) for n in range(few)])
        made += await self.jobs.add_in_thread.aenqueue_many([(n,) for n in range(few)])
        made += await add.aenqueue_many([(n,) for n in range(number - 2 * few - 1)])
        return made

    async def orphan(self) -> None:
        """A job whose lease lapses soon, because nobody renews it."""
        await self.jobs.add.aenqueue(1)
        name = f"silent-{next(self._numbers)}"
        async with self.stranger(name) as backend:
            session = await backend.open_session(SessionInfo(name=name))
            claimed = await backend.claim(Claim(session=session, request=1, limit=1, lease=0.2))
            assert claimed.leases
        self.ledger.fault(name, Blow.KILLED)
        self._silent.append(name)

    @asynccontextmanager
    async def stranger(self, name: str) -> AsyncIterator[Witness]:
        """The store, for somebody who is no foreman."""
        ledger = Ledger(self._ledgers, name)
        core = self.app.core
        backend = backends.open(
            core.url, clock=_CLOCK, ids=SystemIds(), namespace=core.settings.namespace
        )
        try:
            await backend.open()
            yield Witness(backend, ledger)
        finally:
            await backend.aclose()
            backend.close()
            ledger.close()

    async def drained(self) -> None:
        """Wait until every job has ended."""
        backend = await self.app.core.ready()
        async with asyncio.timeout(PATIENCE):
            while (await backend.find(Query(states=_OPEN, limit=1))).records:
                await _CLOCK.sleep(0.05)

    async def finish(self, *silent: Child) -> Findings:
        """Let an unarmed process do what is left, and compare the ledgers with the store.

        Args:
            silent: those that could not take their leave.
        """
        relief = await self.start()
        await self.drained()
        assert await relief.stop() == 0, self.errors()
        store = await dump(await self.app.core.ready())
        # Who died is said to be there until its presence lapses.
        died = [one.name for one in self.children if one.process.returncode != 0]
        present = dict.fromkeys([*died, *self._silent, *(one.name for one in silent)], 1)
        # A store that answers so late lets leases lapse: others keep the machine busy.
        return check(self._ledgers, store, present=present, slow=self.lease / 2)


@asynccontextmanager
async def trial(
    folder: Path, patience: float = 10.0, lease: float = LEASE, url: str | None = None
) -> AsyncIterator[Trial]:
    """A trial on a fresh SQLite file, or on another store; its processes end with the block.

    Args:
        folder: for the file and the ledgers.
        patience: of the store with a process that keeps others from writing.
        lease: of the foremen, in seconds.
        url: of the other store, which is empty. Its namespace stands in the environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder / "ledgers", "driver")
    app = Treadle(url or f"sqlite:///{folder}/jobs.db?durability=normal&patience={patience:g}")
    witnessed(app, ledger)
    made = Trial(folder, app, ledger, lease)
    try:
        async with app:
            yield made
    finally:
        for child in made.children:
            await child.close()
        ledger.close()
