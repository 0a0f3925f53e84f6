"""Keys, slots and rates of jobs: who holds, who is parked in which line, who is woken."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from treadle.backends.sqlite.rows import Code, Flag, Row
from treadle.backends.sqlite.tx import Tx
from treadle.policies import rates
from treadle.records import Hold, NewJob, Spend

__all__ = [
    "Full",
    "free",
    "grant",
    "hold_line",
    "key_full",
    "key_line",
    "leave",
    "line_rank",
    "lines_of",
    "park",
    "rate_state",
    "save_rate",
    "set_key_slots",
    "take",
    "wake",
    "wake_everywhere",
]

_WAKE_MOST = 100
_State = msgspec.msgpack.Decoder(tuple[float, ...])


class Full(msgspec.Struct, frozen=True):
    """Why a job cannot be granted now: a line to park in, or an instant to be scheduled for."""

    line: str | None = None
    # What the job wants of the line.
    units: int = 1
    at: float = 0.0


def key_line(key: str) -> str:
    """The name of the line of a key."""
    return f"key:{key}"


def hold_line(key: str) -> str:
    """The name of the line of slots."""
    return f"limit:{key}"


def lines_of(spec: NewJob) -> list[str]:
    """The lines in which a job may have to wait."""
    lines = [] if spec.key is None else [key_line(spec.key)]
    lines += [hold_line(ask.key) for ask in spec.asks if isinstance(ask, Hold)]
    return lines


# ------------------------------------------------------------- holding


def set_key_slots(tx: Tx, spec: NewJob) -> None:
    """The latest push of a key says how many of its jobs may run."""
    assert spec.key is not None
    line = key_line(spec.key)
    found = tx.one("limit", line)
    if found is None or found[0] != spec.key_slots:
        tx.run("set_slots", line, spec.key_slots)
        if found is not None and spec.key_slots > found[0]:
            wake(tx, line)


def key_full(tx: Tx, key: str) -> bool:
    """Whether as many jobs of the key run as may."""
    found = tx.one("limit", key_line(key))
    return found is not None and found[1] >= found[0]


def grant(tx: Tx, row: Row, spec: NewJob) -> Full | None:
    """Take key, slots and rates of a job, all or none; says what is in the way."""
    if spec.key is not None:
        line = key_line(spec.key)
        if spec.ordered and tx.one("key_first", spec.key)[0] != row.seq:
            return Full(line)
        if key_full(tx, spec.key):
            return Full(line)
    full = _slots_full(tx, spec)
    if full is not None:
        return full
    if not row.flags & Flag.PAID:
        at = _pay(tx, [ask for ask in spec.asks if isinstance(ask, Spend)])
        if at > tx.now:
            return Full(at=at)
    if spec.key is not None:
        take(tx, row.id, key_line(spec.key), spec.key_slots, 1, keep_slots=True)
        row.flags |= Flag.HOLDS
    for ask in spec.asks:
        if isinstance(ask, Hold):
            take(tx, row.id, hold_line(ask.key), ask.slots, min(ask.units, ask.slots))
            row.flags |= Flag.HOLDS
    return None


def _slots_full(tx: Tx, spec: NewJob) -> Full | None:
    """The first limit without free units for the job, which has as many slots as this job says."""
    taken: dict[str, int] = {}
    for ask in spec.asks:
        if not isinstance(ask, Hold):
            continue
        line, units = hold_line(ask.key), min(ask.units, ask.slots)
        found = tx.one("limit", line)
        slots, held = (ask.slots, 0) if found is None else found
        # The same limit may be asked for twice.
        taken[line] = taken.get(line, 0) + units
        full = held + min(taken[line], ask.slots) > ask.slots
        if found is None or slots != ask.slots:
            tx.run("set_slots", line, ask.slots)
            if ask.slots > slots:
                wake(tx, line)
        if full:
            return Full(line, units)
    return None


def take(
    tx: Tx, owner: str, line: str, slots: int, units: int, *, keep_slots: bool = False
) -> None:
    """Hold units of a line."""
    found = tx.one("limit", line)
    if found is None or (found[0] != slots and not keep_slots):
        tx.run("set_slots", line, slots)
    tx.run("take_units", units, line)
    tx.run("hold", owner, line, units)


def _pay(tx: Tx, spends: list[Spend]) -> float:
    """Book a place in each rate; the latest of their instants."""
    latest = tx.now
    for ask in spends:
        at, state = rates.reserve(rate_state(tx, ask.key), tx.now, ask)
        save_rate(tx, ask, state)
        latest = max(latest, at)
    return latest


def rate_state(tx: Tx, key: str) -> rates.State:
    """The state of a rate."""
    found = tx.one("rate", key)
    return rates.FRESH if found is None else _State.decode(found[0])


def save_rate(tx: Tx, ask: Spend, state: rates.State) -> None:
    """Keep the state of a rate until it says nothing any more."""
    tx.run("save_rate", ask.key, msgspec.msgpack.encode(state), rates.fades(state, ask))


# ------------------------------------------------------------- parking and waking


def park(row: Row, line: str, units: int = 1) -> None:
    """Put a job into a line; to be saved by the caller."""
    row.state = Code.WAITING
    row.line, row.line_units = line, units
    row.line_rank = line_rank(row.flags, row.rank)


def line_rank(flags: int, rank: int) -> int:
    """The rank of a job in a line: beside others an ordered one counts as of priority 0."""
    return 0 if flags & Flag.ORDERED else rank


def free(tx: Tx, row: Row) -> list[str]:
    """Give up what a job holds; the lines that may be woken once the job is saved."""
    if not row.flags & Flag.HOLDS:
        return []
    row.flags &= ~Flag.HOLDS
    return free_owner(tx, row.id)


def free_owner(tx: Tx, owner: str) -> list[str]:
    """Give up what a job or a permit holds; the lines concerned."""
    lines: list[str] = []
    for line, units in tx.run("holds", owner).fetchall():
        tx.run("take_units", -units, line)
        lines.append(line)
    tx.run("drop_holds", owner)
    return lines


def leave(tx: Tx, row: Row, spec: NewJob, except_line: str | None = None) -> None:
    """Wake the lines of a job that no longer competes, lest those behind it sleep for ever."""
    if row.flags & (Flag.KEYED | Flag.ASKS):
        wake_all(tx, [line for line in lines_of(spec) if line != except_line])


def wake_all(tx: Tx, lines: Iterable[str]) -> None:
    """Wake several lines."""
    for line in lines:
        wake(tx, line)


def wake(tx: Tx, line: str) -> None:
    """Let as many jobs compete again as units are free, head first.

    What waits in a paused queue must not keep the units from those behind it.
    """
    found = tx.one("limit", line)
    if found is None:
        return
    slots, held = found
    left, rules = slots - held, tx.rules
    for _ in range(_WAKE_MOST):
        row = _head(tx, line)
        if row is None:
            _forget(tx, line)
            return
        units = min(row.line_units or 1, slots)
        if units > left or row.line != line:
            return
        if rules.room(row.queue) != 0:
            left -= units
        unpark(tx, row)


def _head(tx: Tx, line: str) -> Row | None:
    """The job to be woken first."""
    found = tx.one("line", line)
    if found is None:
        return None
    row = Row(*found)
    if row.flags & Flag.ORDERED and line == key_line(row.key or ""):
        # It has to wait for the earliest, which may stand behind it by its priority.
        first = tx.row_at(tx.one("key_first", row.key)[0])
        assert first is not None
        return first
    return row


def wake_everywhere(tx: Tx) -> None:
    """Look at all lines again, because what was meant for jobs of a queue may be for others."""
    line = ""
    while (found := tx.one("next_line", line)[0]) is not None:
        line = found
        wake(tx, line)


def unpark(tx: Tx, row: Row) -> None:
    """Put a parked job back into its place."""
    row.line = row.line_rank = row.line_units = None
    if row.due is not None and row.due > tx.now:
        row.state = Code.SCHEDULED
    else:
        tx.make_ready(row)
    tx.save(row, Code.WAITING)


def _forget(tx: Tx, line: str) -> None:
    kind, _, key = line.partition(":")
    if kind == "key" and tx.one("key_used", key) is not None:
        return
    tx.run("drop_limit", line)
