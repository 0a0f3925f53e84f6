"""Named SQL from the ``.sql`` files of this package, with the namespace's prefix put in."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from importlib import resources

__all__ = ["Statements", "channel_of", "load", "lock_of", "placed", "prefix_of", "schema"]

_PACKAGE = "treadle.backends.postgres"
_FILES = ("rows", "advance", "calls", "claim", "end", "find", "limits", "push", "shared", "store")
_SCHEMA = ("schema", "functions", "plain")
_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
_TABLE = re.compile(r"\btreadle_(\w+)")
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
_COLUMNS = re.compile(r"/\*(\w+)\*/")
_LONGEST = 36
"""Bytes of a prefix: a name of PostgreSQL has 63 at most."""


def prefix_of(namespace: str) -> str:
    """The prefix of all names of a namespace, which no other namespace makes.

    The table ``b_c`` of ``a`` is not the table ``c`` of ``a_b``.
    """
    apart = namespace.replace("_", "__")
    if len(apart) <= _LONGEST:
        return apart
    digest = hashlib.sha256(namespace.encode()).hexdigest()
    return f"{apart[: _LONGEST - 17]}~{digest[:16]}"


def channel_of(namespace: str) -> str:
    """The channel on which those who use a namespace tell each other of changes."""
    return f"{prefix_of(namespace)}_notices"


def lock_of(namespace: str, what: str = "steps") -> int:
    """The number of an advisory lock of a namespace."""
    digest = hashlib.sha256(f"treadle {what} {namespace}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def placed(text: str, namespace: str) -> str:
    """A text with the names of a namespace."""
    prefix = prefix_of(namespace)
    return _TABLE.sub(lambda found: f'"{prefix}_{found[1]}"', text)


def _read(file: str) -> str:
    return resources.files(_PACKAGE).joinpath(f"{file}.sql").read_text("utf-8")


def schema(namespace: str) -> list[str]:
    """The scripts that make the tables and functions of a namespace, in order."""
    return [placed(_read(file), namespace) for file in _SCHEMA]


Statements = dict[str, str]
"""The statements of one namespace by name."""


@lru_cache(maxsize=64)
def load(namespace: str) -> Statements:
    """The statements of a namespace."""
    texts: Statements = {}
    for file in _FILES:
        pieces = _NAME.split(_read(file))[1:]
        for name, body in zip(pieces[::2], pieces[1::2], strict=True):
            if name in texts:
                raise ValueError(f"the statement {name!r} is there twice")
            text = placed(_COMMENT.sub("", body), namespace).strip().rstrip(";")
            # Columns that several statements have in common stand in one of them.
            texts[name] = _COLUMNS.sub(lambda found: texts[found[1]], text)
    return texts
