"""State that a fleet shares: limits at the worker door, and cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

import msgspec

from treadle.backends.common.holds import holds_of
from treadle.backends.memory.advance import advance, drop_grant, drop_place
from treadle.backends.memory.gate import slots_line
from treadle.backends.memory.lines import LIMIT
from treadle.backends.memory.moves import wake_lines
from treadle.backends.memory.permits import Grant, Place
from treadle.backends.memory.store import Store
from treadle.ids import Ids
from treadle.ports import SESSION_CELL, Cell, Granted, Permit, Ticket, Wait, Write
from treadle.records import Ask, Hold, Spend

__all__ = ["acquire", "adjust", "cancel", "read", "release", "renew", "write"]

_TURN = 0.05
"""Seconds after which a request asks again, for each place that it is from the head."""
_TURN_MAX = 1.0
_UNUSED = 5.0
"""A ticket that nobody uses for so long, or for two of its delays, leaves the line."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """An acquisition that is asked for."""

    asks: tuple[Ask, ...]
    who: str
    ticket: str | None
    lease: float


def acquire(store: Store, ids: Ids, request: Request) -> Granted | Wait:
    """Take all asks or none, first come first served."""
    advance(store)
    place = store.permits.places.get(request.ticket or "")
    lines = tuple(dict.fromkeys(LIMIT + ask.key for ask in request.asks))
    ahead = _ahead(store, lines, place)
    delay = min(_TURN_MAX, _TURN * ahead) if ahead else _take(store, request.asks)
    if delay <= 0:
        if place is not None:
            drop_place(store, place)
        granted = _grant(store, ids, request)
        wake_lines(store)
        return granted
    if place is None:
        place = _queue_up(store, request.ticket or ids.new(), request.asks, lines)
    place.until = store.now + max(_UNUSED, 2 * delay)
    store.permits.lapse_at(place.until, place.id)
    wake_lines(store)
    return Wait(delay=delay, ticket=Ticket(id=place.id))


def _ahead(store: Store, lines: Sequence[str], place: Place | None) -> int:
    """How many others are before a request, in the longest of its lines."""
    most, places = 0, store.permits.places
    for name in lines:
        line = store.lines.get(name)
        if line is None:
            continue
        if place is None:
            most = max(most, len(line.tickets))
        else:
            # It may come back for something else than it queued up for.
            before = takewhile(lambda one: places[one].number < place.number, line.tickets)
            most = max(most, sum(1 for _ in before))
    return most


def _take(store: Store, asks: Sequence[Ask]) -> float:
    """Spend the rates if everything conforms; else the seconds after which to ask again."""
    for hold in holds_of(asks):
        if slots_line(store, hold).used + hold.units > hold.slots:
            return _TURN
    rates = [ask for ask in asks if isinstance(ask, Spend)]
    return store.rates.spend(rates, store.now, book_ahead=False) - store.now if rates else 0.0


def _grant(store: Store, ids: Ids, request: Request) -> Granted:
    holds = tuple((LIMIT + hold.key, hold.units) for hold in holds_of(request.asks))
    for name, units in holds:
        store.lines[name].used += units
    permits = store.permits
    permits.fence += 1
    grant = Grant(ids.new(), holds, store.now + request.lease)
    permits.grants[grant.id] = grant
    permits.lapse_at(grant.until, grant.id)
    permit = Permit(id=grant.id, asks=request.asks, who=request.who, fence=permits.fence)
    return Granted(permit=permit)


def _queue_up(store: Store, ticket_id: str, asks: tuple[Ask, ...], lines: tuple[str, ...]) -> Place:
    store.permits.arrivals += 1
    place = Place(ticket_id, store.permits.arrivals, asks, lines)
    store.permits.places[place.id] = place
    for ask in asks:
        slots = ask.slots if isinstance(ask, Hold) else 0
        store.line(LIMIT + ask.key, slots).tickets[place.id] = None
    return place


def renew(store: Store, permit: Permit, lease: float) -> bool:
    """Keep what is held; False when it has lapsed."""
    grant = store.permits.grants.get(permit.id)
    if grant is None or grant.until <= store.now:
        return False
    grant.until = store.now + lease
    # Looked at when the old instant comes, unless the new one is sooner.
    store.permits.lapse_at(grant.until, grant.id)
    return True


def adjust(store: Store, permit: Permit, used: Mapping[str, float]) -> None:
    """Settle the real cost of rates."""
    for ask in permit.asks:
        if isinstance(ask, Spend) and ask.key in used:
            store.rates.adjust(ask, used[ask.key], store.now)


def release(store: Store, permit: Permit) -> None:
    """Free what is held."""
    grant = store.permits.grants.get(permit.id)
    if grant is not None:
        drop_grant(store, grant)
        wake_lines(store)


def cancel(store: Store, ticket: Ticket) -> None:
    """Leave the line."""
    place = store.permits.places.get(ticket.id)
    if place is not None:
        drop_place(store, place)
        wake_lines(store)


def read(store: Store, keys: Sequence[str]) -> dict[str, Cell]:
    """The cells that exist."""
    found: dict[str, Cell] = {}
    for key in keys:
        found.update(store.cells.read(key, store.now))
        if key.startswith(SESSION_CELL) or SESSION_CELL.startswith(key.removesuffix("*")):
            found.update(_sessions(store, key))
    return found


def _sessions(store: Store, key: str) -> dict[str, Cell]:
    present = {
        SESSION_CELL + name: info for name, info in store.presence.present(store.now).items()
    }
    if key.endswith("*"):
        wanted = {name: info for name, info in present.items() if name.startswith(key[:-1])}
    else:
        wanted = {key: present[key]} if key in present else {}
    return {
        name: Cell(value=msgspec.msgpack.encode(info), version=1) for name, info in wanted.items()
    }


def write(store: Store, writes: Sequence[Write]) -> bool:
    """All writes or none."""
    store.cells.lapse(store.now)
    changed = store.cells.write(writes, store.now)
    if changed is None:
        return False
    for name in changed:
        queue = store.queues.get(name)
        if queue is not None:
            queue.rule = store.cells.rules.get(name)
    if changed:
        _look_again(store)
        store.waiters.all_queues()
    return True


def _look_again(store: Store) -> None:
    """What was meant for jobs of queues that are now paused is for others."""
    for line in store.lines.values():
        for seq, (_, name) in tuple(line.woken.items()):
            if store.queues[name].room(store.now) <= 0:
                del line.woken[seq]
                store.slack.append(line.name)
    wake_lines(store)
