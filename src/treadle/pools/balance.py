"""Which worker of a pool gets the next call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

from treadle.ids import Chance
from treadle.pools.places.place import Place

__all__ = ["BALANCING", "Balancing", "Choose", "chooser"]

Balancing = Literal["round_robin", "least_active", "least_total", "random", "sticky"]
BALANCING: tuple[Balancing, ...] = (
    "round_robin",
    "least_active",
    "least_total",
    "random",
    "sticky",
)

Choose = Callable[[Sequence[Place], Any], Place]
"""The place of a call, of at least one; the second argument is its key, or ``None``."""


def chooser(balancing: Balancing, chance: Chance) -> Choose:
    """A strategy. It may keep state; one thread at a time uses it."""
    if balancing == "round_robin":
        return _RoundRobin()
    if balancing == "random":
        return lambda places, _: places[chance.getrandbits(32) % len(places)]
    if balancing == "sticky":
        return _Sticky()
    if balancing == "least_total":
        return lambda places, _: min(places, key=_total)
    return lambda places, _: min(places, key=_active)


def _total(place: Place) -> int:
    return place.total


def _active(place: Place) -> int:
    return place.active


class _RoundRobin:
    def __init__(self) -> None:
        self._next = 0

    def __call__(self, places: Sequence[Place], key: Any) -> Place:
        number, self._next = self._next, self._next + 1
        return places[number % len(places)]


class _Sticky:
    """Calls of one key go to one worker; those without go round.

    Rendezvous hashing (Thaler, Ravishankar 1998): when a worker comes or goes, only the keys move
    that it gets or had.
    """

    def __init__(self) -> None:
        self._others = _RoundRobin()

    def __call__(self, places: Sequence[Place], key: Any) -> Place:
        if key is None:
            return self._others(places, None)
        text = repr(key).encode()
        return max(places, key=lambda place: _weight(text, place.index))


def _weight(text: bytes, index: int) -> bytes:
    return hashlib.blake2b(text, digest_size=8, salt=index.to_bytes(8, "big")).digest()
