"""What crosses to another process and back of a call, in as few bytes as it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from treadle.faults import Fault
from treadle.pools.places.process.trouble import unpack_error
from treadle.pools.sites.site import Call, Ended
from treadle.records import NewJob

__all__ = ["Account", "compact", "ended", "expanded"]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call, as its process tells it: :class:`Ended` with the error as bytes."""

    result: bytes | None = None
    error: bytes | None = None
    fault: Fault | None = None
    undecodable: bool = False
    unsendable: bool = False
    follow_ups: tuple[NewJob, ...] = ()
    committed: bool = False
    # Seconds, as its process has measured them.
    took: float = 0.0


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE: dict[type[Any], Callable[[bytes], Any]] = {
    kind: msgspec.msgpack.Decoder(kind).decode for kind in (Call, Account)
}
T = TypeVar("T", Call, Account)


def compact(what: T) -> T | bytes:
    """A call or an account in a form that travels for less: as stores have what is in it."""
    try:
        return _ENCODE(what)
    # It came from a store that keeps everything, such as memory.
    except (TypeError, ValueError, OverflowError):
        return what


def expanded(kind: type[T], what: T | bytes) -> T:
    """What :func:`compact` was given."""
    if not isinstance(what, bytes):
        return what
    found: T = _DECODE[kind](what)
    return found


def ended(account: Account) -> Ended:
    """The account of a call on this side."""
    error = None if account.error is None else unpack_error(account.error, "its process")
    return Ended(
        result=account.result,
        error=error,
        fault=account.fault,
        undecodable=account.undecodable,
        unsendable=account.unsendable,
        follow_ups=account.follow_ups,
        committed=account.committed,
    )
