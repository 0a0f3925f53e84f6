"""``make bench``: what Treadle costs with product defaults, beside the floor and peers.

Figures hold only against each other, on one machine and in one run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import (
    calibration,
    depths,
    drains,
    enqueues,
    payloads,
    peer,
    processes,
    report,
    servers,
    steps,
    trips,
    workers,
    workers_peer,
)
from benchmarks.figure import Figure, Part
from benchmarks.stores import notes_of


def _embedded() -> Sequence[str]:
    return [*notes_of(), peer.PEER.note()]


def _workers() -> Sequence[str]:
    return [workers_peer.PEER.note()]


PARTS = {
    "calibration": Part(calibration.run),
    "enqueue": Part(enqueues.run, _embedded),
    "drain": Part(drains.run, _embedded),
    "trip": Part(trips.run, _embedded),
    "depth": Part(depths.run),
    "payload": Part(payloads.run, _embedded),
    "memory": Part(processes.run, _embedded),
    "steps": Part(steps.run),
    "redis": Part(servers.REDIS.run, servers.REDIS.notes),
    "postgres": Part(servers.POSTGRES.run, servers.POSTGRES.notes),
    "rabbitmq": Part(servers.RABBITMQ.run, servers.RABBITMQ.notes),
    "workers": Part(workers.run, _workers),
}
_JSON = Path(__file__).parent.parent / ".cache" / "bench" / "figures.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the jobs")
    parser.add_argument("--quick", dest="scale", action="store_const", const=0.1,
                        help="a tenth of the jobs")  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS], metavar="PART",
                        help=", ".join(PARTS))  # fmt: skip
    parser.add_argument("--json", type=Path, default=_JSON, help="where the figures go as well")
    parser.add_argument("--page", action="store_true", help="write the documentation's tables")
    options = parser.parse_args(arguments)
    figures: list[Figure] = []
    notes: dict[str, Sequence[str]] = {}
    for part in options.only:
        began = time.perf_counter()
        for figure in PARTS[part].run(options.scale):
            print(f"{part}: {figure.store}, {figure.what}", file=sys.stderr, flush=True)
            figures.append(figure)
        notes[part] = PARTS[part].notes()
        print(f"{part}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if options.page:
            # What was measured is on the page, however the rest ends.
            report.write_page(figures, notes, [*PARTS])
    report.show(figures, notes)
    report.write_json(figures, notes, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
