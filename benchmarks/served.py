"""What is measured over a server, the same for each: ours beside the floor and its peers.

Each measurement has an empty store, and a worker process where one is needed: ours is ``treadle
run``, a peer's is what its documentation starts. All have their defaults.
"""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from benchmarks import depths, drains, enqueues, processes, trips
from benchmarks.figure import Aim, Figure, percentiles
from benchmarks.peer import Peer
from benchmarks.servers_floor import Floor
from benchmarks.stores import Place
from benchmarks.tasks import add
from treadle.testing.servers import Server, ServerMissing

__all__ = ["Served"]

_WAYS = (
    ("enqueue one at a time", "one", 3_000, 1),
    ("enqueue, gather of 1,000", "gather", 20_000, 1_000),
    ("enqueue_many of 1,000", "bulk", 20_000, 1_000),
)
_DRAIN, _TRIPS, _IDLE = 20_000, 1_000, 100
# What peers are asked for: less, since some are slow, and no longer than so many seconds.
_THEIRS, _THEIR_TRIPS, _SECONDS = 5_000, 300, 5.0


class Served(ABC):
    """One kind of server."""

    store: ClassVar[str]
    """Its name, which is that of the part."""
    kept: ClassVar[str]
    """What the server keeps, for all that use it."""
    promise: ClassVar[str]
    """What Treadle does over it by default."""
    peers: ClassVar[Sequence[Peer]]
    floor: ClassVar[type[Floor] | None] = None
    """What bounds it, where there is such a thing."""
    results: ClassVar[bool] = True
    """Whether results are kept."""
    aims: ClassVar[Mapping[str, float]] = {}
    """What figures should reach, by their names."""

    def __init__(self) -> None:
        self._version = ""

    @abstractmethod
    def start(self) -> Server:
        """A server of its own, which runs."""

    @abstractmethod
    def version(self) -> str:
        """Of the server that runs."""

    @abstractmethod
    def fresh(self) -> str:
        """The URL of an empty store."""

    def more(self, scale: float) -> Iterator[Figure]:
        """What only this kind has."""
        yield from ()

    def run(self, scale: float) -> Iterator[Figure]:
        """All figures; none without the server."""
        try:
            server = self.start()
        except ServerMissing as missing:
            print(f"{self.store}: {missing}", file=sys.stderr)
            return
        with server:
            self._version = self.version()
            yield from self._enqueues(scale)
            yield from self._drains(scale)
            yield from self._trips(scale)
            yield self._memory()
            yield from self.more(scale)

    def notes(self) -> Sequence[str]:
        """What a reader has to know."""
        return [
            f"{self._version}; {self.kept}.",
            f"**Treadle**: {self.promise}.",
            *[peer.note() for peer in self.peers],
        ]

    # ---------------------------------------------------- for the figures

    @contextmanager
    def place(self) -> Iterator[Place]:
        """An empty store, and a folder that is removed afterwards."""
        with TemporaryDirectory(prefix="treadle-bench-") as folder:
            yield Place(self.store, Path(folder), self.fresh())

    def figure(
        self,
        what: str,
        value: float,
        unit: str,
        *,
        floor: float | None = None,
        peers: Mapping[str, float | None] | None = None,
    ) -> Figure:
        """A figure of this part, with its aim."""
        aims = (Aim("value", self.aims[what]),) if what in self.aims else ()
        return Figure(self.store, what, self.store, value, unit, floor, peers or {}, aims)

    def ask(self, peer: Peer, at: Place, part: str, **details: Any) -> Any:
        """What a peer does in one part of its program."""
        environment = {"BENCH_URL": at.url, "BENCH_STAMPS": str(at.stamps)}
        return peer.ask({"part": part, **details}, environment)

    def theirs(self, part: str, **details: Any) -> dict[str, Any]:
        """What each peer does, in an empty store."""
        found: dict[str, Any] = {}
        for peer in self.peers:
            with self.place() as at:
                found[peer.name] = self.ask(peer, at, part, **details)
        return found

    def below(self, measure: Callable[[Floor], float]) -> float | None:
        """What bounds a figure, over an empty store."""
        if self.floor is None:
            return None
        with self.place() as at, closing(self.floor(at.url)) as floor:
            return measure(floor)

    def depths(self, scale: float) -> Iterator[Figure]:
        """One claim among few jobs and among very many; a million at full scale only."""
        for depth in (100, int(100_000 * scale), *([1_000_000] if scale >= 1 else [])):
            with self.place() as at:
                times = asyncio.run(depths.claims(at, depth, depths.times(scale)))
            least = self.below(partial(_claimed, depth, depths.times(scale)))
            what = f"claim of {depths.LIMIT} among {depth:,}, p99"
            yield self.figure(what, percentiles(times)[1], "µs", floor=least)

    # ---------------------------------------------------- what all have

    def _enqueues(self, scale: float) -> Iterator[Figure]:
        for what, way, full, batch in _WAYS:
            count = int(full * scale)
            with self.place() as at:
                value = asyncio.run(enqueues.rate(at, count, batch, bulk=way == "bulk"))
            least = self.below(partial(_inserted, count, batch))
            peers = self.theirs("enqueue", way=way, **_asked(scale))
            yield self.figure(what, value, "jobs/s", floor=least, peers=peers)

    def _drains(self, scale: float) -> Iterator[Figure]:
        count = int(_DRAIN * scale)
        least = self.below(lambda floor: floor.drain(count))
        with self.place() as at:
            value = asyncio.run(drains.embedded(at, add, count))
        yield self.figure("drain, foreman in the program", value, "jobs/s", floor=least)
        for processes_, what in ((1, "drain, 1 process"), (2, "drain, 2 processes")):
            with self.place() as at:
                value = drains.commanded(at, processes_, count)
            peers = self.theirs("drain", processes=processes_, **_asked(scale))
            yield self.figure(what, value, "jobs/s", floor=least, peers=peers)

    def _trips(self, scale: float) -> Iterator[Figure]:
        count = int(_TRIPS * scale)
        with self.place() as at:
            if self.results:
                ours = asyncio.run(trips.commanded(at, count))
            else:
                ours = [asyncio.run(trips.started(at, count))]
        asked = {**_asked(scale), "count": int(_THEIR_TRIPS * scale)}
        theirs = self.theirs("trip", **asked)
        floors = self._bare_trips(count)
        for index, times in enumerate(ours):
            for at_, name in enumerate(("p50", "p99")):
                least = percentiles(floors[index])[at_] if floors else None
                peers = {
                    peer: percentiles(found[index])[at_] if found and found[index] else None
                    for peer, found in theirs.items()
                }
                what = f"enqueue to {('start', 'result')[index]}, {name}"
                value = percentiles(times)[at_]
                yield self.figure(what, value, "ms", floor=least, peers=peers)

    def _bare_trips(self, count: int) -> list[list[float]] | None:
        """The messages of a trip and nothing else, where that is measured."""
        if self.floor is None:
            return None
        with self.place() as at, closing(self.floor(at.url)) as floor:
            return floor.trips(count)

    def _memory(self) -> Figure:
        with self.place() as at:
            value = asyncio.run(processes.idle(at, _IDLE))
        return self.figure("an idle worker process", value, "MiB", peers=self.theirs("memory"))


def _asked(scale: float) -> dict[str, Any]:
    """How much of a peer, which may be slow."""
    return {"count": int(_THEIRS * scale), "seconds": max(1.0, _SECONDS * min(scale, 1.0))}


def _inserted(count: int, batch: int, floor: Floor) -> float:
    return floor.insert(count, batch)


def _claimed(depth: int, times: int, floor: Floor) -> float:
    return percentiles(floor.claims(depth, times, depths.LIMIT))[1]
