"""Which slots some asks come to."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from treadle.records import Ask, Hold

__all__ = ["holds_of"]


def holds_of(asks: Iterable[Ask]) -> Collection[Hold]:
    """One hold for each limit, of no more than all its slots; the latest ask says how many."""
    wanted: dict[str, Hold] = {}
    for ask in asks:
        if isinstance(ask, Hold):
            before = wanted.get(ask.key)
            units = min(ask.units if before is None else before.units + ask.units, ask.slots)
            same = units == ask.units
            wanted[ask.key] = ask if same else Hold(key=ask.key, slots=ask.slots, units=units)
    return wanted.values()
