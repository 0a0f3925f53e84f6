"""Limits together, with what they count: shared by everything that is given the same set."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from treadle.clock import Clock, SystemClock
from treadle.durations import Duration, seconds
from treadle.guards import Explained
from treadle.policies.limits import Limit
from treadle.policies.limitset import Limits, Wanted
from treadle.pools.limiting.acquisition import Acquisition, AsyncAcquisition, amounts_of
from treadle.pools.limiting.fleet import AbsentKeeper, FleetKeeper, LimitStore
from treadle.pools.limiting.keeper import Keeper, LocalKeeper
from treadle.pools.limiting.source import Source, opened, region_path
from treadle.records import Ask

__all__ = ["LIMITS", "LimitSet", "LimitStats"]


class LimitStats(msgspec.Struct, frozen=True, kw_only=True):
    """One limit in numbers."""

    # Units that can be had at once, at the most.
    capacity: float
    # Units that are held, or those of a rate that still count.
    used: float
    # Requests in line.
    waiting: int


class LimitSet(Limits, metaclass=Explained):
    """Limits that are granted together or not at all, and what was taken of them.

    Whatever is given the same set shares it: pools, threads, event loops; code takes from it
    with :meth:`acquire`. First come first served, so that nobody starves::

        limits = LimitSet(Rate(90_000, per="1m", key="tokens"), Slots(4))

        with limits.acquire({"tokens": 500}) as got:  # and one of the slots
            got.update({"tokens": 420})  # 80 go back

    Args:
        limits: :class:`Rate` and :class:`Slots`, each with a key of its own.
        shared: a name, or the path of a file: all processes of this machine that give the same one
            share what is counted. With True those share it that are forked, or get the set pickled,
            as the workers of a pool; without it the forked ones count for themselves.
        config: what goes with the set, such as a region; ``got.config`` has it.
        clock: tells the time; that of the machine where processes share.
        store: of an app, which counts for a fleet; see :meth:`Treadle.limits`.
    """

    # A tuple with state of its own cannot have slots.
    _source: Source
    _inside: bool
    _worker: int | None
    _owner: str
    config: Mapping[str, Any]

    def __new__(
        cls,
        *limits: Limit,
        shared: str | os.PathLike[str] | bool = False,
        config: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        store: LimitStore | None = None,
    ) -> Self:
        made = super().__new__(cls, *limits)
        if store is not None:
            made._source = Source(FleetKeeper(store))
        elif isinstance(shared, bool):
            made._source = Source(LocalKeeper(clock or SystemClock()))
        else:
            made._source = opened(region_path(shared), made=False)
        made._inside = False
        made._worker = None
        made._owner = ""
        made.config = dict(config or {})
        if shared is True and made:
            made._source.share()
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LimitSet) and (
            self._source is other._source if self or other else super().__eq__(other)
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return super().__hash__()

    def __reduce__(self) -> tuple[Callable[..., LimitSet], tuple[Any, ...]]:
        path = self._source.share() if self else ""
        view = (self._inside, self._worker, self._owner)
        return _restored, (tuple(self), self.config, path, view)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def acquire(
        self,
        requested: Mapping[str, float] | None = None,
        timeout: Duration | None = None,
        *,
        arguments: Mapping[str, Any] | None = None,
    ) -> Acquisition:
        """Hold limits for a block: ``with limits.acquire({"tokens": 500}) as got``.

        Each limit of the set is taken: those that are named with these amounts, the others with
        their ``cost`` or ``units``. Inside a call, which has its own already, only those named.
        A set without limits grants whatever is named: code need not know whether there are any.

        Args:
            requested: units by the names of limits: their keys; 0 leaves one out.
            timeout: seconds to wait.
            arguments: for limits by value: ``by=`` and ``cost=``.

        Raises:
            LimitTimeout: they were not granted in time.
            UnknownOption: a name that no limit has.
            InvalidOption: an amount that can never be granted.
            Blocking: an event loop runs here; use :meth:`aacquire`.
        """
        request = self.request(self.wanted(requested, arguments))
        return Acquisition(request, _time(timeout), _owner(self))

    def aacquire(
        self,
        requested: Mapping[str, float] | None = None,
        timeout: Duration | None = None,
        *,
        arguments: Mapping[str, Any] | None = None,
    ) -> AsyncAcquisition:
        """As :meth:`acquire`, for ``async with``."""
        request = self.request(self.wanted(requested, arguments))
        return AsyncAcquisition(request, _time(timeout), _owner(self))

    @property
    def stats(self) -> dict[str, LimitStats]:
        """Each limit by its name; those by value have :meth:`stats_of`."""
        return self._stats({})

    def stats_of(self, arguments: Mapping[str, Any]) -> dict[str, LimitStats]:
        """Each limit by its name, of a call with these arguments."""
        return self._stats(arguments)

    def _stats(self, arguments: Mapping[str, Any]) -> dict[str, LimitStats]:
        named = {
            name: limit
            for name, limit in zip(self.names, self, strict=True)
            if (limit.by is None or arguments) and (limit.scope is None or self._worker is not None)
        }
        amounts = {name: min(1, limit.capacity) for name, limit in named.items()}
        asks = self.asks_of(
            Wanted(amounts=amounts, named_only=True, arguments=arguments, worker=self._worker)
        )
        seen = self._source.keeper.look(list(asks.values())) if asks else {}
        return {
            name: LimitStats(
                capacity=named[name].capacity,
                used=seen[ask.key].used if ask.key in seen else 0.0,
                waiting=seen[ask.key].waiting if ask.key in seen else 0,
            )
            for name, ask in asks.items()
        }

    # ------------------------------------------------------------- for pools

    def wanted(
        self, requested: Mapping[str, float] | None, arguments: Mapping[str, Any] | None
    ) -> Wanted:
        """What code wants that names amounts."""
        return Wanted(
            amounts={} if requested is None else amounts_of(requested),
            named_only=self._inside,
            arguments=arguments or {},
            worker=self._worker,
        )

    def request(self, wanted: Wanted) -> SetRequest:
        """What is wanted as asks, and who counts them."""
        if not self:
            return SetRequest({}, self._source, self.config, frozenset(wanted.amounts))
        return SetRequest(self.asks_of(wanted), self._source, self.config)

    def inside(self, worker: int | None) -> Self:
        """The set as the code of a call sees it, which holds what calls take already."""
        view = super().__new__(type(self), *self)
        view._source, view.config = self._source, self.config
        view._inside, view._worker, view._owner = True, worker, self._owner
        return view

    @property
    def owner(self) -> str:
        """Whose the limits are that have no key of their own."""
        return self._owner

    def beside(self, limits: Limits, owner: str) -> LimitSet:
        """Other limits, counted where these are: equal keys share, the rest is the owner's."""
        made = LimitSet(*limits, config=self.config)
        made._source, made._owner = self._source, owner
        return made


class SetRequest:
    """What is asked of one set."""

    __slots__ = ("_source", "asks", "config", "keeper", "uncounted")

    def __init__(
        self,
        asks: dict[str, Ask],
        source: Source,
        config: Mapping[str, Any],
        uncounted: frozenset[str] = frozenset(),
    ) -> None:
        self.asks: Mapping[str, Ask] = asks
        self.uncounted = uncounted
        self.keeper: Keeper = source.keeper
        self.config = config
        # A set may be gone before what was taken of it is released.
        self._source = source


def _restored(
    limits: tuple[Limit, ...],
    config: Mapping[str, Any],
    path: str | None,
    view: tuple[bool, int | None, str],
) -> LimitSet:
    made = LimitSet(*limits, config=config)
    if path is None:
        made._source = Source(AbsentKeeper(SystemClock()))
    elif path:
        made._source = opened(Path(path), made=True)
    made._inside, made._worker, made._owner = view
    return made


def _time(timeout: Duration | None) -> float | None:
    return None if timeout is None else seconds(timeout, "timeout")


def _owner(limits: LimitSet) -> str:
    return f"a block that acquires of {len(limits)} limits"


LIMITS = LimitSet()
"""A default that a pool replaces by its own set: ``def fetch(url, limits: LimitSet = LIMITS)``.

It is a set without limits, which grants at once, so the function can be called without a pool.
"""
