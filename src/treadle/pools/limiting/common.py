"""The limits of many functions, counted together."""

from __future__ import annotations

from collections.abc import Iterable

from treadle.clock import Clock
from treadle.errors import InvalidOption
from treadle.policies.limitset import Limits
from treadle.pools.limiting.limitset import LimitSet

__all__ = ["CommonLimits"]


class CommonLimits:
    """Gives each function the set that its calls take of.

    A set of the user's stays what it is, and counts for whatever else is given it. Lists of limits
    share those with a key: with the set that has the key, or with each other.

    Args:
        clock: measures rates.
    """

    def __init__(self, clock: Clock) -> None:
        self._own = LimitSet(clock=clock)
        # Copies of a function share what they have used.
        self._known: dict[tuple[str, Limits], LimitSet] = {}

    def of(self, owner: str, limits: Limits, others: Iterable[Limits]) -> LimitSet:
        """The set of a function.

        Args:
            owner: the function, which has the limits without a key for itself.
            limits: of the function.
            others: of functions beside it, which may not have been called yet.

        Raises:
            InvalidOption: several sets count what it has to be granted at once.
        """
        found = self._known.get((owner, limits))
        if found is None:
            made = limits if isinstance(limits, LimitSet) else self._made(owner, limits, others)
            found = self._known.setdefault((owner, limits), made)
        return found

    def _made(self, owner: str, limits: Limits, others: Iterable[Limits]) -> LimitSet:
        beside = [*others, *(known for _, known in list(self._known))]
        near: list[Limits] = [limits]
        joined, keys = [limits], limits.keys
        while near:
            # Who shares a key shares all of it: the keys beside it are counted there, too.
            near = [one for one in beside if one.keys & keys]
            beside = [one for one in beside if not one.keys & keys]
            keys = keys.union(*(one.keys for one in near))
            joined += near
        sets = [one for one in joined if isinstance(one, LimitSet)]
        home = sets[0] if sets else self._own
        if any(one != home for one in sets):
            raise InvalidOption(
                f"task {owner!r}: limits={list(limits)!r} name keys that several LimitSets count "
                f"({', '.join(sorted(keys))}), and no call can be granted all of them at once; use "
                "one LimitSet in all of these tasks, or other keys",
                option="limits",
                value=limits,
            )
        return home.beside(limits, owner)
