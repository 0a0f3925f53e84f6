"""``make bench``: what Treadle costs, with product defaults, one table from one run.

``python -m benchmarks [--quick] [--only NAME …] [--json FILE]``. Figures hold only against each
other, on one machine and in one run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import claims, drains, processes, trips
from benchmarks.figure import Figure

SUITES: dict[str, Callable[[float], list[Figure]]] = {
    "drain": drains.run,
    "trip": trips.run,
    "claim": claims.run,
    "process": processes.run,
}


def main() -> int:
    """Run the suites that are asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs")
    parser.add_argument("--only", nargs="+", choices=sorted(SUITES), default=sorted(SUITES))
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    figures: list[Figure] = []
    for name in options.only:
        print(f"{name} …", file=sys.stderr, flush=True)
        figures += SUITES[name](0.1 if options.quick else 1.0)
    table = Table("what", "figure", "unit", "how", title="Treadle")
    for figure in figures:
        table.add_row(figure.what, f"{figure.value:,.4g}", figure.unit, figure.how)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if options.json:
        options.json.write_text(json.dumps([figure.__dict__ for figure in figures], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
