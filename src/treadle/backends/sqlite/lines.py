"""Keys, slots and rates of jobs: who holds, who is parked in which line, who is woken."""

from __future__ import annotations

from collections.abc import Iterable

from treadle.backends.common.holds import holds_of
from treadle.backends.common.jobrow import Code, Flag, JobRow
from treadle.backends.common.lines import (
    Full,
    decode_rate,
    encode_rate,
    hold_line,
    key_line,
    lines_of,
    unpark,
)
from treadle.backends.sqlite.tx import Tx
from treadle.policies import rates
from treadle.records import NewJob, Spend

__all__ = [
    "free",
    "grant",
    "key_full",
    "leave",
    "rate_state",
    "save_rate",
    "set_key_slots",
    "take",
    "wake",
    "wake_all",
    "wake_everywhere",
]

_WAKE_MOST = 100


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


def grant(tx: Tx, row: JobRow, spec: NewJob) -> Full | None:
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
    for hold in holds_of(spec.asks):
        take(tx, row.id, hold_line(hold.key), hold.slots, hold.units)
        row.flags |= Flag.HOLDS
    return None


def _slots_full(tx: Tx, spec: NewJob) -> Full | None:
    """The first limit without free units for the job, which has as many slots as this job says."""
    for hold in holds_of(spec.asks):
        line = hold_line(hold.key)
        found = tx.one("limit", line)
        slots, held = (hold.slots, 0) if found is None else found
        if found is None or slots != hold.slots:
            tx.run("set_slots", line, hold.slots)
            if hold.slots > slots:
                wake(tx, line)
        if held + hold.units > hold.slots:
            return Full(line, hold.units)
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
    return rates.FRESH if found is None else decode_rate(found[0])


def save_rate(tx: Tx, ask: Spend, state: rates.State) -> None:
    """Keep the state of a rate until it says nothing any more."""
    tx.run("save_rate", ask.key, encode_rate(state), rates.fades(state, ask))


# ------------------------------------------------------------- parking and waking


def free(tx: Tx, row: JobRow) -> list[str]:
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


def leave(tx: Tx, row: JobRow, spec: NewJob, except_line: str | None = None) -> None:
    """Wake the lines of a job that no longer competes, lest those behind it sleep for ever."""
    if row.flags & Flag.ASKS and not spec.asks:
        # Damaged: nobody knows which limits it was woken for.
        wake_everywhere(tx)
    elif row.flags & (Flag.KEYED | Flag.ASKS):
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
        unpark(row, tx.now)
        tx.save(row, Code.WAITING)


def _head(tx: Tx, line: str) -> JobRow | None:
    """The job to be woken first."""
    found = tx.one("line", line)
    if found is None:
        return None
    row = JobRow(*found)
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


def _forget(tx: Tx, line: str) -> None:
    kind, _, key = line.partition(":")
    if kind == "key" and tx.one("key_used", key) is not None:
        return
    tx.run("drop_limit", line)
