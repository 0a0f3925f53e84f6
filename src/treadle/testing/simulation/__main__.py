"""``python -m treadle.testing.simulation SEED…``: run simulations, and say what they broke."""

from __future__ import annotations

import argparse
import sys

from treadle.testing.simulation.world import simulate

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the seeds that are named; 1 when one of them broke a promise."""
    parser = argparse.ArgumentParser(
        prog="python -m treadle.testing.simulation",
        description="Run foremen through faults that a number decides.",
    )
    parser.add_argument("seed", type=int, help="decides all that happens")
    parser.add_argument("--to", type=int, metavar="SEED", help="run all seeds up to this one")
    parser.add_argument("--trace", action="store_true", help="show all that happened")
    given = parser.parse_args(arguments)
    broken = 0
    for seed in range(given.seed, (given.to or given.seed) + 1):
        outcome = simulate(seed)
        if given.trace:
            sys.stdout.write("".join(f"{line}\n" for line in outcome.trace))
        if outcome.broken or given.to is None:
            sys.stdout.write(f"{outcome}\n{outcome.digest}\n")
        broken += bool(outcome.broken)
    if given.to is not None:
        sys.stdout.write(f"{broken} of {given.to - given.seed + 1} seeds broke promises\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
