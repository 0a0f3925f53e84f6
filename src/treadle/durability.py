"""What becomes of accepted jobs when something dies; the order of the levels stands here alone."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

__all__ = ["Durability", "gives", "least", "level_of"]


class Durability(StrEnum):
    """What outlasts what, the least first. Each level has all that those before it have."""

    MEMORY = "memory"  # gone with the process of the store
    NORMAL = "normal"  # that process may die; a loss of power takes the last moments
    FULL = "full"  # on the disk before the answer
    REPLICA = "replica"  # on another machine as well


_ORDER = tuple(Durability)
_ELSEWHERE = {"everysec": Durability.NORMAL, "fsync": Durability.FULL}
"""The words of Redis, which stand in its URLs."""


def level_of(word: str) -> Durability:
    """The level that a word means, also in the words of Redis.

    Raises:
        ValueError: it is no level.
    """
    return _ELSEWHERE.get(word) or Durability(word)


def least(words: Iterable[str]) -> str:
    """The least of some levels."""
    return min(words, key=lambda word: _ORDER.index(level_of(word)))


def gives(given: str, wanted: str) -> bool:
    """Whether a level is another one, or more."""
    return _ORDER.index(level_of(given)) >= _ORDER.index(level_of(wanted))
