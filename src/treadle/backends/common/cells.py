"""Which cells may be written and what they hold: values, rules for queues, sessions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from treadle.backends.common.damage import LOCKED, info_of, raw, rule_of
from treadle.errors import InvalidOption
from treadle.ports import QUEUE_CELL, SESSION_CELL, Cell, QueueRule, Write
from treadle.queuenames import check_queue

__all__ = ["cell_of", "check", "names_sessions", "sessions_of", "written_rule"]


def written_rule(write: Write) -> QueueRule | None:
    """The rule for a queue that a write brings; ``None`` when it brings none.

    Raises:
        InvalidOption: the cell of a session cannot be written, and that of a queue holds
            nothing but a rule.
    """
    if write.key.startswith(SESSION_CELL):
        raise InvalidOption(
            f"the cell {write.key!r} cannot be written: {SESSION_CELL}… cells are made by "
            "open_session, extend and close_session",
            option="key",
            value=write.key,
        )
    if not write.key.startswith(QUEUE_CELL):
        return None
    check_queue(write.key.removeprefix(QUEUE_CELL), "key")
    if write.value is None:
        return None
    try:
        return msgspec.msgpack.decode(write.value, type=QueueRule)
    except msgspec.DecodeError as error:
        raise InvalidOption(
            f"the cell {write.key!r} must hold a QueueRule in msgpack: {error}",
            option="value",
            value=write.value,
        ) from error


def check(writes: Iterable[Write]) -> None:
    """Refuse what may not be written, before anything is.

    Raises:
        InvalidOption: as :func:`written_rule`.
    """
    for one in writes:
        written_rule(one)


def cell_of(key: str, value: Any, version: int) -> Cell:
    """A cell as it is stored; a rule that is damaged shows as the one that is obeyed."""
    if key.startswith(QUEUE_CELL):
        rule = rule_of(value)
        if rule is LOCKED:
            value = msgspec.msgpack.encode(rule)
    return Cell(value=value if type(value) is bytes else raw(value), version=version)


def names_sessions(key: str) -> bool:
    """Whether a key, or all keys that begin like one with ``*``, may be cells of sessions."""
    if not key.endswith("*"):
        return key.startswith(SESSION_CELL)
    return key[:-1].startswith(SESSION_CELL) or SESSION_CELL.startswith(key[:-1])


def sessions_of(rows: Iterable[tuple[int, Any, float]], key: str) -> dict[str, Cell]:
    """The cells of sessions under a key, from rows of nonce, info and end."""
    found: dict[str, Cell] = {}
    for nonce, info, until in rows:
        name = f"{SESSION_CELL}{nonce:x}"
        if name == key or (key.endswith("*") and name.startswith(key[:-1])):
            shown = msgspec.structs.replace(info_of(info), until=until)
            found[name] = Cell(value=msgspec.msgpack.encode(shown), version=1)
    return found
