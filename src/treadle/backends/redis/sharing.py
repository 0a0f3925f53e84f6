"""Limits at the worker door, and cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from treadle.backends.common.cells import written_rule
from treadle.backends.redis.encode import Arg, asks, packed, rule
from treadle.backends.redis.store import Store
from treadle.ids import Ids
from treadle.ports import (
    QUEUE_CELL,
    SESSION_CELL,
    Cell,
    Granted,
    Permit,
    Ticket,
    Wait,
    Write,
)
from treadle.records import Ask, SessionInfo, Spend

__all__ = ["acquire", "adjust", "read", "write"]

_decode_info = msgspec.msgpack.Decoder(SessionInfo).decode


async def acquire(
    store: Store, ids: Ids, wanted: Sequence[Ask], who: str, *, ticket: Ticket | None, lease: float
) -> Granted | Wait:
    """Take all asks or none. The ids are made here, so that a repeat is the same request."""
    permit_id = ids.new()
    ticket = ticket or Ticket(id=ids.new())
    granted, said = await store.run(
        "acquire", permit_id, ticket.id, repr(lease), packed(asks(wanted))
    )
    if not granted:
        return Wait(delay=float(said), ticket=ticket)
    permit = Permit(id=permit_id, asks=tuple(wanted), who=who, fence=int(said))
    return Granted(permit=permit)


async def adjust(store: Store, ids: Ids, permit: Permit, used: Mapping[str, float]) -> None:
    """Settle the real cost of rates."""
    spent = [ask for ask in permit.asks if isinstance(ask, Spend) and ask.key in used]
    pairs = [[ask, used[one.key]] for ask, one in zip(asks(spent), spent, strict=True)]
    if pairs:
        await store.run("adjust", ids.new(), packed(pairs))


async def read(store: Store, keys: Sequence[str]) -> dict[str, Cell]:
    """The cells that exist, those of sessions too."""
    cells, sessions = await store.run("read", *keys)
    found = {
        key.decode(): Cell(value=value, version=int(version))
        for key, version, value in zip(cells[::3], cells[1::3], cells[2::3], strict=True)
    }
    for i in range(0, len(sessions), 4):
        name, info, opened, until = sessions[i : i + 4]
        present = msgspec.structs.replace(
            _decode_info(info), opened=float(opened), until=float(until)
        )
        found[SESSION_CELL + name.decode()] = Cell(value=packed(present), version=1)
    return found


async def write(
    store: Store, ids: Ids, writes: Sequence[Write], name: str = "write", *more: Arg
) -> bool:
    """All writes, or none, by a script of that name, which takes more arguments behind them."""
    args: list[Arg] = [ids.new(), len(writes)]
    for one in writes:
        said = written_rule(one)
        args += (
            one.key,
            "" if one.expect is None else one.expect,
            b"" if one.value is None else b"=" + one.value,
            "" if one.ttl is None else repr(one.ttl),
            rule(said) if one.key.startswith(QUEUE_CELL) else b"",
        )
    return bool(await store.run(name, *args, *more) == b"1")
