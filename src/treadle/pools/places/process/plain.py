"""Values of Python's own types as bytes, without what it takes to pack any other.

Most calls have such arguments and give such results. Their bytes are those that
:mod:`treadle.pools.places.process.parcel` makes of them, in a fraction of the time.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    def list_registry_pickle_by_value() -> set[str]: ...
else:
    from cloudpickle.cloudpickle import list_registry_pickle_by_value

__all__ = ["are_atoms", "plain"]

_ATOMS = frozenset({int, float, complex, str, bytes, bool, type(None)})
_FUNCTIONS = frozenset({FunctionType, BuiltinFunctionType})
# What made more than this is let go of, with the memory that it took.
_KEPT = 1 << 16


class _ForeignError(Exception):
    """There is something that is not Python's own, or a buffer that may be large."""


class _Pickler(pickle.Pickler):
    """Gives up at the first object that is more than its value."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) in _FUNCTIONS and _has_name(obj):
            return NotImplemented
        raise _ForeignError


def _has_name(function: Any) -> bool:
    """Whether a function travels as its name: its module is one that others can import."""
    name = function.__module__
    module = sys.modules.get(name)
    return (
        getattr(module, "__spec__", None) is not None
        and name != "__main__"
        and getattr(module, function.__qualname__, None) is function
        and not list_registry_pickle_by_value()
    )


def _taken(buffer: pickle.PickleBuffer) -> None:
    raise _ForeignError


def _fresh() -> tuple[io.BytesIO, _Pickler]:
    sink = io.BytesIO()
    return sink, _Pickler(sink, 5, buffer_callback=_taken)


# Those that nobody uses just now. To take one and to put it back is one step each, so that
# threads need no lock, and neither does a finaliser that packs something amid all this.
_idle: list[tuple[io.BytesIO, _Pickler]] = []


def are_atoms(values: Iterable[Any]) -> bool:
    """Whether all are numbers, texts or the like, which hold nothing else."""
    return _ATOMS.issuperset(map(type, values))


def plain(value: Any) -> bytes | None:
    """A value as bytes, if there is nothing in it but what is Python's own; ``None`` otherwise."""
    if type(value) in _ATOMS:
        return pickle.dumps(value, 5)
    try:
        sink, pickler = _idle.pop()
    except IndexError:
        sink, pickler = _fresh()
    try:
        pickler.dump(value)
    # What is wrong with it is for somebody else to find out and to explain. This pickler, in
    # whatever state it is, is not used again.
    except (_ForeignError, pickle.PicklingError, ArithmeticError, MemoryError, RuntimeError):
        return None
    body = sink.getvalue()
    if len(body) < _KEPT:
        sink.seek(0)
        sink.truncate()
        pickler.clear_memo()
        _idle.append((sink, pickler))
    return body
