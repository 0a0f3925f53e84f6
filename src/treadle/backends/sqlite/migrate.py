"""The tables of a namespace in a file, for ``treadle db``."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from treadle.backends.common.tables import Made, Outline, check, outline
from treadle.backends.sqlite.address import Address, parse
from treadle.backends.sqlite.database import (
    VERSION,
    changes,
    connect,
    facts_of,
    install,
    meta_of,
    translate,
    writing,
)
from treadle.backends.sqlite.disk import prepare
from treadle.backends.sqlite.statements import schema
from treadle.backends.sqlite.turn import Turn
from treadle.errors import SchemaMismatch, Unsupported

__all__ = ["SqliteTables", "lacking", "tables"]


class SqliteTables:
    """The tables of one namespace in the file of a URL."""

    def __init__(self, url: str, namespace: str) -> None:
        self._address = parse(url)
        self._namespace = namespace

    async def install(self) -> Made:
        """Make what is missing, the file as well."""
        address = msgspec.structs.replace(self._address, install=True)
        prepare(address.path)
        before = self._facts()
        turn = Turn(address.path, address.patience)
        if not turn.take_at_once():
            turn.take()
        try:
            install(address, self._namespace)
        finally:
            turn.end()
        now = self._facts() or {}
        return Made(
            None if before is None else before.get("version", 0),
            now.get("version", 0),
            now.get("min_reader", 0),
        )

    async def upgrade(self) -> Made:
        """Bring tables that are there up to this version."""
        if self._facts() is None:
            raise SchemaMismatch(
                f"{self._address.path!r} has no tables of the namespace {self._namespace!r}; "
                "'treadle db install' makes them",
                backend=self._address.path,
            )
        return await self.install()

    async def verify(self) -> Sequence[str]:
        """What is wrong."""
        facts = self._facts()
        if facts is None:
            return [f"there are no tables of the namespace {self._namespace!r}"]
        check(facts, VERSION, self._address.path)
        wrong = self._missing(outline(schema(self._namespace)))
        if facts.get("version", 0) < VERSION:
            wrong.insert(0, f"the tables are of version {facts['version']}, not {VERSION}")
        return wrong

    def _facts(self) -> Mapping[str, int] | None:
        return _facts(self._address.path, self._namespace)

    def _missing(self, wanted: Outline) -> list[str]:
        path = self._address.path
        with translate(path), contextlib.closing(connect(path)) as connection:
            there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            columns = {
                name: {row[0] for row in connection.execute(_COLUMNS, (name,))}
                for name in wanted.tables
            }
            damage = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
        wrong = [f"table {name} is missing" for name in sorted(set(wanted.tables) - there)]
        wrong += [
            f"table {name} lacks {', '.join(sorted(names - columns[name]))}"
            for name, names in sorted(wanted.tables.items())
            if name in there and names - columns[name]
        ]
        wrong += [f"index {name} is missing" for name in sorted(wanted.indexes - there)]
        return wrong + [f"the file is damaged: {one}" for one in damage if one != "ok"]

    def sql(self, *, role: str | None = None, since: int | None = None) -> str:
        """The statements."""
        if role is not None:
            raise Unsupported(
                "SQLite knows no roles: whoever may write the file and its directory may use it",
                backend=self._address.path,
                feature="roles",
            )
        last = writing(meta_of(self._namespace), new=since is None)
        lines = "".join(f"{line};\n\n" for line in changes(self._namespace, since))
        return f"BEGIN;\n\n{lines}{last};\n\nCOMMIT;\n"


_COLUMNS = "SELECT name FROM pragma_table_info(?)"


def lacking(address: Address, namespace: str) -> str | None:
    """What is missing of the file and its tables, or too old; ``None`` when they can be used."""
    facts = _facts(address.path, namespace)
    if facts is None:
        return f"there are no tables of the namespace {namespace!r}"
    version = facts.get("version", 0)
    if version < VERSION:
        return f"the tables are of version {version}, not {VERSION}"
    return None


def _facts(path: str, namespace: str) -> Mapping[str, int] | None:
    if not Path(path).exists() or Path(path).stat().st_size == 0:
        return None
    with translate(path), contextlib.closing(connect(path)) as connection:
        return facts_of(connection, namespace)


def tables(url: str, namespace: str) -> SqliteTables:
    """The tables of a namespace in the file that a URL names."""
    return SqliteTables(url, namespace)
