"""What a body would cost to decode, told from its bytes before any value is made.

A megabyte can say "a million empty maps", which take a hundred times the space and the time of
a text of that length; and keys can be chosen so that they all have the same hash, which makes
a map of them cost the square of their number. Bodies of people are neither: nearly all pass by
their length or because they are a few large values, the others by counting bytes, and only what
looks strange is walked through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from treadle.codec.misfit import Misfit

__all__ = ["LIGHT", "MAX_CONTAINERS", "MAX_EXTENSIONS", "apart", "weigh"]

MAX_CONTAINERS = 150_000
"""Lists and maps of one payload together, those that frame other values included."""
MAX_EXTENSIONS = 50_000
"""Values of one payload that msgpack does not have, such as dates and paths, together."""
LIGHT = 16_384
"""A body of so many bytes need not be looked at."""

_MANY = 1000  # keys of one map whose hashes may all be the same in what is not walked through
_ALIKE = 100  # that may be the same in the others
_FEW = 32  # values that are walked through sooner than the bytes of a large body are counted

_ARRAYS = bytes([*range(0x90, 0xA0), 0xDC, 0xDD])
_MAPS = bytes([*range(0x80, 0x90), 0xDE, 0xDF])
_EXTS = bytes([0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)])
_STRANGE_KEYS = _ARRAYS + _EXTS
_CONTAINERS = _MAPS + _ARRAYS
# Codes of the extensions whose data are values again.
_NESTING = frozenset({b"\x01", b"\x02", b"\x03", b"\x0d", b"\x0e"})

_SIZED = {
    0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4,
    0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4,
}  # fmt: skip
"""First bytes after which so many bytes tell a size."""


def _steps() -> list[int]:
    """Bytes of a plain value by its first byte; 0 for what needs a closer look."""
    steps = [1] * 256
    numbers = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}
    numbers |= {0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
    short_texts = {0xA0 + size: 1 + size for size in range(32)}
    looked_at = dict.fromkeys((*_CONTAINERS, *_EXTS, *_SIZED), 0)
    for first, step in (numbers | short_texts | looked_at).items():
        steps[first] = step
    return steps


_STEPS = _steps()


def weigh(body: bytes) -> None:
    """Return when a body is worth decoding. What is no msgpack is left to the decoder.

    Raises:
        Misfit: it has too many parts, or keys that nobody's data have.
    """
    if _is_few(body):
        return
    # The first byte of each is one of these, though most of these bytes are in texts and numbers.
    if (
        _more(body, MAX_EXTENSIONS, _EXTS)
        or _more(body, MAX_CONTAINERS, _CONTAINERS)
        or ((b"\xde" in body or b"\xdf" in body) and _more(body, _MANY, _STRANGE_KEYS))
    ):
        _walk(body, len(body))


def _is_few(body: bytes) -> bool:
    """Whether it is a few values, however large, and none that a walk would refuse."""
    try:
        return _walk(body, _FEW)
    except Misfit:
        return False  # counted first: what is strange in small numbers may pass


def _more(body: bytes, most: int, wanted: bytes) -> bool:
    """Whether more bytes than so many are among those wanted."""
    return len(body) > most and len(body) - len(body.translate(None, wanted)) > most


def apart(keys: Collection[Any]) -> None:
    """Return when the hashes of some keys are as different as those of honest keys.

    Raises:
        Misfit: too many share one.
    """
    if len(keys) > _ALIKE and max(Counter(map(hash, keys)).values()) > _ALIKE:
        raise Misfit(f"more than {_ALIKE} keys or members of one set have the same hash")


def _walk(body: bytes, most: int) -> bool:
    """Go over the first bytes of values, in the order in which they are decoded.

    One loop without calls, because there may be a million values. Gives whether that was all of
    them, at the latest after so many; each has a byte at the least.
    """
    at, end, containers, extensions = 0, len(body), 0, 0
    # How many values are to come, here and in the containers around, and whether it is a map.
    left, is_map = 1, False
    around: list[tuple[int, bool]] = []
    for _ in range(most):
        if at >= end:
            return True
        while not left:
            if not around:
                return True
            left, is_map = around.pop()
        first = body[at]
        left -= 1
        step = _STEPS[first]
        if step:
            at += step
            continue
        if is_map and left & 1 and first in _STRANGE_KEYS:
            raise Misfit("a map with keys that are neither text nor numbers")
        size, at = _sized(body, first, at + 1)
        inside = 0
        if first in _CONTAINERS:
            containers += 1
            inside = 2 * size if first in _MAPS else size
        elif first in _EXTS:
            at += 1
            if body[at - 1 : at] in _NESTING:
                inside = 1  # in a container, which counts
            else:
                extensions += 1
                at += size
        else:
            at += size
        if containers > MAX_CONTAINERS or extensions > MAX_EXTENSIONS:
            raise _too_many(extensions)
        if inside:
            around.append((left, is_map))
            left, is_map = inside, first in _MAPS
    return at >= end


def _too_many(extensions: int) -> Misfit:
    most, what = MAX_CONTAINERS, "lists and maps"
    if extensions > MAX_EXTENSIONS:
        most, what = MAX_EXTENSIONS, "dates, paths and the like"
    return Misfit(
        f"more than {most:,} {what} in one payload; "
        "store the data elsewhere and pass a path or an id"
    )


def _sized(body: bytes, first: int, at: int) -> tuple[int, int]:
    """The size that the first bytes tell, and where the data begin."""
    width = _SIZED.get(first)
    if width is None:
        return (1 << (first - 0xD4) if first >= 0xD4 else first & 0x0F), at
    return int.from_bytes(body[at : at + width], "big"), at + width
