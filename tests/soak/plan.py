"""Which process is struck when and how, from a seed."""

from __future__ import annotations

import random  # noqa: TID251 - the whole plan follows from one seed
from collections.abc import Iterator
from enum import Enum

import msgspec

__all__ = ["Hit", "Kind", "Strike", "hits", "naps", "strikes"]


class Kind(Enum):
    """How a process is struck."""

    KILL = "SIGKILL"
    FREEZE = "SIGSTOP, and SIGCONT when its leases have lapsed"
    FREEZE_AT_VERDICT = "the same, at the moment when a verdict is about to be sent"


class Strike(msgspec.Struct, frozen=True):
    """One strike."""

    # Seconds after the one before.
    after: float
    # Which of the processes that can be struck then, as a share of them.
    whom: float
    kind: Kind
    # Leases that it is kept frozen.
    length: float


class Hit(msgspec.Struct, frozen=True):
    """One blow to a store, which is a server itself."""

    # Since the work went on after the one before, as a share of the usual time.
    after: float
    # Which store.
    whom: int
    # It is killed and started again, or else frozen.
    kills: bool
    # Leases that it is kept frozen.
    length: float


_MEAN = 0.45
_WEIGHTS = {Kind.KILL: 6, Kind.FREEZE: 2, Kind.FREEZE_AT_VERDICT: 2}


def strikes(seed: int) -> Iterator[Strike]:
    """A little more than two a second, for ever."""
    chance = random.Random(seed)
    while True:
        yield Strike(
            after=chance.uniform(0.2, 2 * _MEAN - 0.2),
            whom=chance.random(),
            kind=chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0],
            length=chance.uniform(1.2, 1.6),
        )


def naps(seed: int) -> Iterator[tuple[float, float]]:
    """For each job a share that chooses its kind, and its length: 5 to 50 ms."""
    chance = random.Random(seed + 1)
    while True:
        yield chance.random(), chance.uniform(0.005, 0.05)


def hits(seed: int, stores: int) -> Iterator[Hit]:
    """Blows to so many stores, for ever. In each round all of them are killed and frozen once."""
    chance = random.Random(seed + 2)
    while True:
        each = [(whom, kills) for whom in range(stores) for kills in (True, False)]
        chance.shuffle(each)
        for whom, kills in each:
            yield Hit(
                after=chance.uniform(0.5, 1.5),
                whom=whom,
                kills=kills,
                length=chance.uniform(1.2, 1.6),
            )
