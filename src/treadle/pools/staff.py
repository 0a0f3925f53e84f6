"""Workers of one kind that are lent to jobs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from treadle.clock import Clock
from treadle.errors import InvalidOption, WorkerError, WorkerNotStarted
from treadle.logs import get_logger
from treadle.policies.limitset import Limits
from treadle.pools.crewstats import PlaceStats
from treadle.pools.member import Member, Phase
from treadle.pools.options import PoolOptions
from treadle.pools.pace import Pace, rates_of
from treadle.pools.resident import Plan
from treadle.pools.upkeep import Upkeep

__all__ = ["Staff"]

_log = get_logger("treadle.pools")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
# Looking a member up in its enum costs more than a global name.
_READY = Phase.READY


class Staff:
    """Lends each worker to one job at a time, or to as many as it has slots.

    It lives in the event loop of whoever runs the jobs. A worker is started when the first job
    needs it; one that cannot be started is tried again after pauses that grow, and in the
    meantime the others work on.

    Args:
        plan: how a worker is made.
        options: number, mode, restarts.
        ready_made: workers that exist already, instead of ``options.max_workers`` new ones.
        limits: how often each worker is lent.
        clock: paces the starts.
        changed: told whenever a worker may be free.
        give_up: failed starts in a row after which a worker is given up; ``None`` for never.
        all_gone: told the reason when the last worker was given up.
    """

    def __init__(
        self,
        plan: Plan,
        options: PoolOptions,
        *,
        clock: Clock,
        ready_made: Sequence[Any] = (),
        limits: Limits | None = None,
        changed: Callable[[], None] = lambda: None,
        give_up: int | None = None,
        all_gone: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self.name = plan.name
        self.slots = options.slots
        self.patience = options.patience
        self._plan = plan
        self._ready_made = tuple(ready_made)
        self._options = options
        self._clock = clock
        self._changed = changed
        self._give_up = give_up
        self._all_gone = all_gone
        self._rates = rates_of((*Limits.of(options.limits), *Limits.of(limits)))
        self._upkeep = Upkeep(self.name, options, clock, welcome=self._welcome, failed=self._failed)
        self._paces: dict[int, Pace] = {}
        number = len(ready_made) or options.max_workers
        self.members = [self._member(index) for index in range(number)]
        # Those too many, which end the jobs that they have.
        self._leaving: list[Member] = []
        self._abandoned = 0
        self._probes = any(hasattr(one, "healthy") for one in (ready_made or (plan.cls,)))
        self._ready: deque[Member] = deque()
        self._absent = deque(self.members)
        # Started for a job that is to have one of them.
        self._starting: set[Member] = set()
        # Jobs that are to have a worker and have none yet.
        self._wanting = 0
        # Of them, those that wait for their turn.
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False
        if self._probes and options.probe_every is not None:
            self._upkeep.later(options.probe_every, self._probe_idle)

    def _member(self, index: int) -> Member:
        own = self._ready_made[index] if self._ready_made else None
        attributes = {**self._plan.attributes, "index": index}
        made = msgspec.structs.replace(self._plan, ready_made=own, attributes=attributes)
        # Who comes after one that left has its number, and goes on with its rates.
        pace = self._paces.setdefault(index, Pace(self._rates, self._clock))
        return Member(made, index, pace)

    @property
    def free(self) -> int:
        """Jobs that can be given a worker now, or one that is started for them.

        A worker that has come for a job is that job's, also before the job was told of it.
        """
        coming = len(self._absent) + len(self._starting)
        if self._rates:  # after one loan they may allow no other
            return len(self._ready) + coming - self._wanting
        ready = sum(self.slots - member.taken for member in self._ready)
        return ready + self.slots * coming - self._wanting

    @property
    def capacity(self) -> int:
        """Jobs that can have a worker when all are there."""
        return self.slots * len(self.members)

    @property
    def abandoned(self) -> int:
        """Calls that were asked to end, did not, and were left to themselves."""
        places = (one.place for one in (*self.members, *self._leaving))
        return self._abandoned + sum(place.abandoned for place in places if place is not None)

    @property
    def numbers(self) -> tuple[PlaceStats, ...]:
        """What each worker has done: those that there are, then those that are leaving."""
        there = sorted(self.members, key=lambda member: member.index)
        return tuple(member.numbers for member in (*there, *self._leaving))

    # ------------------------------------------------------------- lending

    def take(self) -> Member | None:
        """A worker that is ready, if there is one."""
        ready = self._ready
        if not ready:
            return None
        member = ready.popleft()
        member.listed = False
        member.taken += 1
        member.total += 1
        member.jobs += 1
        if self._rates:
            member.pace.spend()
        if member.jobs == self._options.restart_every:
            member.restart = True
        if member.taken < self.slots:
            self._list(member)
        return member

    def _list(self, member: Member) -> None:
        """Have it lent again if it can be, at once or as soon as its rates allow it."""
        if (
            member.listed
            or member.taken == self.slots
            or member.resting
            or member.restart
            or member.phase is not _READY
        ):
            return
        if self._rates and (pause := member.pace.pause()) > 0:
            member.resting = True
            self._upkeep.later(pause, lambda: self._rested(member))
            return
        member.listed = True
        self._ready.append(member)

    def _rested(self, member: Member) -> None:
        member.resting = False
        self._list(member)
        self._wake()

    async def lease(self) -> Member:
        """A worker, as soon as there is one.

        Raises:
            WorkerNotStarted: the one that was started for this could not be, or all are given up.
            WorkerStopped: the staff is gone.
        """
        member = self.take()
        if member is not None:
            return member
        self._wanting += 1
        try:
            while (member := self.take()) is None:
                await self._another()
            return member
        finally:
            self._wanting -= 1

    async def _another(self) -> None:
        """Return when it is worth asking for a worker again."""
        if self._closed:
            raise self._upkeep.gone()
        if self._absent:
            absent = self._absent.popleft()
            self._starting.add(absent)
            await asyncio.shield(self._upkeep.spawn(self._upkeep.start(absent)))
        elif all(member.phase is Phase.DEAD for member in self.members):
            raise WorkerNotStarted(f"all workers {self.name} are given up", worker=self.name)
        else:
            await self._turn()

    async def _turn(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._wake()  # woken for nothing: the next has the turn
            elif turn in self._waiting:  # else it was passed over
                self._waiting.remove(turn)
            raise

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                break
        self._changed()

    def give_back(
        self, member: Member, *, failed: bool, doubted: bool = False, restart: bool = False
    ) -> None:
        """The job of a worker has ended.

        Args:
            failed: in an error, so that a worker that knows is asked for its health.
            doubted: its code may still be running, so that any worker is asked, which waits for it.
            restart: it asks for a fresh worker.
        """
        member.taken -= 1
        if failed or doubted or restart or member.leaving or self._rates:
            self._looked_over(member, failed=failed, doubted=doubted, restart=restart)
        elif member.restart or member.doubted or member.phase is not _READY:
            self._withhold(member)
        else:
            if not member.listed:
                member.listed = True
                self._ready.append(member)
            self._offer()

    def _looked_over(self, member: Member, *, failed: bool, doubted: bool, restart: bool) -> None:
        """Decide what becomes of a worker after a job that may have left something behind."""
        member.errors += failed
        if member.leaving:
            self._see_off(member)
            return
        if restart:
            member.restart = True
        if doubted or (failed and self._probes):
            member.doubted = True
        if member.restart or member.doubted or member.phase is not _READY:
            self._withhold(member)
            return
        self._list(member)
        self._offer()

    def _offer(self) -> None:
        """Tell those who may want a worker that there is one."""
        if self._waiting:
            self._wake()
        else:
            self._changed()

    def _withhold(self, member: Member) -> None:
        """Lend a worker no more before it was looked after, which it is without jobs."""
        if member.phase is not _READY:
            return
        self._withdraw(member)
        if member.taken == 0:
            member.phase = Phase.AWAY
            self._upkeep.spawn(self._upkeep.look_after(member))

    def _withdraw(self, member: Member) -> None:
        if member.listed:
            member.listed = False
            self._ready.remove(member)

    # ------------------------------------------------------------- how many there are

    async def start(self) -> None:
        """Start all workers, one after another with the delay between them.

        Raises:
            WorkerNotStarted: one could not; :meth:`aclose` stops those that were.
        """
        absent, self._absent = self._absent, deque[Member]()
        await self._upkeep.start_each(absent)

    async def resize(self, workers: int) -> None:
        """Have so many workers from now on.

        Those too many, the dead ones first and then those with the largest numbers, end the jobs
        that they have. Returns once new ones are started.

        Raises:
            InvalidOption: there are not so many ready-made ones.
            WorkerNotStarted: a new one could not be; there are as many as before.
            WorkerStopped: the staff is gone.
        """
        if self._ready_made and workers > len(self._ready_made):
            raise InvalidOption(
                f"max_workers={workers} is more than the {len(self._ready_made)} workers that were "
                "given; a class of workers can be made more of",
                option="max_workers",
                value=workers,
            )
        if self._closed:
            raise self._upkeep.gone()
        ranked = sorted(self.members, key=lambda one: (one.phase is Phase.DEAD, one.index))
        for member in ranked[workers:]:
            self._let_go(member)
        known = {one.index for one in self.members}
        free = (index for index in range(workers) if index not in known)
        added = [self._member(next(free)) for _ in range(workers - len(self.members))]
        self.members += added
        try:
            await self._upkeep.start_each(added)
        except BaseException:
            for member in added:
                self._let_go(member)
            raise

    def _let_go(self, member: Member) -> None:
        if member.leaving:
            return
        self.members.remove(member)
        self._leaving.append(member)
        self._starting.discard(member)
        member.leaving = True
        self._withdraw(member)
        if member in self._absent:
            self._absent.remove(member)
        self._see_off(member)

    def _see_off(self, member: Member) -> None:
        """Stop a worker that leaves, once nothing needs it any more."""
        if member.taken == 0 and member.phase is not Phase.AWAY and not self._closed:
            member.phase = Phase.AWAY
            self._upkeep.spawn(self._part_with(member))

    async def _part_with(self, member: Member) -> None:
        await self._upkeep.dismiss(member)
        self._leaving.remove(member)
        self._abandoned += 0 if member.place is None else member.place.abandoned

    # ------------------------------------------------------------- what becomes of them

    def _welcome(self, member: Member) -> None:
        """It is ready for its next job."""
        self._starting.discard(member)
        if self._closed:
            return
        member.phase = Phase.READY
        member.failures = 0
        member.restart = member.doubted = False
        if member.leaving:
            self._see_off(member)
            return
        self._list(member)
        for _ in range(self.slots):
            self._wake()

    def _failed(self, member: Member, error: WorkerError) -> None:
        """It could not be started or restarted: try later, or never again."""
        self._starting.discard(member)
        member.failures += 1
        member.jobs = 0
        member.started = None
        member.phase = Phase.RESTING
        if member.leaving:
            self._see_off(member)
            return
        _log.warning("worker.not_started", worker=self.name, index=member.index,
                     failures=member.failures, error=repr(error))  # fmt: skip
        if self._give_up is not None and member.failures >= self._give_up:
            member.phase = Phase.DEAD
            if all(one.phase is Phase.DEAD for one in self.members):
                self._all_gone(error)
                while self._waiting:
                    self._wake()
            return
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(member.failures - 1, 16))
        self._upkeep.later(pause, lambda: self._recovered(member))

    def _recovered(self, member: Member) -> None:
        if member.leaving:
            return
        member.phase = Phase.ABSENT
        self._absent.append(member)
        self._wake()

    def _probe_idle(self) -> None:
        """Ask workers for their health that nothing else would ask."""
        assert self._options.probe_every is not None
        for member in [one for one in self._ready if one.taken == 0]:
            self._withdraw(member)
            member.phase = Phase.AWAY
            self._upkeep.spawn(self._upkeep.look_after(member))
        self._upkeep.later(self._options.probe_every, self._probe_idle)

    async def aclose(self) -> None:
        """Stop the workers. No job may have one."""
        self._closed = True
        while self._waiting:
            self._wake()
        await self._upkeep.aclose((*self.members, *self._leaving))
