"""The places of each mode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from treadle.clock import Clock, SystemClock
from treadle.errors import Unsupported
from treadle.loopthread import background, may_block
from treadle.pools.options import PoolOptions
from treadle.pools.places.place import Place
from treadle.pools.places.shared import SharedLine
from treadle.pools.resident import Plan

__all__ = ["Maker"]


class Maker:
    """Makes the places of one pool.

    Args:
        options: of the pool.
        clock: measures the patience of the places.
        line: of calls that the threads of the pool share.
        idle: told when a place with a line of its own could carry out another call.
        loop: in which all who give calls wait for their ends, where there is one.
    """

    def __init__(
        self,
        options: PoolOptions,
        clock: Clock | None = None,
        line: SharedLine | None = None,
        idle: Callable[[], object] | None = None,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._loop = loop
        self._line = line
        self._idle = idle
        self._options = options
        self._clock = clock or SystemClock()
        makers: dict[str, Callable[[Plan, int], Place]] = {
            "sync": self._sync,
            "thread": self._thread,
            "asyncio": self._asyncio,
            "process": self._process,
            "ray": self._ray,
        }
        found = makers.get(options.mode)
        if found is None:
            raise Unsupported(f"mode={options.mode!r} is not served yet", feature=options.mode)
        self._one = found
        self.make = self._on_demand if options.on_demand else found

    def _on_demand(self, plan: Plan, index: int) -> Place:
        from treadle.pools.places.demand import DemandPlace

        options = self._options
        return DemandPlace(
            self._one, plan, options.max_workers, clock=self._clock, limit=options.start_timeout
        )

    def _sync(self, plan: Plan, index: int) -> Place:
        from treadle.pools.places.sync import SyncPlace

        return SyncPlace(plan, index, clock=self._clock)

    def _thread(self, plan: Plan, index: int) -> Place:
        from treadle.pools.places.thread import ThreadPlace

        return ThreadPlace(
            plan, index, patience=self._options.patience, clock=self._clock, line=self._line
        )

    def _asyncio(self, plan: Plan, index: int) -> Place:
        from treadle.pools.places.aio import AsyncioPlace

        loop = background().loop if may_block() else asyncio.get_running_loop()
        return AsyncioPlace(plan, loop, index, patience=self._options.patience, clock=self._clock)

    def _process(self, plan: Plan, index: int) -> Place:
        from treadle.pools.places.process.lending import LendingPlace
        from treadle.pools.places.process.terms import Terms

        options = self._options
        terms = Terms(slots=options.slots, patience=options.patience, **options.of_children)
        rest: dict[str, Any] = {"clock": self._clock, "loop": self._loop, "idle": self._idle}
        if terms.slots == 1:
            return LendingPlace(plan, index, terms=terms, **rest)
        from treadle.pools.places.process.several import OverlappingPlace

        return OverlappingPlace(plan, index, terms=terms, **rest)

    def _ray(self, plan: Plan, index: int) -> Place:
        from treadle.pools.places.ray.cluster import require_ray

        require_ray()
        from treadle.pools.places.ray.place import RayPlace

        return RayPlace(plan, index, needs=self._options.ray, patience=self._options.patience)
