"""Tables of a store that has them: made, brought up to date, looked at, printed for a DBA.

What is there is ``(version, min_reader)``: the version of the tables, and the oldest version of the
code that can work with them. Changes only add, so code of the version before goes on while a new
one is deployed; a change that older code cannot live with raises ``min_reader``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from treadle.errors import SchemaMismatch

__all__ = ["Made", "Migration", "Outline", "Tables", "check", "outline", "steps"]

_CREATED = re.compile(
    r"CREATE (?:OR REPLACE )?(TABLE|UNIQUE INDEX|INDEX|SEQUENCE|FUNCTION) (?:IF NOT EXISTS )?"
    r'"((?:[^"]|"")+)"'
)
_COMMENT = re.compile(r"--.*$", re.MULTILINE)
_COLUMN = re.compile(r"\s*([a-z_]+)\s")
_NO_COLUMN = frozenset({"primary", "unique", "check", "foreign", "constraint", "exclude"})


class Migration(msgspec.Struct, frozen=True):
    """A change of the tables, which only adds."""

    # Of the tables after it.
    version: int
    # The oldest version of the code that can work with them after it.
    min_reader: int
    # Statements, with ``treadle_`` for the prefix of the namespace.
    script: str


class Made(msgspec.Struct, frozen=True):
    """What was there, and what is there now."""

    # ``None`` when nothing was.
    before: int | None
    version: int
    min_reader: int


class Outline(msgspec.Struct, frozen=True):
    """The names of what scripts make."""

    # Columns by table.
    tables: Mapping[str, frozenset[str]]
    indexes: frozenset[str]
    sequences: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()


class Tables(Protocol):
    """What ``treadle db`` works on."""

    async def install(self) -> Made:
        """Make what is missing. Harmless when all of it is there."""
        ...

    async def upgrade(self) -> Made:
        """Bring tables that are there up to the version of this code.

        Raises:
            SchemaMismatch: there are none, or they are of a newer version that this one cannot use.
        """
        ...

    async def verify(self) -> Sequence[str]:
        """What is wrong: missing tables, columns, indexes, rights. Changes nothing."""
        ...

    def sql(self, *, role: str | None = None, since: int | None = None) -> str:
        """The statements, to be carried out by somebody else.

        Args:
            role: is given what it needs to use the tables, and no more.
            since: the version that is there; ``None`` where there is nothing.
        """
        ...


def check(facts: Mapping[str, int], version: int, where: str) -> None:
    """Return when code of a version can work with tables.

    Raises:
        SchemaMismatch: they are of a newer one.
    """
    if facts.get("min_reader", 0) > version:
        raise SchemaMismatch(
            f"{where}: the tables are of a newer Treadle (schema {facts.get('version')}, this one "
            f"knows {version}). Update Treadle here, or use another namespace.",
            backend=where,
        )


def steps(migrations: Iterable[Migration], since: int) -> list[Migration]:
    """The changes after a version, in order."""
    return sorted((one for one in migrations if one.version > since), key=lambda one: one.version)


def outline(scripts: Iterable[str]) -> Outline:
    """The names of what scripts make; each column stands on a line of its own, or all on one."""
    tables: dict[str, frozenset[str]] = {}
    made: dict[str, set[str]] = {"INDEX": set(), "SEQUENCE": set(), "FUNCTION": set()}
    for script in scripts:
        text = _COMMENT.sub("", script)
        for found in _CREATED.finditer(text):
            kind, name = found[1].removeprefix("UNIQUE "), found[2].replace('""', '"')
            if kind == "TABLE":
                tables[name] = frozenset(_columns(text[found.end() :]))
            else:
                made[kind].add(name)
    return Outline(
        tables=tables,
        indexes=frozenset(made["INDEX"]),
        sequences=frozenset(made["SEQUENCE"]),
        functions=frozenset(made["FUNCTION"]),
    )


def _columns(text: str) -> Iterable[str]:
    """The columns of a table, from behind its name."""
    depth = 0
    part = ""
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        if depth == 0 and sign == ")":
            break
        if depth == 1 and sign == ",":
            yield from _column(part)
            part = ""
        elif depth > 1 or sign != "(":
            part += sign
    yield from _column(part)


def _column(part: str) -> Iterable[str]:
    found = _COLUMN.match(part + " ")
    if found is not None and found[1] not in _NO_COLUMN:
        yield found[1]
