"""Work for all processors: the longest Collatz sequence below 200,000, with a progress bar.

A pool of processes takes plain functions. Quick calls travel many at a time; results come in the
order of the items, and the first error ends it all.
"""

from __future__ import annotations

from treadle import Pool

BELOW = 200_000
STEP = 5_000


def length(start: int) -> int:
    """How many steps it takes from a number to 1."""
    steps = 1
    while start != 1:
        start = 3 * start + 1 if start % 2 else start // 2
        steps += 1
    return steps


def longest(numbers: range) -> tuple[int, int]:
    """The length of the longest sequence that begins with one of the numbers, and that number."""
    return max((length(number), -number) for number in numbers)


def main() -> None:
    """One range of numbers is one call."""
    parts = [range(max(1, first), first + STEP) for first in range(0, BELOW, STEP)]
    with Pool("process") as pool:
        found = pool.map(longest, parts, progress={"description": "Collatz", "unit": "ranges"})
        steps, number = max(found)
        print(f"{-number} takes {steps} steps")
        assert (-number, steps) == (156_159, 383)

        # Quick calls are sent a thousand at a time, and given as they end.
        total = sum(pool.map(length, range(1, 20_000), chunk=1000, ordered=False))
        print(f"the sequences up to 19,999 have {total:,} members")


if __name__ == "__main__":
    main()
