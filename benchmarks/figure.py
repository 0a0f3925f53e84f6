"""One measured figure, beside what bounds it and what else there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Aim", "Figure", "Part", "percentiles"]


@dataclass(frozen=True)
class Aim:
    """What a figure should reach: so many times as good as the floor or the peer, or a value."""

    against: Literal["floor", "peer", "value"]
    least: float


@dataclass(frozen=True)
class Figure:
    """What was measured, how, and the same of the floor and of the peers, in the same unit."""

    part: str
    what: str
    store: str
    value: float
    unit: str
    floor: float | None = None
    # By name; ``None`` when a peer is not here, or has no such thing.
    peers: Mapping[str, float | None] = field(default_factory=dict)
    aims: tuple[Aim, ...] = ()

    @property
    def rate(self) -> bool:
        """Whether more is better."""
        return self.unit.endswith("/s")

    @property
    def best(self) -> str | None:
        """The name of the best peer."""
        found = {name: value for name, value in self.peers.items() if value is not None}
        if not found:
            return None
        return (max if self.rate else min)(found, key=lambda name: found[name])

    @property
    def peer(self) -> float | None:
        """The figure of the best peer."""
        return self.peers[self.best] if self.best is not None else None

    def over(self, other: float | None) -> float | None:
        """How many times as good as the other: 2.0 is twice as fast, or half as long."""
        if not other or not self.value:
            return None
        return self.value / other if self.rate else other / self.value

    def reached(self, aim: Aim) -> bool | None:
        """Whether it does; ``None`` when there is nothing to compare it with."""
        if aim.against == "value":
            return self.value >= aim.least if self.rate else self.value <= aim.least
        times = self.over(self.floor if aim.against == "floor" else self.peer)
        return None if times is None else times >= aim.least


def _silent() -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Part:
    """What is measured together."""

    # Takes the scale.
    run: Callable[[float], Iterator[Figure]]
    # What a reader has to know of the figures; asked for after the run.
    notes: Callable[[], Sequence[str]] = _silent


def percentiles(times: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    ordered = sorted(times)
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
