"""Keys, slots and rates of jobs: who holds, who is parked in which line, who is woken."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from treadle.backends.common.holds import holds_of
from treadle.backends.common.jobrow import Code, Flag
from treadle.backends.common.lines import (
    Full,
    decode_rate,
    encode_rate,
    hold_line,
    key_line,
    lines_of,
    unpark,
)
from treadle.backends.postgres.rows import Row
from treadle.backends.postgres.tx import Tx
from treadle.policies import rates
from treadle.records import NewJob, Spend

__all__ = [
    "forgetting_late",
    "free",
    "grant",
    "key_full",
    "leave",
    "rate_state",
    "save_rate",
    "set_key_slots",
    "wake",
    "wake_all",
    "wake_everywhere",
]

_WAKE_MOST = 100


# ------------------------------------------------------------- holding


async def set_key_slots(tx: Tx, spec: NewJob) -> None:
    """The latest push of a key says how many of its jobs may run."""
    assert spec.key is not None
    line = key_line(spec.key)
    was = await tx.limits.set_slots(line, spec.key_slots)
    if was is not None and spec.key_slots > was:
        await wake(tx, line)


async def key_full(tx: Tx, key: str) -> bool:
    """Whether as many jobs of the key run as may."""
    limit = await tx.limits.get(key_line(key))
    return limit is not None and limit.held >= limit.slots


async def grant(tx: Tx, row: Row, spec: NewJob) -> Full | None:
    """Take key, slots and rates of a job, all or none; says what is in the way."""
    if spec.key is not None:
        line = key_line(spec.key)
        if spec.ordered and (await tx.look_one("key_first", spec.key))[0] != row.seq:
            return Full(line)
        if await key_full(tx, spec.key):
            return Full(line)
    full = await _slots_full(tx, spec)
    if full is not None:
        return full
    if not row.flags & Flag.PAID:
        at = await _pay(tx, [ask for ask in spec.asks if isinstance(ask, Spend)])
        if at > tx.now:
            return Full(at=at)
    if spec.key is not None:
        line = key_line(spec.key)
        if await tx.limits.get(line) is None:
            await tx.limits.set_slots(line, spec.key_slots)
        await tx.limits.take(row.id, line, 1)
        row.flags |= Flag.HOLDS
    for hold in holds_of(spec.asks):
        await tx.limits.take(row.id, hold_line(hold.key), hold.units)
        row.flags |= Flag.HOLDS
    return None


async def _slots_full(tx: Tx, spec: NewJob) -> Full | None:
    """The first limit without free units for the job, which has as many slots as this job says."""
    for hold in holds_of(spec.asks):
        line = hold_line(hold.key)
        was = await tx.limits.set_slots(line, hold.slots)
        if was is not None and hold.slots > was:
            await wake(tx, line)
        limit = await tx.limits.get(line)
        if limit is None:  # nobody was there to be woken
            await tx.limits.set_slots(line, hold.slots)
        elif limit.held + hold.units > hold.slots:
            return Full(line, hold.units)
    return None


async def _pay(tx: Tx, spends: list[Spend]) -> float:
    """Book a place in each rate; the latest of their instants."""
    latest = tx.now
    for ask in spends:
        at, state = rates.reserve(await rate_state(tx, ask.key), tx.now, ask)
        await save_rate(tx, ask, state)
        latest = max(latest, at)
    return latest


async def rate_state(tx: Tx, key: str) -> rates.State:
    """The state of a rate."""
    found = await tx.one("rate", key)
    return rates.FRESH if found is None else decode_rate(found[0])


async def save_rate(tx: Tx, ask: Spend, state: rates.State) -> None:
    """Keep the state of a rate until it says nothing any more."""
    fades = rates.fades(state, ask)
    await tx.run("save_rate", ask.key, encode_rate(state), fades)


# ------------------------------------------------------------- parking and waking


async def free(tx: Tx, row: Row) -> list[str]:
    """Give up what a job holds; the lines that may be woken once the job is saved."""
    if not row.flags & Flag.HOLDS:
        return []
    row.flags &= ~Flag.HOLDS
    return await tx.limits.free(row.id)


async def leave(tx: Tx, row: Row, spec: NewJob, except_line: str | None = None) -> None:
    """Wake the lines of a job that no longer competes, lest those behind it sleep for ever."""
    if row.flags & Flag.ASKS and not spec.asks:
        # Damaged: nobody knows which limits it was woken for.
        await wake_everywhere(tx)
    elif row.flags & (Flag.KEYED | Flag.ASKS):
        await wake_all(tx, [line for line in lines_of(spec) if line != except_line])


async def wake_all(tx: Tx, lines: Iterable[str]) -> None:
    """Wake several lines, now or at the end of the batch."""
    lines = list(dict.fromkeys(lines))
    if tx.to_wake is not None:
        tx.to_wake.update(dict.fromkeys(lines))
        return
    if len(lines) < 2:
        busy = set(lines)
    else:
        await tx.limits.load(lines)
        await tx.parked.load(lines)
        busy = {line for line in lines if await tx.parked.busy(line)}
        await forget_all(tx, [line for line in lines if line not in busy])
    for line in lines:
        if line in busy:
            await wake(tx, line)


async def wake(tx: Tx, line: str) -> None:
    """Let as many jobs compete again as units are free, head first.

    What waits in a paused queue must not keep the units from those behind it.
    """
    limit = await tx.limits.get(line)
    if limit is None:
        return
    slots = limit.slots
    left = slots - limit.held
    if left <= 0 < limit.held:
        return
    if tx.parked.none(line):
        await forget_all(tx, [line])
        return
    rules = await tx.rules()
    for _ in range(_WAKE_MOST):
        row = await _head(tx, line)
        if row is None:
            await forget_all(tx, [line])
            return
        units = min(row.line_units or 1, slots)
        if units > left or row.line != line:
            return
        if rules.room(row.queue) != 0:
            left -= units
        unpark(row, tx.now)
        tx.save(row, Code.WAITING)


async def _head(tx: Tx, line: str) -> Row | None:
    """The job to be woken first."""
    found = await tx.look_one("line", line)
    if found is None:
        return None
    row = await tx.row_at(found[0])
    assert row is not None
    if row.flags & Flag.ORDERED and line == key_line(row.key or ""):
        # It has to wait for the earliest, which may stand behind it by its priority.
        row = await tx.row_at((await tx.look_one("key_first", row.key))[0])
        assert row is not None
    return row


async def wake_everywhere(tx: Tx) -> None:
    """Look at all lines again, because what was meant for jobs of a queue may be for others."""
    line = ""
    while (found := (await tx.look_one("next_line", line))[0]) is not None:
        line = found
        await wake(tx, line)


async def forget_all(tx: Tx, lines: list[str]) -> None:
    """Forget lines in which nobody waits, but for those of keys that jobs still have."""
    if tx.to_forget is not None:
        tx.to_forget.update(dict.fromkeys(lines))
        return
    keys = [line.partition(":")[2] for line in lines if line.startswith("key:")]
    used = {key_line(key) for (key,) in await tx.look("keys_used", keys)} if keys else set[str]()
    for line in lines:
        if line not in used:
            await tx.limits.drop(line)


@asynccontextmanager
async def forgetting_late(tx: Tx) -> AsyncIterator[None]:
    """A block in which no line is forgotten; those that nobody uses are at its end, together."""
    if tx.to_forget is not None:
        yield
        return
    tx.to_forget = {}
    yield
    lines, tx.to_forget = list(tx.to_forget), None
    # Some may have got a job since.
    if idle := [line for line in lines if tx.parked.none(line)]:
        await forget_all(tx, idle)
