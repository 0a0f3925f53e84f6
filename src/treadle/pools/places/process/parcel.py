"""Values as bytes, and large ones in memory of their own.

What is large does not go through a socket: it is written into a file that has no name, whose
descriptor is sent. Such memory is given back by the system when both sides have let go of it, in
whatever way they end.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from treadle.errors import NotDecodable, NotEncodable
from treadle.pools.places.process.blame import culprit
from treadle.pools.places.process.plain import plain
from treadle.pools.places.process.scripts import remade, slotted
from treadle.pools.places.process.structs import is_struct, made

if TYPE_CHECKING:
    # What it is a subclass of, with the types that it has not.
    from pickle import Pickler

    def register_pickle_by_value(module: ModuleType) -> None: ...
else:
    from cloudpickle import Pickler, register_pickle_by_value

__all__ = ["LARGE", "TROUBLE", "Parcel", "open_parcel", "pack", "proved", "undecodable", "unpack"]

LARGE = 256 << 10
"""Bytes from which a value gets memory of its own."""

TROUBLE: Final = (Exception, SystemExit)
"""What the code of a value may raise while it is packed or made again.

The rest is raised by others: an interrupt, or the end of the call.
"""

_SIZES = struct.Struct("<Q")


class Parcel:
    """A value on its way to another process.

    Args:
        body: the value as bytes.
        buffers: large parts of it, which still belong to the value.
        foreign: there are objects in it that are not Python's own.
    """

    __slots__ = ("body", "buffers", "foreign", "size")

    def __init__(self, body: bytes, buffers: Sequence[Any] = (), *, foreign: bool = False) -> None:
        self.body = body
        self.buffers = buffers
        self.foreign = foreign
        self.size = len(body)
        if buffers:
            self.size += sum(map(len, buffers))

    def keep(self) -> None:
        """Copy what belongs to the value, which may change before it is sent."""
        self.buffers = [bytes(one) for one in self.buffers]

    def wrapped(self) -> tuple[bytes, int | None]:
        """The body of a frame, and the descriptor that goes with it, for the caller to close."""
        if self.size < LARGE:
            return self.body, None
        parts = [self.body, *self.buffers]
        return b"".join(_SIZES.pack(len(part)) for part in parts), _written(parts)


class _Pickler(Pickler):
    """Takes large buffers out, and notices objects that are not Python's own."""

    def __init__(self, sink: io.BytesIO, keep: Callable[[pickle.PickleBuffer], bool]) -> None:
        super().__init__(sink, protocol=5, buffer_callback=keep)
        self.foreign = False

    def reducer_override(self, obj: Any) -> Any:
        self.foreign = True
        # A module may have a class of its own, such as one that loads its parts late.
        if isinstance(obj, ModuleType) and sys.modules.get(obj.__name__) is obj:
            return import_module, (obj.__name__,)
        made_again = remade(obj)
        if made_again is not None:
            return made_again
        if isinstance(obj, FunctionType | type):
            _notice_module(obj)
        reduced = super().reducer_override(obj)
        if reduced is NotImplemented or not isinstance(obj, type):
            return reduced
        return made(obj, reduced) if is_struct(obj) else slotted(obj, reduced)


def _notice_module(obj: Any) -> None:
    """Have what was made in a module that nobody can import travel whole."""
    module = sys.modules.get(obj.__module__)
    if module is None or module.__spec__ is not None or obj.__module__ == "__main__":
        return
    # Extensions have such modules, too, whose classes travel by name alone.
    own = isinstance(obj, FunctionType) or _has_functions(obj)
    if own and not hasattr(module, "__file__"):
        register_pickle_by_value(module)


def _has_functions(obj: object) -> bool:
    return any(isinstance(one, FunctionType) for one in vars(obj).values())


def pack(value: Any, what: str, *, whole: bool = False) -> Parcel:
    """A value as a parcel.

    Args:
        value: of anything that pickles, functions and classes of scripts included.
        what: it is, for the message.
        whole: large parts stay in the body.

    Raises:
        NotEncodable: it cannot travel; the message names the part that cannot.
    """
    body = plain(value)
    if body is not None:
        return Parcel(body)
    buffers: list[memoryview] = []
    sink = io.BytesIO()

    def taken(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if whole or len(raw) < LARGE:
            return True
        buffers.append(raw)
        return False

    pickler = _Pickler(sink, taken)
    try:
        pickler.dump(value)
    # Whatever the value's own code raises.
    except TROUBLE as error:
        path, part = culprit(value, what, _fails)
        raise NotEncodable(
            f"{path} is a {type(part).__name__} that cannot travel to another process: "
            f"{type(error).__name__}: {error}",
            path=path,
        ) from error
    return Parcel(sink.getvalue(), buffers, foreign=pickler.foreign)


def _fails(part: Any) -> bool:
    try:
        _Pickler(io.BytesIO(), lambda _: False).dump(part)
    except TROUBLE:
        return True
    return False


def unpack(body: bytes | memoryview, what: str, buffers: Sequence[Any] = ()) -> Any:
    """The value of a parcel.

    Raises:
        NotDecodable: it cannot be made here.
    """
    try:
        return pickle.loads(body, buffers=buffers)
    # Whatever the value's own code raises.
    except TROUBLE as error:
        raise undecodable(what, error) from error


def undecodable(what: str, error: BaseException) -> NotDecodable:
    """What it is that a value cannot be made again."""
    return NotDecodable(
        f"{what} cannot be made again from what travelled: {type(error).__name__}: {error}",
        path=what,
    )


def proved(value: Any, what: str) -> Parcel:
    """A value as a parcel of which it is known that it can be opened again.

    Raises:
        NotEncodable: it cannot.
    """
    parcel = pack(value, what)
    if parcel.foreign:
        try:
            unpack(parcel.body, what, parcel.buffers)
        except NotDecodable as error:
            raise NotEncodable(str(error), path=what) from error.__cause__
    return parcel


def open_parcel(body: bytes, descriptors: Sequence[int], what: str) -> Any:
    """The value of what :meth:`Parcel.wrapped` gave. Closes the descriptors.

    Raises:
        NotDecodable: it cannot be made here.
    """
    if not descriptors:
        return unpack(body, what)
    sizes = [size for (size,) in _SIZES.iter_unpack(body)]
    try:
        whole = _read(descriptors[0], sum(sizes))
    finally:
        for one in descriptors:
            os.close(one)
    parts: list[memoryview] = []
    at = 0
    for size in sizes:
        parts.append(whole[at : at + size])
        at += size
    return unpack(parts[0], what, parts[1:])


def nameless(name: str) -> int:
    """A descriptor of memory that lives as long as somebody holds it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _written(parts: Sequence[Any]) -> int:
    descriptor = nameless("treadle-parcel")
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(descriptor, view) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _read(descriptor: int, size: int) -> memoryview:
    """What a descriptor holds. Its objects may stay for long: they do not keep it open."""
    if os.fstat(descriptor).st_size < size:
        raise NotDecodable(f"a parcel of {size} bytes has {os.fstat(descriptor).st_size}")
    if sys.version_info >= (3, 13):
        return memoryview(mmap.mmap(descriptor, size, trackfd=False))
    whole = memoryview(mmap.mmap(-1, size))
    at = 0
    while at < size:
        at += os.preadv(descriptor, [whole[at:]], at)
    return whole
