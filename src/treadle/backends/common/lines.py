"""Lines in front of keys and slots: their names, what stands in the way, a place in one."""

from __future__ import annotations

import msgspec

from treadle.backends.common.jobrow import Code, Flag, JobRow, make_ready
from treadle.policies import rates
from treadle.records import Hold, NewJob

__all__ = [
    "Full",
    "decode_rate",
    "encode_rate",
    "hold_back",
    "hold_line",
    "key_line",
    "line_rank",
    "lines_of",
    "park",
    "unpark",
]

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


# ------------------------------------------------------------- a job in a line


def park(row: JobRow, line: str, units: int = 1) -> None:
    """Put a job into a line; to be saved by the caller."""
    row.state = Code.WAITING
    row.line, row.line_units = line, units
    row.line_rank = line_rank(row.flags, row.rank)


def unpark(row: JobRow, now: float) -> None:
    """Put a parked job back into its place; to be saved by the caller."""
    row.line = row.line_rank = row.line_units = None
    if row.due is not None and row.due > now:
        row.state = Code.SCHEDULED
    else:
        make_ready(row)


def hold_back(row: JobRow, full: Full) -> None:
    """Let a job wait for what is in its way; to be saved by the caller."""
    if full.line is not None:
        park(row, full.line, full.units)
    else:
        row.state, row.due = Code.SCHEDULED, full.at
        row.flags |= Flag.PAID


def line_rank(flags: int, rank: int) -> int:
    """The rank of a job in a line: beside others an ordered one counts as of priority 0."""
    return 0 if flags & Flag.ORDERED else rank


# ------------------------------------------------------------- rates

encode_rate = msgspec.msgpack.encode


def decode_rate(found: bytes) -> rates.State:
    """The state of a rate; one that is damaged counts anew."""
    try:
        return _State.decode(found)
    except Exception:  # noqa: BLE001  damaged bytes find every way to fail
        return rates.FRESH
