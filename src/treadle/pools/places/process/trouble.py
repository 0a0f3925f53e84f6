"""Errors as bytes: as themselves where they can travel, else what is known of them."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import msgspec

from treadle.errors import NotEncodable, TreadleError
from treadle.faults import Fault, capture
from treadle.pools.places.process.parcel import TROUBLE, pack

__all__ = ["pack_error", "unpack_error"]

_DEEPEST = 8


class _Trouble(msgspec.Struct, array_like=True):
    # The error, pickled whole; or its class, arguments and attributes, for a class that cannot be
    # called with its own arguments; or neither.
    whole: bytes | None
    parts: bytes | None
    fault: Fault
    cause: _Trouble | None
    # Of a group, each for itself: one that cannot travel keeps no other one back.
    members: tuple[_Trouble, ...] = ()


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Trouble)


def pack_error(error: BaseException) -> bytes:
    """An error as bytes, in whatever state it is. Never raises."""
    return _ENCODER.encode(_trouble(error, 0))


def _trouble(error: BaseException, depth: int) -> _Trouble:
    behind = error.__cause__ if depth < _DEEPEST else None
    members = _members(error) if depth < _DEEPEST else ()
    # The members are the last of the arguments of a group.
    args = error.args[:1] if members else error.args
    return _Trouble(
        whole=(whole := None if members else _whole(error)),
        parts=None if whole is not None else _parts(error, args),
        fault=capture(error),
        cause=None if behind is None else _trouble(behind, depth + 1),
        members=tuple(_trouble(one, depth + 1) for one in members),
    )


def _members(error: Any) -> tuple[BaseException, ...]:
    group: type[Any] = BaseExceptionGroup
    return error.exceptions if isinstance(error, group) else ()


def _whole(error: BaseException) -> bytes | None:
    """The error pickled, when it comes back as what it was."""
    try:
        body = pack(error, "the error").body
        same = type(pickle.loads(body)) is type(error)
    except TROUBLE:  # its class may do anything
        return None
    return body if same else None


def _parts(error: BaseException, args: tuple[Any, ...]) -> bytes | None:
    """What the error is made of, when it can be made of that without its constructor."""
    attributes = {name: value for name, value in error.__dict__.items() if _travels(value)}
    try:
        body = pack((type(error), args, attributes), "the error").body
        _made(body, _members(error))
    except TROUBLE:  # its class may do anything
        return None
    return body


def _travels(value: Any) -> bool:
    try:
        pickle.loads(pack(value, "an attribute").body)
    except TROUBLE:  # its class may do anything
        return False
    return True


def _made(body: bytes, members: Sequence[BaseException] = ()) -> BaseException:
    kind, args, attributes = pickle.loads(body)
    if members:
        args = (*args, list(members))
    error: BaseException = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    str(error)  # it may need what only its constructor sets
    return error


def unpack_error(body: bytes, where: str) -> BaseException:
    """The error again; its notes tell where it was raised. Never raises.

    Args:
        body: what :func:`pack_error` gave.
        where: the name of its place, for the note.
    """
    try:
        return _error(_DECODER.decode(body), where)
    except msgspec.DecodeError as broken:
        return TreadleError(f"an error from {where} cannot be read: {broken}")


def _error(trouble: _Trouble, where: str) -> BaseException:
    members = [_error(one, where) for one in trouble.members]
    error = _rebuilt(trouble, members)
    # Of errors that cannot be changed nothing is told but themselves.
    if trouble.fault.traceback and hasattr(error, "__dict__"):
        BaseException.add_note(error, f"raised in {where}:\n{trouble.fault.traceback.rstrip()}")
    if trouble.cause is not None:
        error.__cause__ = _error(trouble.cause, where)
    return error


def _rebuilt(trouble: _Trouble, members: Sequence[BaseException]) -> BaseException:
    try:
        if trouble.whole is not None:
            loaded: Any = pickle.loads(trouble.whole)
            if isinstance(loaded, BaseException):
                return loaded
        if trouble.parts is not None:
            return _made(trouble.parts, members)
    # Its class does not load here. No signal comes to the thread that hears of children.
    except BaseException as broken:  # noqa: BLE001
        return _known(trouble.fault, f"{type(broken).__name__}: {broken}")
    if members:
        return BaseExceptionGroup(trouble.fault.message, members)
    return _known(trouble.fault, "its class does not pickle")


def _known(fault: Fault, why: str) -> BaseException:
    return NotEncodable(
        f"{fault.type} was raised, which cannot travel from its process ({why}): {fault.message}",
        path=fault.type,
        fault=fault,
    )
