"""Requests as the arguments of scripts."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

import msgspec

from treadle.backends.redis.layout import (
    APART,
    ASKS,
    BODY,
    EXTRA,
    GROWN,
    INLINE,
    KEYED,
    ONCE,
    ORDERED,
    TOKEN,
    UNIQUE,
)
from treadle.backends.redis.names import short
from treadle.ports import QueueRule, Settlement
from treadle.records import (
    Algorithm,
    Ask,
    At,
    In,
    Keep,
    NewJob,
    OnConflict,
    OnFailure,
    Scope,
    Spend,
    Token,
)
from treadle.verdicts import Again, Cancelled, Done, Failed, Released

__all__ = ["asks", "jobs", "nonce", "packed", "rule", "settlements", "token", "when"]

Arg = str | bytes | int | float

packed = msgspec.msgpack.Encoder().encode
_astuple = msgspec.structs.astuple

_SCOPES = {Scope.UNTIL_STARTED: 0, Scope.UNTIL_DONE: 1, Scope.FOR: 2}
_CONFLICTS = {
    OnConflict.SKIP: 0,
    OnConflict.REPLACE: 1,
    OnConflict.RESCHEDULE: 2,
    OnConflict.ERROR: 0,
}
_FAILURES = {OnFailure.FAIL: 0, OnFailure.CANCEL: 1, OnFailure.RUN: 2}
_ALGORITHMS = {Algorithm.GCRA: 0, Algorithm.FIXED: 1, Algorithm.SLIDING: 2}

_SPECIAL = b"\x80"
_FAR = 0x8000
_KEEP = Keep()
_FIELDS = NewJob.__struct_fields__
_FIRST = _FIELDS.index("queue") + 1
# What follows the queue in a job that asks for nothing.
_USUAL = _astuple(NewJob(id="", task="", payload=b""))[_FIRST:]
# What a plain job may say: the store has its priority, the rest is for people and foremen.
_FREE = frozenset({"priority", "timeout", "retries", "tags", "meta", "retry", "parent", "depth"})
_ASKING = tuple((at, usual) for at, usual in enumerate(_USUAL, _FIRST) if _FIELDS[at] not in _FREE)


def nonce(number: int) -> bytes:
    """The nonce of a session as records have it."""
    return number.to_bytes(8, "little")


def token(one: Token) -> bytes:
    """A token as records have it."""
    return TOKEN.pack(one.fence & 0xFFFFFFFF, one.nonce)


def when(instant: In | At | None) -> str:
    """A time that is asked for."""
    if instant is None:
        return ""
    if isinstance(instant, In):
        return f"+{instant.seconds!r}"
    return f"@{instant.timestamp!r}"


# ------------------------------------------------------------ new jobs


def jobs(specs: Iterable[NewJob], away: Container[str] = ()) -> list[Arg]:
    """New jobs, as ``lua/arrivals.lua`` wants them.

    Args:
        away: ids of those jobs of other shards that they wait for.
    """
    args: list[Arg] = []
    for spec in specs:
        values = _astuple(spec)
        usual = values[_FIRST:] == _USUAL
        last = _FIRST if usual else _last(values)
        if len(spec.payload) <= INLINE and (
            usual or all(values[at] == value for at, value in _ASKING)
        ):
            body = _body(values, packed(spec.task) + packed(spec.payload), last)
            args += (short(spec.id), _head(spec), body)
        else:
            args += _special(spec, values, last, away)
    return args


def _last(values: tuple[Any, ...]) -> int:
    """Number of fields up to the last that says something."""
    last = len(values)
    while last > _FIRST and values[last - 1] == _USUAL[last - 1 - _FIRST]:
        last -= 1
    return last


def _body(values: tuple[Any, ...], first: bytes, last: int) -> bytes:
    """Number of fields, length of the first, these, and the fields behind the queue."""
    rest = b"".join([packed(value) for value in values[_FIRST:last]]) if last > _FIRST else b""
    return BODY.pack(last, len(first)) + first + rest


def _head(spec: NewJob) -> bytes:
    queue = spec.queue.encode()
    return b"%c%c%b" % (spec.priority & 0xFF, len(queue), queue)


def _special(
    spec: NewJob, values: tuple[Any, ...], last: int, away: Container[str]
) -> tuple[Arg, ...]:
    payload = packed(spec.payload)
    apart = len(spec.payload) > INLINE
    extra = _extra(spec)
    return (
        short(spec.id),
        _SPECIAL,
        _body(values, packed(spec.task) + (b"" if apart else payload), last),
        spec.queue,
        spec.priority,
        _flags(spec) | (APART if apart else 0) | (EXTRA if extra else 0),
        when(spec.due),
        when(spec.expires),
        "" if spec.bound is None else spec.bound,
        packed(extra) if extra else b"",
        payload if apart else b"",
        b"" if spec.after is None else _ids(spec.after.ids, away),
    )


def _ids(many: Iterable[str], away: Container[str]) -> bytes:
    """Ids in one argument, each behind its length in two bytes."""
    parts: list[bytes] = []
    for one in many:
        stored = short(one)
        length = len(stored) | (_FAR if one in away else 0)
        parts += (length.to_bytes(2, "little"), stored)
    return b"".join(parts)


def _flags(spec: NewJob) -> int:
    flags = GROWN
    if spec.key is not None:
        flags |= KEYED | (ORDERED if spec.ordered else 0)
    if spec.asks:
        flags |= ASKS
    if spec.unique is not None:
        flags |= UNIQUE
    return flags | (ONCE if spec.at_most_once else 0)


def _extra(spec: NewJob) -> dict[str, Any]:
    """What the store has to know of a special job; the keys are those of ``lua/record.lua``."""
    extra: dict[str, Any] = {}
    if spec.key is not None:
        extra["k"] = spec.key
        extra["s"] = spec.key_slots
    if spec.asks:
        extra["a"] = asks(spec.asks)
    if spec.unique is not None:
        unique = spec.unique
        extra["u"] = [
            unique.key,
            _SCOPES[unique.scope],
            unique.ttl or 0.0,
            _CONFLICTS[unique.on_conflict],
        ]
    if spec.after is not None:
        extra["N"] = _FAILURES[spec.after.on_failure]
    if spec.keep != _KEEP:
        extra["K"] = [_kept(one) for one in _astuple(spec.keep)]
    if spec.max_crashes != 3:
        extra["m"] = spec.max_crashes
    if spec.flow is not None:
        extra["o"] = spec.flow
    return extra


def _kept(seconds: float | None) -> float:
    return -1.0 if seconds is None else max(0.0, seconds)


def asks(many: Iterable[Ask]) -> list[list[Any]]:
    """Asks, as ``lua/rates.lua`` and ``lua/gate.lua`` want them."""
    return [
        [
            0,
            ask.key,
            ask.count,
            ask.per,
            ask.cost,
            -1.0 if ask.burst is None else ask.burst,
            _ALGORITHMS[ask.algorithm],
        ]
        if isinstance(ask, Spend)
        else [1, ask.key, ask.slots, ask.units]
        for ask in many
    ]


# ------------------------------------------------------------ ends of attempts


def settlements(ends: Sequence[Settlement], away: Container[str] = ()) -> list[Arg]:
    """Ends of attempts, as ``lua/settle.lua`` wants them; ``away`` as above."""
    args: list[Arg] = [len(ends)]
    for end in ends:
        args += (short(end.token.job_id), token(end.token))
        verdict = end.verdict
        plain = end.note is None and not end.follow_ups
        if plain and type(verdict) is Done and verdict.skipped is None:
            args += ("d", _result(verdict.result))
        else:
            args += _verdict(end, away)
    return args


def _verdict(end: Settlement, away: Container[str]) -> list[Arg]:
    note = b"" if end.note is None else packed(end.note)
    match end.verdict:
        case Done() as done:
            skipped = "" if done.skipped is None else f"={done.skipped}"
            follow_ups = jobs(end.follow_ups, away)
            return ["D", _result(done.result), skipped, note, len(end.follow_ups), *follow_ups]
        case Again() as again:
            counts = "1" if again.counts else ""
            fault = _optional(again.fault)
            return ["A", repr(again.delay), counts, again.cause.value, fault, note]
        case Failed() as failed:
            return ["F", failed.cause.value, _optional(failed.fault), note]
        case Released() as released:
            return ["R", repr(released.delay), released.reason, note]
        case Cancelled() as cancelled:
            return ["C", _optional(cancelled.fault), note]


def _result(result: bytes | None) -> bytes:
    return b"" if result is None else b"=" + result


def _optional(value: object | None) -> bytes:
    return b"" if value is None else packed(value)


def rule(value: QueueRule | None) -> bytes:
    """The rule of a queue, as ``lua/queues.lua`` wants it; for none it is taken away."""
    if value is None:
        return b"-"
    until = float("-inf") if value.until is None else value.until
    most = -1 if value.max_running is None else max(0, value.max_running)
    return packed([value.paused, until, most])
