"""A run of many processes over one store, struck all the time, and judged by their ledgers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tests.soak.crew import Crew, Post
from tests.soak.plan import Hit, hits, naps, strikes
from tests.soak.stores import Outage, Store, Tail, pace, strike_store, too_slow
from tests.soak.tasks import app_of, witness
from treadle.clock import SystemClock
from treadle.errors import BackendError
from treadle.ports import Query
from treadle.records import FINAL
from treadle.testing.ledger import Blow, Dump, Findings, History, Ledger, check, dump
from treadle.testing.ledger.deliveries import carried_out

__all__ = ["Goal", "Soak"]

T = TypeVar("T")

# Jobs that are kept waiting, and pushed at a time.
_WAITING = 400
_BATCH = 200
# Share of ordinary jobs.
_ORDINARY = 0.7
# Seconds for what takes a few.
_PATIENCE = 60.0
# Seconds until the first foreman has ended a job, on a machine that nobody else keeps busy.
_FIRST = 3.0
# Seconds within which jobs end again after a blow to a server.
_RECOVERY = 30.0
# Seconds that a foreman is present without a renewal.
_PRESENCE = 30.0


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """What has to have happened, or the run proves nothing."""

    jobs: int
    kills: int
    freezes: int
    refused: int
    # Blows to servers after which the work went on.
    outages: int = 0

    def missing(self, findings: Findings, outages: int = 0) -> list[str]:
        """What has not."""
        got = findings.figures
        pairs = {
            "jobs": (got.accepted, self.jobs),
            "kills of a process with a started job": (got.kills_with_work, self.kills),
            "freezes of a process with a started job": (got.freezes_with_work, self.freezes),
            "verdicts sent too late and refused": (got.refused, self.refused),
            "blows to servers": (outages, self.outages),
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
        stores: servers that are killed and frozen, too.
        every: seconds between two blows to them.
    """

    def __init__(
        self,
        directory: Path,
        posts: Sequence[Post],
        seed: int,
        *,
        lease: float,
        stores: Sequence[Store] = (),
        every: float = 20.0,
    ) -> None:
        self._directory = directory
        self._posts = posts
        self._seed = seed
        self._lease = lease
        self._clock = SystemClock()
        self._ledgers = directory / "ledgers"
        self._alone = posts[0].alone
        self._app, self._tasks = app_of(alone=self._alone)
        self._ledger: Ledger
        self._crew: Crew
        self._stores = stores
        self._every = every
        self._tail = Tail(self._ledgers)
        self._began = 0.0
        # Those after which the work went on.
        self.outages: list[Outage] = []

    async def run(self, seconds: float, goal: Goal, longest: float) -> Findings:
        """Strike for so long, longer until the goal is reached, at most for ``longest``."""
        async with AsyncExitStack() as stack:
            ledger = stack.enter_context(witness(self._app, self._ledgers, "driver", self._lease))
            self._ledger = ledger
            stack.enter_context(self._app.override(url=self._posts[0].url))
            await stack.enter_async_context(self._app)
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
        started = self._began = self._clock.monotonic()
        self._crew.fill()
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(self._produce()),
                group.create_task(self._strike()),
                group.create_task(self._tend()),
            ]
            harm = [group.create_task(self._harm())] if self._stores else []
            await self._clock.sleep(seconds)
            while self._clock.monotonic() - started < longest:
                so_far = await asyncio.to_thread(
                    check, self._ledgers, Dump(records=()), drained=False
                )
                if not goal.missing(so_far, len(self.outages)):
                    break
                await self._clock.sleep(seconds / 10)
            for helper in harm:
                helper.cancel()
                # Its last blow is over when the work goes on, which the others see to.
                await asyncio.wait({helper})
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
                        kind = 0 if share < _ORDINARY else int(share * 997) % len(self._tasks)
                        calls.append(self._tasks[kind].bind(length))
                    await self._app.aenqueue_many(calls)
                    continue
            await self._clock.sleep(0.05)

    async def _harm(self) -> None:
        """Kill or freeze a server every now and then; it is back soon, and so is the work."""
        while not self._tail.ended():
            await self._clock.sleep(0.05)
        # On a machine that others keep busy everything takes longer.
        began = self._clock.monotonic()
        busy = max(1.0, (began - self._began) / _FIRST)
        for hit in hits(self._seed, len(self._stores)):
            store = self._stores[hit.whom]
            young = began + store.young - self._clock.monotonic()
            await self._clock.sleep(max(young, self._every * hit.after))
            blow = asyncio.ensure_future(self._blow(store, hit, busy))
            try:
                await asyncio.shield(blow)
            except asyncio.CancelledError:
                # No server is left frozen or dead.
                await blow
                raise

    async def _blow(self, store: Store, hit: Hit, busy: float) -> None:
        """Kill or freeze a server once, and wait until it and the work are back."""
        with self._crew.cut_off() if store.vital else nullcontext():
            if hit.kills and store.forgets:
                self._ledger.fault("store", Blow.CRASHED)
            outage = await strike_store(store, hit, self._lease, self._clock)
            outage = msgspec.structs.replace(outage, soon=outage.soon * busy)
            await self._going_on(outage, _RECOVERY * busy)
        self.outages.append(outage)

    async def _going_on(self, outage: Outage, patience: float) -> None:
        """Wait until jobs end again."""
        before = self._tail.ended()
        try:
            async with asyncio.timeout(patience):
                while self._tail.ended() <= before:
                    await self._clock.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{outage}: no job ended for {patience:g} s after it") from None

    @property
    def _away(self) -> tuple[type[Exception], ...]:
        return (BackendError, OSError) if self._stores else ()

    async def _unfinished(self) -> int:
        backend = await self._app.core.ready()
        page = await backend.find(Query(limit=1, counts=True))
        return sum(
            number
            for states in page.counts.values()
            for state, number in states.items()
            if state not in FINAL
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
        with suppress(TimeoutError):  # what has not ended is judged
            async with asyncio.timeout(_PATIENCE):
                while await self._unfinished() or await asyncio.to_thread(self._unheard):
                    self._crew.tend(all_awake=True)
                    await self._clock.sleep(0.1)

    def _unheard(self) -> bool:
        """Whether a job is somewhere that a broker does not count, because somebody has it."""
        return self._alone and any(carried_out(History.read(self._ledgers)))

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
        return self._lease * 3 + 20 + (2 * _RECOVERY if self._stores else 0.0)

    async def _judged(self) -> Findings:
        store = None if self._alone else await dump(await self._app.core.ready())
        # A store does not know the lease of a foreman that is killed before its first renewal.
        fresh = {
            one.name: 1
            for one in (() if store is None else store.sessions)
            if one.name in self._crew.killed and one.until <= one.opened + _PRESENCE
        }
        history = await asyncio.to_thread(History.read, self._ledgers)
        for outage, share in pace(history, self.outages):
            after = outage.begin - self._began
            print(f"after {after:.0f} s {outage}, then {share:.0%} of the usual speed")
        slow = too_slow(history, self.outages)
        assert not slow, "\n".join(slow)
        return await asyncio.to_thread(
            check,
            history,
            store,
            recovery=self._longest,
            longest_standstill=self._longest,
            # The children are more than the processors, and other tests run beside them.
            slow=self._lease / 4,
            present=fresh,
        )
