"""Permits of the worker door, and the tickets of those who wait for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from treadle.backends.common.holds import holds_of
from treadle.backends.common.lines import hold_line
from treadle.backends.common.tickets import AHEAD_MOST, TURN, asked_lines, kept_until, turn_delay
from treadle.backends.sqlite.lines import free_owner, rate_state, save_rate, take, wake_all
from treadle.backends.sqlite.tx import Tx
from treadle.policies import rates
from treadle.ports import Granted, Permit, Ticket, Wait
from treadle.records import Ask, Spend

__all__ = [
    "acquire",
    "adjust",
    "cancel",
    "release",
    "renew",
    "sweep_permits",
    "sweep_tickets",
]


def acquire(
    tx: Tx, asks: Sequence[Ask], who: str, ticket: Ticket | None, lease: float
) -> Granted | Wait:
    """Take all asks or none, in the order of the lines."""
    sweep_permits(tx)
    sweep_tickets(tx)
    mine = None if ticket is None else tx.one("ticket", ticket.id)
    lines = asked_lines(asks)
    ahead = _ahead(tx, lines, None if mine is None else mine[0])
    if ahead:
        delay = turn_delay(ahead)
    else:
        delay = _slots_delay(tx, asks) or _rates_delay(tx, asks)
    if delay > 0:
        return _queue_up(tx, lines, ticket, mine, delay)
    if mine is not None:
        _drop_ticket(tx, mine[0])
    return Granted(permit=_grant(tx, tuple(asks), who, lease))


def _ahead(tx: Tx, lines: Sequence[str], seq: int | None) -> int:
    """How many stand before this request in the longest of its lines; no more than matter."""
    before = 1 << 62 if seq is None else seq
    return max((tx.one("tickets_ahead", line, before, AHEAD_MOST)[0] for line in lines), default=0)


def _slots_delay(tx: Tx, asks: Sequence[Ask]) -> float:
    for hold in holds_of(asks):
        found = tx.one("limit", hold_line(hold.key))
        if found is not None and found[1] + hold.units > hold.slots:
            return TURN
    return 0.0


def _rates_delay(tx: Tx, asks: Sequence[Ask]) -> float:
    """Seconds until all rates conform; nothing is booked."""
    at = tx.now
    booked: dict[str, rates.State] = {}
    for ask in asks:
        if isinstance(ask, Spend):
            state = booked.get(ask.key)
            if state is None:
                state = rate_state(tx, ask.key)
            instant, booked[ask.key] = rates.reserve(state, tx.now, ask)
            at = max(at, instant)
    return at - tx.now


def _queue_up(
    tx: Tx,
    lines: Sequence[str],
    ticket: Ticket | None,
    mine: tuple[int, float] | None,
    delay: float,
) -> Wait:
    until = kept_until(tx.now, delay)
    if mine is not None and ticket is not None:
        tx.run("renew_ticket", until, mine[0])
        return Wait(delay=delay, ticket=ticket)
    ticket = ticket or Ticket(id=tx.settings.new_id())
    seq = tx.run("add_ticket", ticket.id, until).lastrowid
    for line in lines:
        tx.run("line_up", line, seq)
    return Wait(delay=delay, ticket=ticket)


def _grant(tx: Tx, asks: tuple[Ask, ...], who: str, lease: float) -> Permit:
    permit = tx.settings.new_id()
    for hold in holds_of(asks):
        take(tx, permit, hold_line(hold.key), hold.slots, hold.units)
    for ask in asks:
        if isinstance(ask, Spend):
            _, state = rates.reserve(rate_state(tx, ask.key), tx.now, ask)
            save_rate(tx, ask, state)
    encoded = msgspec.msgpack.encode(asks)
    tx.run("add_permit", permit, tx.now, tx.now + lease, encoded)
    # Arrival numbers of jobs go up and never back, as a fence must.
    return Permit(id=permit, asks=asks, who=who, fence=tx.numbers(1))


def renew(tx: Tx, permit: Permit, lease: float) -> bool:
    """Keep what is held."""
    found = tx.one("permit", permit.id)
    if found is None or found[1] <= tx.now:
        return False
    tx.run("renew_permit", tx.now + lease, permit.id)
    return True


def adjust(tx: Tx, permit: Permit, used: Mapping[str, float]) -> None:
    """Settle the real cost of rates."""
    found = tx.one("permit", permit.id)
    since = None if found is None else found[0]
    for ask in permit.asks:
        if isinstance(ask, Spend) and ask.key in used:
            state = rates.adjust(rate_state(tx, ask.key), tx.now, ask, used[ask.key], since)
            save_rate(tx, ask, state)


def release(tx: Tx, permit_id: str) -> None:
    """Free what is held."""
    tx.run("drop_permit", permit_id)
    wake_all(tx, free_owner(tx, permit_id))


def cancel(tx: Tx, ticket: Ticket) -> None:
    """Leave the line."""
    found = tx.one("ticket", ticket.id)
    if found is not None:
        _drop_ticket(tx, found[0])


def _drop_ticket(tx: Tx, seq: int) -> None:
    tx.run("leave_lines", seq)
    tx.run("drop_ticket", seq)


def sweep_permits(tx: Tx) -> None:
    """Free what was not renewed."""
    for (permit,) in tx.run("stale_permits", tx.now).fetchall():
        release(tx, permit)


def sweep_tickets(tx: Tx) -> None:
    """Take those out of line who no longer ask."""
    for (seq,) in tx.run("stale_tickets", tx.now).fetchall():
        _drop_ticket(tx, seq)
