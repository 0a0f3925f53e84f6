"""A run of many processes over one store, struck all the time, and judged by their ledgers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tests.soak.crew import Crew, Post
from tests.soak.plan import Kind, naps, strikes
from tests.soak.tasks import TASKS, app, witness
from treadle.clock import SystemClock
from treadle.errors import BackendError
from treadle.ports import Query
from treadle.records import FINAL
from treadle.testing.ledger import Blow, Dump, Findings, Ledger, check, dump
from treadle.testing.servers import Server

__all__ = ["Goal", "Soak"]

T = TypeVar("T")

# Jobs that are kept waiting, and pushed at a time.
_WAITING = 400
_BATCH = 200
# Share of ordinary jobs.
_ORDINARY = 0.7
# Seconds for what takes a few.
_PATIENCE = 60.0
# Seconds between two blows to the server, and within which jobs end again after one.
_HARM_EVERY = 20.0
_RECOVERY = 30.0
# Seconds that a foreman is present without a renewal.
_PRESENCE = 30.0


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """What has to have happened, or the run proves nothing."""

    jobs: int
    kills: int
    freezes: int
    refused: int

    def missing(self, findings: Findings) -> list[str]:
        """What has not."""
        got = findings.figures
        pairs = {
            "jobs": (got.accepted, self.jobs),
            "kills of a process with a started job": (got.kills_with_work, self.kills),
            "freezes of a process with a started job": (got.freezes_with_work, self.freezes),
            "verdicts sent too late and refused": (got.refused, self.refused),
        }
        return [
            f"{name}: {number}, not {wanted}"
            for name, (number, wanted) in pairs.items()
            if number < wanted
        ]


class Soak:
    """One run.

    Args:
        directory: of ledgers, log and, where it has one, the store.
        posts: the foremen; the jobs are pushed where the first of them works.
        seed: of what is struck when, and of the jobs.
        lease: seconds.
        server: has the store; it is killed and frozen, too.
        forgets: whether the store may forget the last claims when its server is killed.
    """

    def __init__(
        self,
        directory: Path,
        posts: Sequence[Post],
        seed: int,
        *,
        lease: float,
        server: Server | None = None,
        forgets: bool = False,
    ) -> None:
        self._directory = directory
        self._posts = posts
        self._seed = seed
        self._lease = lease
        self._clock = SystemClock()
        self._ledgers = directory / "ledgers"
        self._ledger: Ledger
        self._crew: Crew
        self._server = server
        self._forgets = forgets
        # Blows to the server after which work went on.
        self.recoveries = 0

    async def run(self, seconds: float, goal: Goal, longest: float) -> Findings:
        """Strike for so long, longer until the goal is reached, at most for ``longest``."""
        async with AsyncExitStack() as stack:
            ledger = stack.enter_context(witness(self._ledgers, "driver", self._lease))
            self._ledger = ledger
            stack.enter_context(app.override(url=self._posts[0].url))
            await stack.enter_async_context(app)
            self._crew = Crew(
                self._posts, self._directory, ledger, lease=self._lease, concurrency=8
            )
            stack.callback(self._crew.close)
            await self._timed("under fire", self._under_fire(seconds, goal, longest))
            await self._timed("drained", self._drained())
            await self._timed("dismissed", self._dismissed())
            return await self._timed("judged", self._judged())
        raise AssertionError("the stack swallows nothing")

    async def _timed(self, what: str, step: Coroutine[Any, Any, T]) -> T:
        since = self._clock.monotonic()
        result = await step
        print(f"{what}: {self._clock.monotonic() - since:.1f} s", flush=True)
        return result

    async def _under_fire(self, seconds: float, goal: Goal, longest: float) -> None:
        started = self._clock.monotonic()
        self._crew.fill()
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(self._produce()),
                group.create_task(self._strike()),
                group.create_task(self._tend()),
            ]
            if self._server is not None:
                helpers.append(group.create_task(self._harm(self._server)))
            await self._clock.sleep(seconds)
            while self._clock.monotonic() - started < longest:
                so_far = await asyncio.to_thread(
                    check, self._ledgers, Dump(records=()), drained=False
                )
                if not goal.missing(so_far):
                    break
                await self._clock.sleep(seconds / 10)
            for helper in helpers:
                helper.cancel()

    async def _produce(self) -> None:
        """Keep some hundred jobs waiting, so that there is always something to lose."""
        plan = naps(self._seed)
        while True:
            # A server that is away says so, and whether it has taken the jobs is not known.
            with suppress(*self._away):
                if await self._unfinished() < _WAITING:
                    calls = []
                    for share, length in islice(plan, _BATCH):
                        ordinary = share < _ORDINARY
                        task = TASKS[0] if ordinary else TASKS[int(share * 997) % len(TASKS)]
                        calls.append(task.bind(length))
                    await app.aenqueue_many(calls)
                    continue
            await self._clock.sleep(0.05)

    async def _harm(self, server: Server) -> None:
        """Kill or freeze the server every now and then; it is back soon, and so is the work."""
        for strike in strikes(self._seed + 1):
            await self._clock.sleep(_HARM_EVERY * (0.5 + strike.whom))
            with self._crew.cut_off():
                if strike.kind is Kind.KILL:
                    if self._forgets:
                        self._ledger.fault("store", Blow.CRASHED)
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.start)
                else:
                    server.freeze()
                    await self._clock.sleep(strike.length * self._lease)
                    server.thaw()
                await self._going_on()
            self.recoveries += 1

    async def _going_on(self) -> None:
        """Wait until jobs end again."""
        before: int | None = None
        async with asyncio.timeout(_RECOVERY):
            while True:
                with suppress(*self._away):
                    ended = await self._ended()
                    if before is not None and ended > before:
                        return
                    before = ended if before is None else before
                await self._clock.sleep(0.05)

    @property
    def _away(self) -> tuple[type[Exception], ...]:
        return () if self._server is None else (BackendError, OSError)

    async def _unfinished(self) -> int:
        return await self._counted(final=False)

    async def _ended(self) -> int:
        return await self._counted(final=True)

    async def _counted(self, *, final: bool) -> int:
        backend = await app.core.ready()
        page = await backend.find(Query(limit=1, counts=True))
        return sum(
            number
            for states in page.counts.values()
            for state, number in states.items()
            if (state in FINAL) is final
        )

    async def _strike(self) -> None:
        for strike in strikes(self._seed):
            await self._clock.sleep(strike.after)
            while not self._crew.strike(strike):
                await self._clock.sleep(0.05)

    async def _tend(self) -> None:
        while True:
            self._crew.tend()
            assert not self._crew.unexpected, self._crew.unexpected
            await self._clock.sleep(0.02)

    async def _drained(self) -> None:
        """Strike no more, and wait until every job has ended."""
        self._crew.tend(all_awake=True)
        async with asyncio.timeout(_PATIENCE):
            while await self._unfinished():
                self._crew.tend(all_awake=True)
                await self._clock.sleep(0.1)

    async def _dismissed(self) -> None:
        """Wait until the foremen have stopped in good order."""
        self._crew.dismiss()
        async with asyncio.timeout(_PATIENCE):
            while any(status is None for status in self._crew.statuses()):
                await self._clock.sleep(0.05)
        statuses = list(self._crew.statuses())
        assert statuses == [0] * len(statuses), f"exit statuses {statuses}"
        assert not self._crew.unexpected, self._crew.unexpected

    @property
    def _longest(self) -> float:
        """Seconds after which a job that was interrupted runs again."""
        # All that ran when a process or server was struck are suspects afterwards, and run one at a
        # time, each alone in its foreman; the next blow makes more of them.
        return self._lease * 3 + 20 + (0.0 if self._server is None else 2 * _RECOVERY)

    async def _judged(self) -> Findings:
        store = await dump(await app.core.ready())
        # A store does not know the lease of a foreman that is killed before its first renewal.
        fresh = {
            one.name: 1
            for one in store.sessions
            if one.name in self._crew.killed and one.until <= one.opened + _PRESENCE
        }
        return await asyncio.to_thread(
            check,
            self._ledgers,
            store,
            recovery=self._longest,
            longest_standstill=self._longest,
            # The children are more than the processors, and other tests run beside them.
            slow=self._lease / 4,
            present=fresh,
        )
