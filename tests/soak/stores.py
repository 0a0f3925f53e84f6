"""The servers that have the jobs of a soak: struck themselves, and back at work soon after."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import msgspec

from tests.soak.plan import Hit
from treadle.clock import Clock
from treadle.testing.ledger import History
from treadle.testing.servers import Server

__all__ = ["Outage", "Store", "Tail", "pace", "strike_store", "too_slow"]

# Seconds of a stretch at full speed, and its share of the usual speed that is full enough: foremen
# are struck meanwhile as ever, so that one stretch is not like another.
_STRETCH = 1.0
_FULL = 0.5


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is struck."""

    server: Server
    # Whether nothing is claimed, renewed or ended without it.
    vital: bool = True
    # Whether it may forget the last claims when it is killed.
    forgets: bool = False
    # Seconds that it has to have worked before the first blow.
    young: float = 0.0
    # Seconds after it is back within which there is a stretch at full speed.
    soon: float = 5.0

    @property
    def name(self) -> str:
        """For people."""
        return type(self.server).__name__.removesuffix("Server")


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a server did not answer."""

    what: str
    begin: float
    end: float
    # Seconds within which there is to be a stretch at full speed.
    soon: float

    def __str__(self) -> str:
        return f"{self.what} for {self.end - self.begin:.1f} s"


async def strike_store(store: Store, hit: Hit, lease: float, clock: Clock) -> Outage:
    """Kill a server and start it again, or freeze it for a while."""
    begin = clock.monotonic()
    if hit.kills:
        await asyncio.to_thread(store.server.kill)
        await asyncio.to_thread(store.server.start)
    else:
        store.server.freeze()
        await clock.sleep(hit.length * lease)
        store.server.thaw()
    what = f"{store.name} {'killed' if hit.kills else 'frozen'}"
    return Outage(what=what, begin=begin, end=clock.monotonic(), soon=store.soon)


class Tail:
    """Counts verdicts that were carried out, as they are written down.

    Args:
        ledgers: the directory.
    """

    def __init__(self, ledgers: Path) -> None:
        self._ledgers = ledgers
        self._read: dict[Path, int] = {}
        self._ended = 0

    def ended(self) -> int:
        """So many by now."""
        for file in self._ledgers.glob("*.ledger"):
            with file.open("rb") as lines:
                lines.seek(self._read.get(file, 0))
                whole, end, _ = lines.read().rpartition(b"\n")
            self._read[file] = self._read.get(file, 0) + len(whole) + len(end)
            self._ended += whole.count(b'"ok"]')
        return self._ended


def _ends(history: History) -> list[float]:
    """When jobs ended."""
    return sorted(one.at for grant in history.grants() for one in grant.answers if grant.taken)


def _usual(ends: Sequence[float], outages: Sequence[Outage]) -> float:
    """Jobs that ended in a stretch, in the mean of those in which no server was away."""
    # Not the median: in more than half of them every foreman that had work may be frozen.
    counted: list[int] = []
    at = ends[0]
    while at + _STRETCH <= ends[-1]:
        if not any(one.begin <= at + _STRETCH and at <= one.end + one.soon for one in outages):
            counted.append(_between(ends, at, at + _STRETCH))
        at += _STRETCH
    return fmean(counted) if any(counted) else len(ends) * _STRETCH / (ends[-1] - ends[0])


def _between(ends: Sequence[float], begin: float, end: float) -> int:
    return bisect_left(ends, end) - bisect_left(ends, begin)


def pace(history: History, outages: Sequence[Outage]) -> list[tuple[Outage, float]]:
    """For each outage the best stretch soon after it, as a share of a usual one."""
    ends = _ends(history)
    usual = _usual(ends, outages)
    found: list[tuple[Outage, float]] = []
    for outage in outages:
        starts = [outage.end + step * 0.1 for step in range(int((outage.soon - _STRETCH) * 10) + 1)]
        best = max(_between(ends, at, at + _STRETCH) for at in starts)
        found.append((outage, best / usual))
    return found


def too_slow(history: History, outages: Sequence[Outage]) -> list[str]:
    """After which outages the work was not at full speed again soon."""
    return [
        f"{outage}: {share:.0%} of the usual speed within {outage.soon:g} s, not {_FULL:.0%}"
        for outage, share in pace(history, outages)
        if share < _FULL
    ]
