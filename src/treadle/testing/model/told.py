"""Answers without what every store makes up for itself, so that two stores can be compared."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, cast

import msgspec

from treadle.ports import Altered, Claimed, Page
from treadle.records import FINAL, JobRecord, Lease, Token

__all__ = [
    "Handle",
    "altered",
    "claimed",
    "differences",
    "handle",
    "numbers",
    "page",
    "record",
    "text",
]

Handle = tuple[str, int]
"""A lease by its job and fence: what is left of a token without the nonce of its session."""


def handle(lease: Lease) -> Handle:
    """The handle of a lease."""
    return lease.token.job_id, lease.token.fence


def claimed(answer: Claimed) -> Any:
    """An answer to a claim; ``more`` and ``next_due`` are hints, see :mod:`..model.machine`."""
    leases = [_bare(lease) for lease in answer.leases]
    return leases, answer.suspects_wait


def _bare(lease: Lease) -> Lease:
    return msgspec.structs.replace(lease, token=_anonymous(lease.token))


def _anonymous(token: Token) -> Token:
    return Token(token.job_id, token.fence, 0)


def altered(answer: Altered) -> Any:
    """An answer to an alter; a cursor is the store's own, and may lead to nothing."""
    return msgspec.structs.replace(answer, cursor=None, fates=())


def page(answer: Page) -> Any:
    """A page; its cursor and the number of records looked at are the store's own."""
    gone = {
        job_id: msgspec.structs.replace(
            tomb, token=None if tomb.token is None else _anonymous(tomb.token)
        )
        for job_id, tomb in answer.gone.items()
    }
    return (
        [record(one) for one in answer.records],
        gone,
        *numbers(answer),
    )


def numbers(answer: Page) -> tuple[Any, Any]:
    """The numbers of jobs by queue and state, and those of failures by task."""
    counts = {queue: _counted(states) for queue, states in answer.counts.items()}
    return _counted(counts), _counted(answer.failures)


def _counted(counts: Mapping[Any, Any]) -> dict[Any, Any]:
    return {name: number for name, number in counts.items() if number}


def record(one: JobRecord) -> JobRecord:
    """A record without its numbers, of which only the order counts, and what no longer counts."""
    expires = None if one.state in FINAL else one.expires
    return msgspec.structs.replace(one, version=0, seq=0, expires=expires)


def differences(one: Any, other: Any) -> Any:
    """Where two answers differ; for people to read."""
    if isinstance(one, msgspec.Struct) and type(one) is type(other):
        names = one.__struct_fields__
        pairs = {name: (getattr(one, name), getattr(other, name)) for name in names}
        return {name: differences(*pair) for name, pair in pairs.items() if pair[0] != pair[1]}
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        many, others = cast("Sequence[Any]", one), cast("Sequence[Any]", other)
        if len(many) == len(others):
            pairs_at = enumerate(zip(many, others, strict=True))
            return {at: differences(*pair) for at, pair in pairs_at if pair[0] != pair[1]}
    return one, other


def text(value: Any) -> str:
    """An answer or a request for people to read: structs without what is as usual."""
    match value:
        case msgspec.Struct():
            pairs = ((name, getattr(value, name), usual) for name, usual in _usual(type(value)))
            said = (f"{name}={text(own)}" for name, own, usual in pairs if own != usual)
            return f"{type(value).__name__}({', '.join(said)})"
        case Enum():
            return str(value)
        case list() | tuple():
            return f"[{', '.join(map(text, cast('Sequence[Any]', value)))}]"
        case dict():
            pairs_of = cast("Mapping[Any, Any]", value).items()
            return f"{{{', '.join(f'{text(name)}: {text(own)}' for name, own in pairs_of)}}}"
        case _:
            return repr(value)


@functools.cache
def _usual(kind: type[msgspec.Struct]) -> tuple[tuple[str, Any], ...]:
    """The fields of a struct with their defaults; to ask for them takes long."""
    return tuple((one.name, one.default) for one in msgspec.structs.fields(kind))
