"""What a task has to itself of the places in which it runs."""

from __future__ import annotations

from collections.abc import Hashable

from treadle.pools.childoptions import ChildTerms

__all__ = ["NO_NEEDS", "PlaceNeeds"]


class PlaceNeeds(ChildTerms, frozen=True, kw_only=True):
    """How the places of a task are, if it does not share those of all others."""

    # Threads, child processes or actors that the calls of the task have for themselves.
    max_workers: int | None = None

    def key(self, task: str) -> Hashable:
        """The same for tasks that share places: never for one that has a number of its own."""
        own = None if self.max_workers is None else (task, self.max_workers)
        bounds = (self.max_calls, self.max_age, self.max_rss)
        # Whoever has the places keeps what is around calls, so no other has the same identity.
        around = tuple(map(id, self.around))
        return own, self.preload, tuple(sorted(self.env.items())), bounds, self.fork, around


NO_NEEDS = PlaceNeeds()
"""Of most tasks, which share the places of their mode; always this very object."""
