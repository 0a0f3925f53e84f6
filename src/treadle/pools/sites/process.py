"""Calls in child processes, one after another in each."""

from __future__ import annotations

import asyncio
from typing import Any

from treadle.clock import Clock
from treadle.pools.needs import PlaceNeeds
from treadle.pools.places.process.place import ProcessPlace
from treadle.pools.places.process.terms import Terms
from treadle.pools.resident import Plan
from treadle.pools.sites.ahead import AHEAD, AheadSite

__all__ = ["ProcessSite"]


class ProcessSite(AheadSite):
    """Runs each call whole in a child process.

    Args:
        plan: of the host, which lives in each child: ``run(call)`` carries out a call and gives an
            :class:`~treadle.pools.sites.elsewhere.Account`, ``learn(…)`` takes a lesson.
        clock: for the age of children, and the pace of calls.
        needs: of the tasks whose calls they are.
        most: children.
        patience, rest: see :class:`~treadle.pools.sites.ahead.AheadSite`.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        clock: Clock,
        needs: PlaceNeeds,
        most: int,
        patience: float,
        **rest: Any,
    ) -> None:
        self._terms = terms = Terms(patience=patience, **needs.of_children)
        # What is looked at after each call, or takes time around it, is not to be overtaken.
        exact = terms.fork or terms.around or (terms.max_age, terms.max_rss) != (None, None)
        ahead = 1 if exact else AHEAD
        super().__init__(plan.name, clock=clock, ahead=ahead, patience=patience, **rest)
        self._plan = plan
        self._bound = most

    def _most(self) -> int:
        return self._bound

    def _made(self, index: int) -> ProcessPlace:
        loop = asyncio.get_running_loop()
        return ProcessPlace(self._plan, index, terms=self._terms, clock=self._clock, loop=loop)
