"""Permits of the worker door, and the tickets of those who wait for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from treadle.backends.common.holds import holds_of
from treadle.backends.common.lines import hold_line
from treadle.backends.common.tickets import AHEAD_MOST, TURN, asked_lines, kept_until, turn_delay
from treadle.backends.postgres.lines import rate_state, save_rate, wake_all
from treadle.backends.postgres.tx import Tx
from treadle.policies import rates
from treadle.ports import Granted, Permit, Ticket, Wait
from treadle.records import Ask, Spend

__all__ = [
    "Fresh",
    "acquire",
    "adjust",
    "cancel",
    "release",
    "renew",
    "sweep_permits",
    "sweep_tickets",
]


class Fresh:
    """The ids of what one request makes, the same ones when it is sent again.

    Args:
        new_id: gives them.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self.permit = new_id()
        self.ticket = Ticket(id=new_id())
        # Whether the answer to an earlier attempt was lost, which may have been carried out.
        self.again = False


async def acquire(
    tx: Tx,
    asks: Sequence[Ask],
    who: str,
    ticket: Ticket | None,
    lease: float,
    *,
    fresh: Fresh,
) -> Granted | Wait:
    """Take all asks or none, in the order of the lines."""
    again, fresh.again = fresh.again, True
    if again and await tx.one("permit", fresh.permit) is not None:
        return Granted(permit=await _permit(tx, tuple(asks), who, fresh))
    if again and ticket is None and await tx.one("ticket", fresh.ticket.id) is not None:
        ticket = fresh.ticket
    await sweep_permits(tx)
    await sweep_tickets(tx)
    mine = None if ticket is None else await tx.one("ticket", ticket.id)
    lines = asked_lines(asks)
    ahead = await _ahead(tx, lines, None if mine is None else mine[0])
    if ahead:
        delay = turn_delay(ahead)
    else:
        delay = await _slots_delay(tx, asks) or await _rates_delay(tx, asks)
    if delay > 0:
        return await _queue_up(tx, lines, ticket or fresh.ticket, mine, delay)
    if mine is not None:
        await _drop_ticket(tx, mine[0])
    await _grant(tx, tuple(asks), fresh.permit, lease)
    return Granted(permit=await _permit(tx, tuple(asks), who, fresh))


async def _ahead(tx: Tx, lines: Sequence[str], seq: int | None) -> int:
    """How many stand before this request in the longest of its lines; no more than matter."""
    before = 1 << 62 if seq is None else seq
    counts = [(await tx.one("tickets_ahead", line, before, AHEAD_MOST))[0] for line in lines]
    return max(counts, default=0)


async def _slots_delay(tx: Tx, asks: Sequence[Ask]) -> float:
    for hold in holds_of(asks):
        limit = await tx.limits.get(hold_line(hold.key))
        if limit is not None and limit.held + hold.units > hold.slots:
            return TURN
    return 0.0


async def _rates_delay(tx: Tx, asks: Sequence[Ask]) -> float:
    """Seconds until all rates conform; nothing is booked."""
    at = tx.now
    booked: dict[str, rates.State] = {}
    for ask in asks:
        if isinstance(ask, Spend):
            state = booked.get(ask.key)
            if state is None:
                state = await rate_state(tx, ask.key)
            instant, booked[ask.key] = rates.reserve(state, tx.now, ask)
            at = max(at, instant)
    return at - tx.now


async def _queue_up(
    tx: Tx,
    lines: Sequence[str],
    ticket: Ticket,
    mine: tuple[int, float] | None,
    delay: float,
) -> Wait:
    until = kept_until(tx.now, delay)
    if mine is not None:
        await tx.run("renew_ticket", until, mine[0])
        return Wait(delay=delay, ticket=ticket)
    seq = (await tx.one("add_ticket", ticket.id, until))[0]
    await tx.run("line_up", lines, seq)
    return Wait(delay=delay, ticket=ticket)


async def _grant(tx: Tx, asks: tuple[Ask, ...], permit: str, lease: float) -> None:
    for hold in holds_of(asks):
        line = hold_line(hold.key)
        await tx.limits.set_slots(line, hold.slots)
        await tx.limits.take(permit, line, hold.units)
        # A fence is for who holds something alone. A crash of the server must not give it again.
        tx.must_sync |= hold.slots == 1
    for ask in asks:
        if isinstance(ask, Spend):
            _, state = rates.reserve(await rate_state(tx, ask.key), tx.now, ask)
            await save_rate(tx, ask, state)
    encoded = msgspec.msgpack.encode(asks)
    await tx.run("add_permit", permit, tx.now, tx.now + lease, encoded)


async def _permit(tx: Tx, asks: tuple[Ask, ...], who: str, fresh: Fresh) -> Permit:
    # Arrival numbers of jobs go up and never back, as a fence must.
    return Permit(id=fresh.permit, asks=asks, who=who, fence=(await tx.numbers(1))[0])


async def renew(tx: Tx, permit: Permit, lease: float) -> bool:
    """Keep what is held."""
    found = await tx.one("permit", permit.id)
    if found is None or found[1] <= tx.now:
        return False
    await tx.run("renew_permit", tx.now + lease, permit.id)
    return True


async def adjust(tx: Tx, permit: Permit, used: Mapping[str, float]) -> None:
    """Settle the real cost of rates."""
    found = await tx.one("permit", permit.id)
    since = None if found is None else found[0]
    for ask in permit.asks:
        if isinstance(ask, Spend) and ask.key in used:
            state = rates.adjust(await rate_state(tx, ask.key), tx.now, ask, used[ask.key], since)
            await save_rate(tx, ask, state)


async def release(tx: Tx, permit_id: str) -> None:
    """Free what is held."""
    await tx.run("drop_permit", permit_id)
    await wake_all(tx, await tx.limits.free(permit_id))


async def cancel(tx: Tx, ticket: Ticket) -> None:
    """Leave the line."""
    found = await tx.one("ticket", ticket.id)
    if found is not None:
        await _drop_ticket(tx, found[0])


async def _drop_ticket(tx: Tx, seq: int) -> None:
    await tx.run("leave_lines", seq)
    await tx.run("drop_ticket", seq)


async def sweep_permits(tx: Tx) -> None:
    """Free what was not renewed."""
    for (permit,) in await tx.run("stale_permits", tx.now):
        await release(tx, permit)


async def sweep_tickets(tx: Tx) -> None:
    """Take those out of line who no longer ask."""
    for (seq,) in await tx.run("stale_tickets", tx.now):
        await _drop_ticket(tx, seq)
