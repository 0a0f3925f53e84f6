"""A job as a message, and a dead letter."""

from __future__ import annotations

from typing import Any

import msgspec

from treadle.errors import NewerFormat, NotDecodable
from treadle.faults import Fault
from treadle.records import At, Attempt, Cause, In, NewJob, Note

__all__ = ["FORMAT", "DeadLetter", "Envelope", "decode", "encode", "sealed"]

FORMAT = 1
"""Of the message; one with a larger number was written by a newer version."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A job and what is known of its attempts. Each attempt's end writes a new one."""

    format: int = FORMAT
    spec: NewJob
    created: float
    # Seconds since the epoch; ``None`` when it holds no more.
    expires: float | None = None
    tries: int = 0
    crashes: int = 0
    # Of the last lease; the next has this and one, and one for each delivery that was lost.
    fence: int = 0
    suspect: bool = False
    releases: int = 0
    aside_since: float | None = None
    note: Note | None = None
    attempts: tuple[Attempt, ...] = ()


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A job that failed for good."""

    envelope: Envelope
    cause: Cause
    fault: Fault | None
    at: float


_encode = msgspec.msgpack.Encoder().encode
_DECODER = msgspec.msgpack.Decoder(Envelope)


def sealed(spec: NewJob, now: float) -> Envelope:
    """A job that was pushed now."""
    return Envelope(spec=spec, created=now, expires=_instant(spec.expires, now))


def delay_of(spec: NewJob, now: float) -> float:
    """Seconds until a job is due, from its push."""
    due = _instant(spec.due, now)
    return 0.0 if due is None else due - now


def _instant(when: In | At | None, now: float) -> float | None:
    if isinstance(when, In):
        return now + when.seconds
    return None if when is None else when.timestamp


def encode(message: Envelope | DeadLetter) -> bytes:
    """The body of a message."""
    return _encode(message)


def decode(body: bytes) -> Envelope:
    """The job in a message.

    Raises:
        NewerFormat: a newer version wrote it.
        NotDecodable: it cannot be read.
    """
    try:
        version = _version(body)
        if version <= FORMAT:
            return _DECODER.decode(body)
    except (msgspec.MsgspecError, TypeError) as error:
        raise NotDecodable(f"the message cannot be read: {error}") from error
    raise NewerFormat(
        f"the message has format {version}, and this version reads up to {FORMAT}",
        version=version,
        known=FORMAT,
    )


def _version(body: bytes) -> int:
    first: list[Any] = msgspec.msgpack.decode(body, type=list[msgspec.Raw])[:1]
    return msgspec.msgpack.decode(first[0], type=int) if first else 0
