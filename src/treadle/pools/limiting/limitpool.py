"""Several sets of limits, of which each call takes the one that has room."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from typing import Any, Literal, TypeAlias

from treadle.clock import Clock
from treadle.durations import Duration, seconds
from treadle.errors import UsageError
from treadle.guards import Explained
from treadle.ids import Ids, SystemIds
from treadle.policies.definition import one_of, refuse
from treadle.policies.limitset import Wanted
from treadle.policies.turnstile import KeyState
from treadle.pools.limiting.acquisition import Acquisition, AsyncAcquisition, Request
from treadle.pools.limiting.keeper import Awaited, Keeper
from treadle.pools.limiting.limitset import LimitSet, LimitStats
from treadle.ports import Granted, Permit, Ticket, Wait
from treadle.records import Ask, Hold

__all__ = ["LimitBalancing", "LimitPool"]

LimitBalancing: TypeAlias = Literal["round_robin", "random", "least_used"]
_BALANCING = ("round_robin", "random", "least_used")


class LimitPool(metaclass=Explained):
    """Sets of limits, such as one for each region or key of a service.

    Each call takes the first set that has room, in the order that ``balancing`` says; when none
    has, it stands in line at the one that will have room first, as far as that is known::

        regions = LimitPool(
            LimitSet(Rate(100, per="1m"), config={"region": "eu"}),
            LimitSet(Rate(500, per="1m"), config={"region": "us"}),
        )

        with regions.acquire() as got:
            print(got.config["region"])

    Args:
        sets: the sets. One in which a request can never be granted is passed over.
        balancing: which is tried first: ``round_robin``, ``random``, or ``least_used``.
        ids: a source of chance.
    """

    def __init__(
        self,
        *sets: LimitSet,
        balancing: LimitBalancing = "round_robin",
        ids: Ids | None = None,
    ) -> None:
        for one in sets:
            if not isinstance(one, LimitSet):
                refuse("sets", one, "a LimitSet")
            if not one:
                refuse("sets", one, "a LimitSet with limits")
        if not sets:
            refuse("sets", sets, "one LimitSet or more")
        self.sets = sets
        self.balancing: str = one_of(balancing, "balancing", _BALANCING)
        self._ids = ids or SystemIds()
        self._turns = count()

    def __repr__(self) -> str:
        return f"LimitPool({', '.join(map(repr, self.sets))})"

    def __reduce__(self) -> tuple[Callable[..., LimitPool], tuple[Any, ...]]:
        return _restored, (self.sets, self.balancing)

    def acquire(
        self,
        requested: Mapping[str, float] | None = None,
        timeout: Duration | None = None,
        *,
        arguments: Mapping[str, Any] | None = None,
    ) -> Acquisition:
        """Hold limits of one set for a block; see :meth:`LimitSet.acquire`.

        Raises:
            LimitTimeout: they were not granted in time.
            UnknownOption: a name that no limit has.
            InvalidOption: an amount that none of the sets can ever grant.
            Blocking: an event loop runs here; use :meth:`aacquire`.
        """
        request = self.request(self.sets[0].wanted(requested, arguments))
        return Acquisition(request, _time(timeout), "a block")

    def aacquire(
        self,
        requested: Mapping[str, float] | None = None,
        timeout: Duration | None = None,
        *,
        arguments: Mapping[str, Any] | None = None,
    ) -> AsyncAcquisition:
        """As :meth:`acquire`, for ``async with``."""
        request = self.request(self.sets[0].wanted(requested, arguments))
        return AsyncAcquisition(request, _time(timeout), "a block")

    @property
    def stats(self) -> tuple[dict[str, LimitStats], ...]:
        """The limits of each set."""
        return tuple(one.stats for one in self.sets)

    # ------------------------------------------------------------- for pools

    @property
    def static(self) -> bool:
        """Whether every call asks for the same, whatever its arguments."""
        return all(one.static for one in self.sets)

    @property
    def per_worker(self) -> bool:
        """Whether some limit is one for each worker."""
        return any(one.per_worker for one in self.sets)

    def request(self, wanted: Wanted) -> Request:
        """What is wanted, of whichever set will be chosen."""
        possible: list[Request] = []
        refused: UsageError | None = None
        for one in self.sets:
            try:
                possible.append(one.request(wanted))
            except UsageError as error:
                refused = error
        if not possible:
            assert refused is not None
            raise refused
        return _Choosing(possible, self._in_order)

    def inside(self, worker: int | None) -> LimitPool:
        """The sets as the code of a call sees them; see :meth:`LimitSet.inside`."""
        view = _restored(tuple(one.inside(worker) for one in self.sets), self.balancing)
        view._turns = self._turns
        return view

    def _in_order(self, requests: Sequence[Request]) -> list[Request]:
        """The sets in the order in which they are tried."""
        if self.balancing == "random":
            return sorted(requests, key=lambda _: self._ids.chance.random())
        if self.balancing == "least_used":
            return sorted(requests, key=_share)
        first = next(self._turns) % len(requests)
        return [*requests[first:], *requests[:first]]


def _restored(sets: tuple[LimitSet, ...], balancing: Any) -> LimitPool:
    return LimitPool(*sets, balancing=balancing)


def _share(request: Request) -> float:
    """How much of a set is used: the part of its scarcest limit."""
    asks = list(request.asks.values())
    seen = request.keeper.look(asks)
    parts = [
        seen[ask.key].used / (ask.slots if isinstance(ask, Hold) else ask.burst or ask.count)
        for ask in asks
        if ask.key in seen
    ]
    return max(parts, default=0.0)


class _Choosing:
    """A request that settles on one of several sets each time it is made; its own keeper."""

    def __init__(
        self, requests: list[Request], in_order: Callable[[Sequence[Request]], list[Request]]
    ) -> None:
        self._requests = requests
        self._in_order = in_order
        self._chosen = requests[0]
        self.clock: Clock = requests[0].keeper.clock

    @property
    def asks(self) -> Mapping[str, Ask]:
        """Of the set that was chosen."""
        return self._chosen.asks

    @property
    def config(self) -> Mapping[str, Any]:
        """What goes with the set that was chosen."""
        return self._chosen.config

    @property
    def uncounted(self) -> Collection[str]:
        """Of the set that was chosen."""
        return self._chosen.uncounted

    @property
    def keeper(self) -> Keeper:
        """Itself."""
        return self

    @property
    def awaited(self) -> Awaited:
        """The same verbs, to be awaited."""
        return _AwaitedChoosing(self)

    def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Granted | Wait:
        """Take all asks of one set or none."""
        if ticket is not None:
            return self._chosen.keeper.acquire(tuple(self.asks.values()), ticket)
        waits: list[tuple[Wait, Request]] = []
        for request in self._in_order(self._requests):
            answer = request.keeper.acquire(tuple(request.asks.values()), None)
            if isinstance(answer, Granted):
                self._chosen = request
                for wait, other in waits:
                    other.keeper.withdraw(wait.ticket)
                return answer
            waits.append((answer, request))
        best, others = self.settle(waits)
        for wait, other in others:
            other.keeper.withdraw(wait.ticket)
        return best

    async def take(self, ticket: Ticket | None) -> Granted | Wait:
        """As :meth:`acquire`, awaited."""
        if ticket is not None:
            return await self._chosen.keeper.awaited.acquire(tuple(self.asks.values()), ticket)
        waits: list[tuple[Wait, Request]] = []
        for request in self._in_order(self._requests):
            answer = await request.keeper.awaited.acquire(tuple(request.asks.values()), None)
            if isinstance(answer, Granted):
                self._chosen = request
                for wait, other in waits:
                    await other.keeper.awaited.withdraw(wait.ticket)
                return answer
            waits.append((answer, request))
        best, others = self.settle(waits)
        for wait, other in others:
            await other.keeper.awaited.withdraw(wait.ticket)
        return best

    def settle(self, waits: list[tuple[Wait, Request]]) -> tuple[Wait, list[tuple[Wait, Request]]]:
        """Choose where to stand in line; the wait there, and the places to give up."""
        best = min(waits, key=lambda one: one[0].delay)
        self._chosen = best[1]
        return best[0], [one for one in waits if one is not best]

    def turn(self, ticket: Ticket, seconds: float) -> None:
        """Block until it may be the turn of a ticket, or the seconds have passed."""
        self._chosen.keeper.turn(ticket, seconds)

    def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates, by key."""
        self._chosen.keeper.adjust(permit, used)

    def release(self, permit: Permit, unused: bool) -> None:
        """Free what is held; with ``unused`` give back what was spent, too."""
        self._chosen.keeper.release(permit, unused)

    def withdraw(self, ticket: Ticket) -> None:
        """Leave the line."""
        self._chosen.keeper.withdraw(ticket)

    def look(self, asks: Sequence[Ask]) -> dict[str, KeyState]:
        """What counts for the keys of these asks."""
        return self._chosen.keeper.look(asks)


class _AwaitedChoosing:
    def __init__(self, choosing: _Choosing) -> None:
        self._choosing = choosing

    @property
    def _awaited(self) -> Awaited:
        return self._choosing._chosen.keeper.awaited

    async def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Granted | Wait:
        return await self._choosing.take(ticket)

    async def turn(self, ticket: Ticket, seconds: float) -> None:
        await self._awaited.turn(ticket, seconds)

    async def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        await self._awaited.adjust(permit, used)

    async def release(self, permit: Permit, unused: bool) -> None:
        await self._awaited.release(permit, unused)

    async def withdraw(self, ticket: Ticket) -> None:
        await self._awaited.withdraw(ticket)


def _time(timeout: Duration | None) -> float | None:
    return None if timeout is None else seconds(timeout, "timeout")
