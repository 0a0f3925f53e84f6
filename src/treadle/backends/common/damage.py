"""What takes the place of records that cannot be read.

The bytes of a disk, or of a program that does not know Treadle, may be anything. One such
record must not keep the store from serving the others, so nothing here raises: a job that cannot
be read is shown with the bytes that were found, and the claim that meets it sets it aside.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from treadle.backends.common.jobrow import (
    Code,
    Facts,
    Flag,
    JobRow,
    decode_facts,
    decode_spec,
    flags_of,
)
from treadle.errors import NotDecodable
from treadle.faults import Fault, capture
from treadle.ports import QueueRule
from treadle.records import Ask, Cause, Hold, NewJob, SessionInfo

__all__ = [
    "LOCKED",
    "SHOWN",
    "UNREADABLE",
    "agree",
    "agrees",
    "facts_of",
    "info_of",
    "raw",
    "readable",
    "rule_of",
    "set_aside",
    "spec_of",
]

SHOWN = 64 << 10
"""Bytes of an unreadable record that are shown to people."""
UNREADABLE = "<unreadable>"
"""The name of the task of a job that cannot be read."""

_SAME = Flag.KEYED | Flag.ASKS | Flag.ORDERED | Flag.ONCE
_decode_rule = msgspec.msgpack.Decoder(QueueRule).decode
_decode_info = msgspec.msgpack.Decoder(SessionInfo).decode
LOCKED = QueueRule(paused=True, reason="its rule is damaged: pause or resume it to write another")
"""The rule that is obeyed in place of one that cannot be read: it may have been a pause."""


def readable(body: Any, job_id: str, queue: str) -> NewJob | None:
    """What was pushed, or ``None`` when the bytes do not say it."""
    try:
        spec = decode_spec(body)
    except Exception:  # noqa: BLE001  damaged bytes find every way to fail
        return None
    if spec.id != job_id or spec.queue != queue or spec.key_slots < 1:
        return None
    return spec if all(map(_possible, spec.asks)) else None


def _possible(ask: Ask) -> bool:
    if isinstance(ask, Hold):
        return ask.slots >= 1 and ask.units >= 0
    numbers = (ask.count, ask.per, ask.cost, 1.0 if ask.burst is None else ask.burst)
    return all(map(math.isfinite, numbers)) and min(ask.count, ask.per) > 0 and ask.cost >= 0


def spec_of(row: JobRow, body: Any) -> NewJob:
    """What was pushed; from the row alone when the bytes do not say it, or something else."""
    spec = readable(body, row.id, row.queue)
    return _from(row, body) if spec is None or not agrees(row, spec) else spec


def agree(flags: int, spec: NewJob) -> bool:
    """Whether what was pushed asks for what the flags of a row say."""
    return not (flags_of(spec) ^ flags) & _SAME


def agrees(row: JobRow, spec: NewJob) -> bool:
    """Whether what was pushed asks for what the row has."""
    return agree(row.flags, spec) and row.key in (None, spec.key)


def _from(row: JobRow, body: Any) -> NewJob:
    return NewJob(
        id=row.id,
        task=row.failed_task or UNREADABLE,
        payload=raw(body),
        queue=row.queue,
        priority=-row.rank,
        key=row.key,
        ordered=bool(row.flags & Flag.ORDERED),
        at_most_once=bool(row.flags & Flag.ONCE),
        flow=row.flow,
    )


def raw(value: Any) -> bytes:
    """The bytes of a value of whatever type, as many as are shown."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    elif not isinstance(value, bytes):
        value = b"" if value is None else repr(value).encode()
    return bytes(value[:SHOWN])


def facts_of(state: int, data: Any) -> Facts:
    """What is true of few jobs; without it the job goes on, its history is lost."""
    try:
        return decode_facts(data)
    except Exception as error:  # noqa: BLE001  as above
        if state == Code.FAILED:
            return Facts(cause=Cause.UNDECODABLE, fault=_fault("history", error))
        return Facts()


def set_aside(facts: Facts, body: Any) -> None:
    """Write down why a job is not run."""
    try:
        decode_spec(body)
    except Exception as error:  # noqa: BLE001  as above
        facts.fault = _fault("job", error)
    else:
        facts.fault = _fault("job", "it is not what its place in the store says")
    facts.cause = Cause.UNDECODABLE


def _fault(what: str, why: object) -> Fault:
    said = f"{type(why).__name__}: {why}" if isinstance(why, Exception) else why
    return capture(NotDecodable(f"the stored {what} is damaged: {said:.200}"))


def rule_of(value: Any) -> QueueRule:
    """The rule of a queue."""
    try:
        return _decode_rule(value)
    except Exception:  # noqa: BLE001  as above
        return LOCKED


def info_of(value: Any) -> SessionInfo:
    """What a foreman says of itself."""
    try:
        return _decode_info(value)
    except Exception:  # noqa: BLE001  as above
        return SessionInfo(name=UNREADABLE)
