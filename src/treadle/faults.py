"""Errors as data: what is known of an exception, without its class."""

from __future__ import annotations

import msgspec

__all__ = ["Fault"]


class Fault(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An error as it is stored and shown."""

    # Qualified name of the class, "package.module.Name".
    type: str
    # What str() of the error gave.
    message: str = ""
    # The formatted traceback, bounded.
    traceback: str = ""
    # The chain of __cause__ and __context__ and the members of a group, nearest first.
    causes: tuple[Fault, ...] = ()
    # __notes__ of the error (PEP 678).
    notes: tuple[str, ...] = ()
