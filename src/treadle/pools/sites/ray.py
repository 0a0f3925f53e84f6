"""Calls in Ray actors, one at a time in each."""

from __future__ import annotations

from functools import partial
from typing import Any

from treadle.clock import Clock, Timer
from treadle.pools.places.place import life
from treadle.pools.places.ray.cluster import room_for
from treadle.pools.places.ray.place import RayPlace
from treadle.pools.rayoptions import RayNeeds
from treadle.pools.resident import Plan
from treadle.pools.sites.elsewhere import ElsewhereSite
from treadle.pools.sites.jobcall import JobCall

__all__ = ["RaySite"]

# Seconds for which an idle actor keeps what it takes of its node from others.
_REST = 10.0


class RaySite(ElsewhereSite[RayPlace]):
    """Runs each call whole in a Ray actor.

    There are as many actors as the cluster has room for; one that takes something of its node and
    has nothing to do is let go of after a while, so that others get it.

    Args:
        plan: of the host; see :class:`~treadle.pools.sites.process.ProcessSite`.
        needs: of the cluster, for each actor.
        clock: measures how long actors are idle.
        most: actors.
        patience, rest: see :class:`~treadle.pools.sites.elsewhere.ElsewhereSite`.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        needs: RayNeeds,
        clock: Clock,
        most: int,
        patience: float,
        **rest: Any,
    ) -> None:
        super().__init__(plan.name, patience=patience, **rest)
        self._plan = plan
        self._needs = needs
        self._clock = clock
        self._bound = most
        self._rests: dict[RayPlace, Timer] = {}

    def _most(self) -> int:
        # The first one joins the cluster, and then it is known how large that is.
        return min(self._bound, room_for(self._needs)) if self._places else 1

    def _made(self, index: int) -> RayPlace:
        return RayPlace(self._plan, index, needs=self._needs, patience=self._patience)

    def _begin(self, place: RayPlace, job: JobCall[RayPlace]) -> None:
        timer = self._rests.pop(place, None)
        if timer is not None:
            timer.cancel()
        super()._begin(place, job)

    def _free(self, place: RayPlace) -> None:
        super()._free(place)
        if self._needs.amounts and place in self._idle:
            self._rests[place] = self._clock.call_later(_REST, partial(self._rested, place))

    def _rested(self, place: RayPlace) -> None:
        self._rests.pop(place, None)
        if place in self._idle:
            self._idle.remove(place)
            life(place, "stop")
            self._let_go(place)

    async def aclose(self) -> None:
        """End the actors."""
        for timer in self._rests.values():
            timer.cancel()
        self._rests.clear()
        await super().aclose()
