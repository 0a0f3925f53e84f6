"""Queue names: which are valid, which cover which, and who serves a queue."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from treadle.errors import InvalidOption

__all__ = ["ALL", "Matcher", "ancestors", "check_queue", "covered", "covers", "weighted"]

ALL = "*"
"""Covers every queue."""

_NAME = re.compile(r"[A-Za-z0-9_:-]+(?:\.[A-Za-z0-9_:-]+)*")
_MAX = 128
# What was meant as a weight.
_NUMBER = re.compile(r"[-+]?[0-9]*(?:\.[0-9]*)?")


def check_queue(name: str, option: str = "queue") -> str:
    """The name, if a queue can have it.

    Raises:
        InvalidOption: it cannot.
    """
    if len(name) <= _MAX and _NAME.fullmatch(name):
        return name
    raise InvalidOption(
        f"{option}={name!r} is not a queue name: use 1 to {_MAX} letters, digits and _ : - in "
        "parts joined by single dots, such as 'mail.acme'",
        option=option,
        value=name,
    )


def weighted(item: str) -> tuple[str, int | None]:
    """The name and the weight of ``"mail:5"``; a name may have colons, but not end in a number.

    Raises:
        InvalidOption: no queue can have the name, or the weight is not a whole number from 1.
    """
    name, colon, text = item.rpartition(":")
    if colon and _NUMBER.fullmatch(text):
        if not text.isdigit() or int(text) < 1:
            raise InvalidOption(
                f"queues: {item!r} has the weight {text}; a weight is a whole number from 1",
                option="queues",
                value=item,
            )
    else:
        name, text = item, ""
    if name != ALL:
        check_queue(name, "queues")
    return name, int(text) if text else None


def ancestors(queue: str) -> tuple[str, ...]:
    """The queues that cover this one, nearest first: ``a.b.c`` gives ``a.b`` and ``a``."""
    found: list[str] = []
    at = queue.rfind(".")
    while at > 0:
        queue = queue[:at]
        found.append(queue)
        at = queue.rfind(".")
    return tuple(found)


def covers(pattern: str, queue: str) -> bool:
    """Whether ``mail`` or ``*`` covers the queue: itself and what follows it after a dot."""
    return pattern in (ALL, queue) or queue.startswith(pattern + ".")


def covered(names: Sequence[str], pattern: str) -> list[str]:
    """Those of the sorted names that the pattern covers, in order, a list of its own."""
    if pattern == ALL:
        return list(names)
    at = bisect_left(names, pattern)
    own = [pattern] if at < len(names) and names[at] == pattern else []
    # "/" follows "." in ASCII, so the subqueues are between the two.
    low = bisect_left(names, pattern + ".", at)
    high = bisect_left(names, pattern + "/", low)
    return own + list(names[low:high])


class Matcher:
    """Says under which of its names a claim serves a queue: the longest that covers it decides.

    Args:
        queues: served, in order of preference.
        exclude: not served; wins against the same name in ``queues``.
    """

    __slots__ = ("_places", "_rest", "overlapping", "queues")

    def __init__(self, queues: Iterable[str], exclude: Iterable[str] = ()) -> None:
        self.queues = tuple(dict.fromkeys(queues))
        self._places: dict[str, int | None] = {name: i for i, name in enumerate(self.queues)}
        excluded = dict.fromkeys(exclude)
        self._places.update(excluded)
        self._rest = self._places.pop(ALL, None)
        # Whether a queue may be covered by more than one name, so that ``place`` must be asked.
        names = self._places.keys()
        self.overlapping = (
            bool(excluded)
            or (bool(names) and ALL in self.queues)
            or any(above in names for name in names for above in ancestors(name))
        )

    def place(self, queue: str) -> int | None:
        """Index in ``queues`` of the name that serves the queue; ``None`` when none does."""
        places = self._places
        name = queue
        while name not in places:
            at = name.rfind(".")
            if at < 0:
                return self._rest
            name = name[:at]
        return places[name]
