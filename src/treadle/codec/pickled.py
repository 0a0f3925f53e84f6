"""Pickle, for those who choose it. Bytes become objects only when they come as ``Pickled``.

The envelope alone makes that class, after it has verified a signature; no content of a
body can ask for it.
"""

from __future__ import annotations

from typing import Any

from treadle.errors import NotDecodable, NotEncodable

__all__ = ["Pickled", "pickled", "unpickled"]


class Pickled(bytes):
    """A body that was pickled."""

    __slots__ = ()


def pickled(value: Any, task: str) -> Pickled:
    """A value as a pickle."""
    import pickle

    try:
        return Pickled(pickle.dumps(value, protocol=5))
    except Exception as error:
        raise NotEncodable(
            f"task {task!r}: not even pickle can encode it: {error!r:.200}"
        ) from error


def unpickled(body: Pickled, task: str) -> Any:
    """The value of a pickle that was signed."""
    import pickle

    try:
        return pickle.loads(body)
    except Exception as error:
        raise NotDecodable(f"task {task!r}: the pickle cannot be read: {error!r:.200}") from error
