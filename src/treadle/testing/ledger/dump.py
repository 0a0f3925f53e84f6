"""All that a store has, for a comparison with the ledgers."""

from __future__ import annotations

import msgspec

from treadle.ports import SESSION_CELL, Backend, Query
from treadle.records import JobRecord, SessionInfo

__all__ = ["Dump", "dump"]


class Dump(msgspec.Struct, frozen=True, kw_only=True):
    """What a store had at one time."""

    records: tuple[JobRecord, ...]
    # Foremen that are present.
    sessions: tuple[SessionInfo, ...] = ()


async def dump(backend: Backend) -> Dump:
    """Every job of a store by ``find``, and the foremen that are present."""
    records: list[JobRecord] = []
    query = Query(limit=500, oldest_first=True)
    while True:
        page = await backend.find(query)
        records += page.records
        if page.cursor is None:
            break
        query = msgspec.structs.replace(query, cursor=page.cursor)
    cells = await backend.read([f"{SESSION_CELL}*"])
    sessions = [msgspec.msgpack.decode(one.value, type=SessionInfo) for one in cells.values()]
    return Dump(records=tuple(records), sessions=tuple(sessions))
