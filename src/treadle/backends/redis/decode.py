"""What scripts answer, as records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from treadle.backends.common.damage import UNREADABLE, raw
from treadle.backends.redis.layout import (
    BODY,
    CANCEL,
    COMMON,
    GROWN,
    NONE,
    OWN,
    PUSHES,
    STATES,
    SUSPECT,
    TOMB,
)
from treadle.backends.redis.names import long, short
from treadle.errors import NotDecodable
from treadle.fates import Fate
from treadle.faults import Fault, capture
from treadle.ports import Claimed, Gone, Settlement
from treadle.records import (
    Attempt,
    Cause,
    JobRecord,
    JobState,
    Lease,
    NewJob,
    Note,
    Pushed,
    PushStatus,
    Token,
)
from treadle.verdicts import Failed

__all__ = ["bare", "claimed", "fate", "gone", "pushed", "record"]

_decode_spec = msgspec.msgpack.Decoder(NewJob).decode
_decode_note = msgspec.msgpack.Decoder(Note).decode
_decode_fault = msgspec.msgpack.Decoder(Fault).decode
_decode_attempt = msgspec.msgpack.Decoder(Attempt).decode
_encode = msgspec.msgpack.Encoder().encode
_CREATED = Pushed(PushStatus.CREATED)
_OWN_AT = COMMON.size
_HOLDER_AT = COMMON.size + OWN.size
_YOUNG: tuple[Any, ...] = (
    0,
    0,
    bytes(8),
    0,
    0,
    0,
    NONE,
    NONE,
    NONE,
    NONE,
    NONE,
    NONE,
    0,
    bytes(8),
    0,
    0,
    0,
)
_LIST = 0xDC
_UNDECODABLE = Failed(
    cause=Cause.UNDECODABLE, fault=capture(NotDecodable("the stored job is damaged"))
)
T = TypeVar("T")
_NOTHING = (b"", b"")


def pushed(answer: bytes) -> Pushed:
    """The answer to one push."""
    if answer == b"0":
        return _CREATED
    return Pushed(PUSHES[answer[0] - 48], long(answer[1:]) if answer[1:] else None)


def gone(job_id: str, tomb: bytes) -> Gone:
    """A tombstone."""
    status: int
    state: int
    status, state, fence, nonce, at = TOMB.unpack_from(tomb)
    of = tomb[TOMB.size :]
    return Gone(
        pushed=Pushed(PUSHES[status], long(of) if of else None),
        state=STATES[state] if state < len(STATES) else None,
        token=Token(job_id, fence, int.from_bytes(nonce, "little")) if fence else None,
        at=at,
    )


class _Own(NamedTuple):
    """The part of a record that only some jobs have."""

    version: int
    fence: int
    nonce: bytes
    tries: int
    crashes: int
    releases: int
    due: float
    expires: float
    started: float
    finished: float
    until: float
    aside: float
    settled_fence: int
    settled_nonce: bytes
    extra: int
    result: int
    holder: int


def _spec(job_id: str, stored: bytes, at: int, payload: bytes) -> NewJob | None:
    """The job as it was pushed; its queue begins at a place of the record.

    ``None`` when the bytes do not say it: something else than this library may have written them.
    """
    try:
        return _read(job_id, stored, at, payload)
    except Exception:  # noqa: BLE001  damaged bytes find every way to fail
        return None


def _read(job_id: str, stored: bytes, at: int, payload: bytes) -> NewJob:
    body = at + 1 + stored[at]
    fields, length = BODY.unpack_from(stored, body)
    first = body + BODY.size
    rest = first + length
    return _decode_spec(
        b"%c%c%c%b%b%b%b%b"
        % (
            _LIST,
            0,
            fields,
            _encode(job_id),
            stored[first:rest],
            payload,
            _encode(stored[at + 1 : body].decode()),
            stored[rest:],
        )
    )


def claimed(
    answer: Sequence[Any], nonce: int
) -> tuple[Claimed, list[tuple[Settlement, Fate]], bytes | None]:
    """The answer to a claim, the ends of those of its jobs that cannot be read, and what is coming.

    The last is how long nothing happens by itself, when nothing is left to claim.
    """
    more, suspects_wait, next_due, ids, records, said, *emptied = answer
    # Payloads that are kept apart, and notes, by the number of the lease, from 1.
    beside = {said[i]: (said[i + 1], said[i + 2]) for i in range(0, len(said), 3)}
    leases: list[Lease] = []
    damaged: list[tuple[Settlement, Fate]] = []
    for number, (job_id, stored) in enumerate(zip(ids, records, strict=True), 1):
        own = OWN.unpack_from(stored, _OWN_AT)
        token = Token(long(job_id), own[1], nonce)
        lease = _lease(token, stored, own, beside.get(number, _NOTHING))
        if lease is None:
            damaged.append(_damaged(token, stored, own))
        else:
            leases.append(lease)
    answer_ = Claimed(
        leases=tuple(leases),
        more=bool(more),
        suspects_wait=bool(suspects_wait),
        next_due=float(next_due) if next_due else None,
    )
    return answer_, damaged, emptied[0] if emptied else None


def fate(said: Sequence[Any]) -> Fate:
    """What became of a job by itself, as ``lua/endings.lua`` says it."""
    state: int
    job_id, task, queue, state, cause, attempt, crashes, waited = said
    return Fate(
        id=long(job_id),
        task=task.decode(errors="replace"),
        queue=queue.decode(errors="replace"),
        state=STATES[state],
        cause=Cause(cause.decode()) if cause else None,
        attempt=attempt or None,
        crashes=crashes,
        reason=f"after:{long(waited)}" if waited else "",
    )


def _damaged(token: Token, stored: bytes, own: tuple[Any, ...]) -> tuple[Settlement, Fate]:
    spec = _unreadable(token.job_id, stored, _HOLDER_AT + own[14] + own[15] + own[16], 0)
    fate = Fate(
        id=token.job_id,
        task=spec.task,
        queue=spec.queue,
        state=JobState.FAILED,
        cause=Cause.UNDECODABLE,
        crashes=own[4],
    )
    return Settlement(token=token, verdict=_UNDECODABLE), fate


def _lease(
    token: Token, stored: bytes, own: tuple[Any, ...], beside: tuple[bytes, bytes]
) -> Lease | None:
    payload, note = beside
    _, flags, _, _, _, created = COMMON.unpack_from(stored)
    started, aside = own[8], own[11]
    spec = _spec(token.job_id, stored, _HOLDER_AT + own[14] + own[15] + own[16], payload)
    if spec is None:
        return None
    if token.fence == 1:
        return Lease(token=token, spec=spec, created=created, started=started)
    return Lease(
        token=token,
        spec=spec,
        tries=own[3],
        crashes=own[4],
        releases=own[5],
        aside_since=None if aside == NONE else aside,
        suspect=bool(flags & SUSPECT),
        created=created,
        started=started,
        note=_optional(_decode_note, note),
    )


def bare(job_id: str, stored: bytes) -> JobRecord:
    """A job of which its record says all."""
    return record((short(job_id), stored, b"", b"", (), (), ()))


def record(parts: Sequence[Any]) -> JobRecord:
    """A job as ``lua/shown.lua`` gives it."""
    job_id, stored, payload, large, facts, attempts, waits = parts
    state: int
    state, flags, priority, low, high, created = COMMON.unpack_from(stored)
    grown = bool(flags & GROWN)
    own = _Own(*(OWN.unpack_from(stored, _OWN_AT) if grown else _YOUNG))
    holder = _HOLDER_AT if grown else _OWN_AT
    result_at = holder + own.holder + own.extra
    result = stored[result_at : result_at + own.result]
    at = result_at + own.result
    return _with_facts(
        JobRecord(
            spec=_spec(long(job_id), stored, at, payload)
            or _unreadable(long(job_id), stored, at, priority),
            seq=low + (high << 32),
            state=STATES[state],
            version=own.version,
            priority=priority,
            due=_instant(own.due),
            expires=_instant(own.expires),
            fence=own.fence,
            tries=own.tries,
            crashes=own.crashes,
            suspect=bool(flags & SUSPECT),
            cancel_asked=bool(flags & CANCEL),
            created=created,
            started=_instant(own.started),
            finished=_instant(own.finished),
            lease_until=own.until if STATES[state] is JobState.RUNNING else None,
            holder=stored[holder : holder + own.holder].decode(errors="replace"),
            result=_result(result, large),
        ),
        dict(zip(facts[::2], facts[1::2], strict=True)),
        attempts,
        {long(one) for one in waits},
    )


def _with_facts(
    one: JobRecord, facts: dict[bytes, bytes], attempts: Sequence[bytes], waits: set[str]
) -> JobRecord:
    if not facts and not waits:
        return one
    after = one.spec.after.ids if one.spec.after is not None and waits else ()
    waits_for = tuple(other for other in after if other in waits)
    failed = facts.get(b"failed")
    reason = (facts.get(b"parked") or facts.get(b"reason") or b"").decode(errors="replace")
    if waits_for or failed:
        reason = f"after:{waits_for[0] if waits_for else long(failed or b'')}"
    note, fault = facts.get(b"note"), facts.get(b"fault")
    cause, skipped = facts.get(b"cause"), facts.get(b"skipped")
    return msgspec.structs.replace(
        one,
        reason=reason,
        waits_for=waits_for,
        note=_optional(_decode_note, note),
        cause=Cause(cause.decode()) if cause else None,
        fault=_optional(_decode_fault, fault),
        skipped=skipped.decode() if skipped is not None else None,
        attempts=tuple(
            found
            for attempt in attempts
            if (found := _optional(_decode_attempt, attempt)) is not None
        ),
    )


def _unreadable(job_id: str, stored: bytes, at: int, priority: int) -> NewJob:
    """What is shown in place of a job that cannot be read."""
    queue = stored[at + 1 : at + 1 + stored[at]].decode(errors="replace")
    return NewJob(
        id=job_id, task=UNREADABLE, payload=raw(stored[at:]), queue=queue, priority=priority
    )


def _optional(decode: Callable[[bytes], T], stored: bytes | None) -> T | None:
    """What there is and can be read; without it the job goes on."""
    try:
        return decode(stored) if stored else None
    except Exception:  # noqa: BLE001  as above
        return None


def _instant(at: float) -> float | None:
    return None if at == NONE else at


def _result(stored: bytes, large: bytes) -> bytes | None:
    if not stored:
        return None
    return large if stored == b">" else stored[1:]
