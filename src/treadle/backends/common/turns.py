"""Fair turns between the queues that one name covers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

__all__ = ["rotated", "share", "take_turns"]


def rotated(names: Sequence[str], last: str | None) -> Sequence[str]:
    """The sorted names, beginning after the one that was served last."""
    at = bisect_right(names, last) if last is not None else 0
    return names if at in (0, len(names)) else [*names[at:], *names[:at]]


def share(places: int, members: int) -> int:
    """Jobs that a member gets in one turn."""
    return -(-places // members)


def take_turns(
    names: Sequence[str], last: str | None, places: int, take: Callable[[str, int], int]
) -> str | None:
    """Let the members fill the places in turns, and give the name that was served last.

    Each round shares the places that are left among the members that are left. A member
    that gives fewer jobs than it may is empty and leaves. So a member with a million jobs
    delays one with ten by a turn, and no more members are asked than there are places.

    Args:
        names: the members with jobs, sorted.
        last: served last by the claim before.
        places: jobs that may be taken.
        take: takes up to so many jobs of a member and says how many it took.
    """
    members = rotated(names, last)
    while members and places > 0:
        quota = share(places, len(members))
        left: list[str] = []
        for name in members:
            wanted = min(quota, places)
            taken = take(name, wanted)
            if taken:
                last = name
                places -= taken
            if taken == wanted:
                left.append(name)
            if places <= 0:
                break
        members = left
    return last
