"""Small versioned values; some are rules of queues, some show sessions."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.backends.common.cells import cell_of, names_sessions, sessions_of
from treadle.backends.sqlite.lines import wake_everywhere
from treadle.backends.sqlite.tx import Reading, Tx
from treadle.ports import QUEUE_CELL, Cell, Write

__all__ = ["read", "write"]

_LAST = "\U0010ffff"
"""Sorts after every key."""


def read(reading: Reading, keys: Sequence[str]) -> dict[str, Cell]:
    """The cells that exist."""
    found: dict[str, Cell] = {}
    for key in keys:
        if names_sessions(key):
            found |= sessions_of(reading.run("sessions", reading.now), key)
        if key.endswith("*"):
            prefix = key[:-1]
            rows = reading.run("cells", prefix, prefix + _LAST, reading.now)
            found |= {name: cell_of(name, value, version) for name, value, version in rows}
        elif (row := reading.one("cell", key, reading.now)) is not None:
            found[key] = cell_of(key, *row)
    return found


def write(tx: Tx, writes: Sequence[Write]) -> bool:
    """All writes, or none when a version is not the expected one."""
    versions: dict[str, int] = {}
    for item in writes:
        row = tx.one("cell", item.key, tx.now)
        versions.setdefault(item.key, 0 if row is None else row[1])
        if item.expect is not None and item.expect != versions[item.key]:
            return False
    for item in writes:
        if item.value is None:
            tx.run("drop_cell", item.key)
            versions[item.key] = 0
        else:
            versions[item.key] += 1
            until = None if item.ttl is None else tx.now + item.ttl
            tx.run("save_cell", item.key, item.value, versions[item.key], until)
        if item.key.startswith(QUEUE_CELL):
            tx.memo.forget_rules()
            tx.stirred = True
    if tx.stirred:
        wake_everywhere(tx)
    return True
