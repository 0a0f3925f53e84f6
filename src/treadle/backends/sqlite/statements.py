"""Named SQL from the ``.sql`` files of this package, with the namespace's prefix put in."""

from __future__ import annotations

import re
from functools import lru_cache
from pkgutil import get_data

__all__ = ["Statements", "load", "placed", "prefix_of", "schema", "sizes"]

_PACKAGE = "treadle.backends.sqlite"
_FILES = ("push", "claim", "end", "advance", "find", "limits", "shared", "store")
_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
_TABLE = re.compile(r"\btreadle_(\w+)")
_SAME = re.compile(r"/\*(\w+)\*/,")
_ROWS = re.compile(r"/\*rows\*/\s*(\([^)]*\))")
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
_SIZES = (128, 64, 32, 16, 8, 4, 2, 1)


def prefix_of(namespace: str) -> str:
    """The prefix of all tables of a namespace, which no other namespace makes.

    SQLite does not tell ``A`` from ``a``; and the table ``b_c`` of ``a`` is not the table ``c``
    of ``a_b``.
    """
    apart = namespace.replace("_", "__")
    return re.sub("[A-Z]", lambda found: "^" + found[0].lower(), apart)


def placed(text: str, namespace: str) -> str:
    """A text with the names of a namespace."""
    prefix = prefix_of(namespace).replace('"', '""')
    return _TABLE.sub(lambda found: f'"{prefix}_{found[1]}"', text)


def schema(namespace: str) -> list[str]:
    """The statements that make the tables of a namespace."""
    text = _read("schema.sql")
    text = re.sub(r"--.*$", "", text, flags=re.MULTILINE)
    return [part.strip() for part in placed(text, namespace).split(";") if part.strip()]


def _read(file: str) -> str:
    data = get_data(_PACKAGE, file)
    if data is None:
        raise FileNotFoundError(f"the loader of {_PACKAGE} gives no file {file!r}")
    return data.decode()


@lru_cache(maxsize=4096)
def sizes(count: int) -> tuple[int, ...]:
    """``count`` in parts for each of which there is one prepared text."""
    parts: list[int] = []
    for size in _SIZES:
        while count >= size:
            parts.append(size)
            count -= size
    return tuple(parts)


class Statements:
    """The statements of one namespace by name; ``sql["name"]`` or ``sql.rows("name", n)``."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self._sized: dict[tuple[str, int], str] = {}

    def __getitem__(self, name: str) -> str:
        return self.texts[name]

    def rows(self, name: str, count: int) -> str:
        """A statement whose ``/*rows*/ (?, ?)`` is repeated ``count`` times."""
        text = self._sized.get((name, count))
        if text is None:
            text = _ROWS.sub(lambda found: ", ".join([found[1]] * count), self.texts[name])
            self._sized[name, count] = text
        return text


@lru_cache(maxsize=16)
def load(namespace: str) -> Statements:
    """The statements of a namespace."""
    texts: dict[str, str] = {}
    for file in _FILES:
        text = _read(f"{file}.sql")
        pieces = _NAME.split(text)[1:]
        for name, body in zip(pieces[::2], pieces[1::2], strict=True):
            if name in texts:
                raise ValueError(f"the statement {name!r} is there twice")
            text = placed(_COMMENT.sub("", body), namespace).strip().rstrip(";")
            # One that begins with another, which stands before it, and asks for more.
            texts[name] = _SAME.sub(lambda found: texts[found[1]] + ",", text)
    return Statements(texts)
