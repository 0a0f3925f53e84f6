"""Fair turns between the queues that one name covers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

__all__ = ["Turns", "rotated", "take_turns"]


def rotated(names: Sequence[str], last: str | None) -> Sequence[str]:
    """The sorted names, beginning after the one that was served last."""
    at = bisect_right(names, last) if last is not None else 0
    return names if at in (0, len(names)) else [*names[at:], *names[:at]]


class Turns:
    """Whose turn it is among members that fill places together.

    Each round shares the places that are left among the members that are left. A member
    that gives fewer jobs than it may is empty and leaves. So a member with a million jobs
    delays one with ten by a turn, and no more members are asked than there are places.

    Args:
        names: the members with jobs, sorted.
        last: served last by the claim before.
        places: jobs that may be taken.
    """

    __slots__ = ("_at", "_members", "_places", "_quota", "_stay", "_wanted", "last")

    def __init__(self, names: Sequence[str], last: str | None, places: int) -> None:
        # Served last.
        self.last = last
        self._places = places
        self._members: Sequence[str] = ()
        self._at = 0
        # Those of this round who have a turn in the next.
        self._stay = list(rotated(names, last))
        self._quota = self._wanted = 0

    def next(self) -> tuple[str, int] | None:
        """Who is next, and how many jobs it may give; :meth:`took` says how many it gave."""
        if self._places <= 0:
            return None
        if self._at == len(self._members):
            self._members, self._stay, self._at = self._stay, [], 0
            if not self._members:
                return None
            self._quota = -(-self._places // len(self._members))
        self._wanted = min(self._quota, self._places)
        return self._members[self._at], self._wanted

    def took(self, taken: int) -> None:
        """So many jobs came from who was next."""
        name = self._members[self._at]
        self._at += 1
        if taken:
            self.last = name
            self._places -= taken
        if taken == self._wanted:
            self._stay.append(name)


def take_turns(
    names: Sequence[str], last: str | None, places: int, take: Callable[[str, int], int]
) -> str | None:
    """Let the members fill the places in turns, and give the name that was served last.

    Args:
        names: the members with jobs, sorted.
        last: served last by the claim before.
        places: jobs that may be taken.
        take: takes up to so many jobs of a member and says how many it took.
    """
    turns = Turns(names, last, places)
    while (turn := turns.next()) is not None:
        turns.took(take(*turn))
    return turns.last
