"""Small versioned values; some are rules of queues, some show sessions."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from treadle.backends.common.names import ALL, check_queue
from treadle.backends.sqlite.lines import wake_everywhere
from treadle.backends.sqlite.sessions import decode_info
from treadle.backends.sqlite.tx import Reading, Tx
from treadle.errors import InvalidOption
from treadle.ports import QUEUE_CELL, SESSION_CELL, Cell, QueueRule, Write

__all__ = ["check", "read", "write"]

_LAST = "\U0010ffff"
"""Sorts after every key."""


def read(reading: Reading, keys: Sequence[str]) -> dict[str, Cell]:
    """The cells that exist."""
    found: dict[str, Cell] = {}
    for key in keys:
        prefix = key[:-1] if key.endswith("*") else None
        if (prefix if prefix is not None else key).startswith(SESSION_CELL) or (
            prefix is not None and SESSION_CELL.startswith(prefix)
        ):
            found |= _sessions(reading, key)
        if prefix is not None:
            rows = reading.run("cells", prefix, prefix + _LAST, reading.now)
            found |= {name: Cell(value=value, version=version) for name, value, version in rows}
        elif (row := reading.one("cell", key, reading.now)) is not None:
            found[key] = Cell(value=row[0], version=row[1])
    return found


def _sessions(reading: Reading, key: str) -> dict[str, Cell]:
    found: dict[str, Cell] = {}
    for nonce, info, until in reading.run("sessions", reading.now):
        name = f"{SESSION_CELL}{nonce:x}"
        if name == key or (key.endswith("*") and name.startswith(key[:-1])):
            shown = msgspec.structs.replace(decode_info(info), until=until)
            found[name] = Cell(value=msgspec.msgpack.encode(shown), version=1)
    return found


def check(writes: Sequence[Write]) -> None:
    """Refuse what may not be written, before anything is."""
    for item in writes:
        if item.key.startswith(SESSION_CELL):
            raise InvalidOption(
                f"the cell {item.key!r} cannot be written: {SESSION_CELL}… cells are made by "
                "open_session, extend and close_session",
                option="key",
                value=item.key,
            )
        if item.key.startswith(QUEUE_CELL):
            _check_rule(item)


def _check_rule(item: Write) -> None:
    queue = item.key.removeprefix(QUEUE_CELL)
    if queue != ALL:
        check_queue(queue, "key")
    if item.value is None:
        return
    try:
        msgspec.msgpack.decode(item.value, type=QueueRule)
    except msgspec.DecodeError as error:
        raise InvalidOption(
            f"the cell {item.key!r} must hold a QueueRule in msgpack: {error}",
            option="value",
            value=item.value,
        ) from error


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
