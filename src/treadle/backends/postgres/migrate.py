"""Makes and changes the tables of a namespace, and refuses those that it cannot use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg
import msgspec

from treadle.backends.common.tables import Made, Migration, Outline, check, outline, steps
from treadle.backends.postgres.address import Address, parse
from treadle.backends.postgres.client import Wire
from treadle.backends.postgres.refusals import meaning
from treadle.backends.postgres.statements import lock_of, placed, prefix_of, schema
from treadle.errors import SchemaMismatch

__all__ = [
    "MIGRATIONS",
    "MIN_READER",
    "VERSION",
    "PostgresTables",
    "how_they_come",
    "install",
    "lacking",
    "tables",
]

VERSION = 1
"""Of the tables and functions."""
MIN_READER = 1
"""The oldest version of this number whose code can work with them."""
MIGRATIONS: tuple[Migration, ...] = ()
"""What has led from one version to the next; the scripts of the schema make the last one."""

_RIGHTS = {
    "tables": "SELECT, INSERT, UPDATE, DELETE",
    "sequences": "USAGE, SELECT, UPDATE",
}


def _meta(namespace: str) -> str:
    return '"' + prefix_of(namespace) + '_meta"'


async def install(wire: Wire, namespace: str, address: Address) -> Made:
    """Make what is missing, and change what is old. Those who come together wait for the first.

    Raises:
        SchemaMismatch: a newer version made the tables; or something is to be made or changed, and
            the URL says that it must not be.
    """
    facts = await _facts(wire, namespace)
    if facts is not None and facts.get("version", 0) >= VERSION:
        check(facts, VERSION, address.url)
        return _made(facts)
    if not address.install:
        raise SchemaMismatch(
            f"{address.url}: {_lack(facts)}, and the url says install=never. Run 'treadle db "
            f"{'install' if facts is None else 'upgrade'}' as a user who may, or have a DBA carry "
            "out what 'treadle db sql' prints.",
            backend=address.url,
        )
    async with wire.transaction():
        await wire.execute("SELECT pg_advisory_xact_lock($1)", lock_of(namespace, "schema"))
        facts = await _facts(wire, namespace)
        if facts is None or facts.get("version", 0) < VERSION:
            for script in _scripts(namespace, None if facts is None else facts.get("version", 0)):
                await wire.execute(script)
    if facts is not None:
        check(facts, VERSION, address.url)
        return _made(facts)
    return Made(None, VERSION, MIN_READER)


async def lacking(wire: Wire, namespace: str) -> str | None:
    """What is missing of the tables or too old; ``None`` when this version can use them."""
    facts = await _facts(wire, namespace)
    if facts is None:
        return await _absent(wire, namespace)
    return _lack(facts) if facts.get("version", 0) < VERSION else None


def how_they_come(address: Address) -> str:
    """Who makes tables, or brings them up to this version."""
    by_hand = "'treadle db install', or a DBA with what 'treadle db sql' prints"
    if address.install:
        return f"an app makes them when it first uses the store; or {by_hand}"
    return f"the url says install=never, so no app does: {by_hand}"


async def _absent(wire: Wire, namespace: str) -> str:
    """That there are no tables, or none that this user finds."""
    says = f"there are no tables of the namespace {namespace!r}"
    rows = await wire.fetch(_ELSEWHERE, prefix_of(namespace) + "_meta")
    schemas = {
        usable: [schema for schema, its in rows if its is usable] for usable in (True, False)
    }
    if schemas[False]:
        named = ", ".join(schemas[False])
        says += (
            f" that this user may use; they are in schema {named}: GRANT USAGE ON SCHEMA {named}"
        )
    elif schemas[True]:
        says += f" in the search_path of this user; schema {', '.join(schemas[True])} has some"
    return says


def _lack(facts: Mapping[str, int] | None) -> str:
    if facts is None:
        return "there are no tables"
    return f"the tables are of version {facts.get('version')}, and this one needs {VERSION}"


def _made(facts: Mapping[str, int]) -> Made:
    before = facts.get("version", 0)
    changed = before < VERSION
    return Made(
        before,
        VERSION if changed else before,
        MIN_READER if changed else facts.get("min_reader", 0),
    )


async def _facts(wire: Wire, namespace: str) -> Mapping[str, int] | None:
    meta = _meta(namespace)
    # By way of a table: what others have made is seen for certain once a table is locked, and
    # to_regclass alone locks none.
    known = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = to_regclass($1))"
    if not await wire.fetchval(known, meta):
        return None
    return {row["key"]: row["value"] for row in await wire.fetch(f"SELECT key, value FROM {meta}")}


def _scripts(namespace: str, since: int | None) -> list[str]:
    """What makes the tables, or changes them from a version on."""
    whole = schema(namespace)
    if since is None:
        scripts = whole
    else:
        changes = [placed(one.script, namespace) for one in steps(MIGRATIONS, since)]
        # Functions are replaced as a whole.
        scripts = changes + whole[1:]
    numbers = f"('version', {VERSION}), ('min_reader', {MIN_READER})"
    last = (
        f"INSERT INTO {_meta(namespace)} (key, value) VALUES {numbers}\n"
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    )
    return [*scripts, last]


class PostgresTables:
    """The tables of one namespace in the database of a URL."""

    def __init__(self, url: str, namespace: str) -> None:
        self._address = parse(url)
        self._namespace = namespace

    async def install(self) -> Made:
        """Make what is missing."""
        return await self._brought_up(wanted=False)

    async def upgrade(self) -> Made:
        """Bring tables that are there up to this version."""
        return await self._brought_up(wanted=True)

    async def _brought_up(self, *, wanted: bool) -> Made:
        # Who says it in so many words is not held back by the url.
        address = msgspec.structs.replace(self._address, install=True)
        wire = await self._connected()
        try:
            if wanted and await _facts(wire, self._namespace) is None:
                raise SchemaMismatch(
                    f"{address.url} has no tables of the namespace {self._namespace!r}; 'treadle "
                    "db install' makes them",
                    backend=address.url,
                )
            return await install(wire, self._namespace, address)
        except asyncpg.PostgresError as error:
            raise meaning(error, address.url) from error
        finally:
            await wire.close()

    async def verify(self) -> Sequence[str]:
        """What is wrong."""
        wire = await self._connected()
        try:
            return await self._compared(wire)
        except asyncpg.PostgresError as error:
            raise meaning(error, self._address.url) from error
        finally:
            await wire.close()

    async def _compared(self, wire: Wire) -> Sequence[str]:
        wanted = outline(schema(self._namespace))
        try:
            facts = await _facts(wire, self._namespace)
        except asyncpg.InsufficientPrivilegeError:
            return await _missing(wire, wanted)  # the rights are among them
        if facts is None:
            return [await _absent(wire, self._namespace)]
        check(facts, VERSION, self._address.url)
        wrong = await _missing(wire, wanted)
        if facts.get("version", 0) < VERSION:
            wrong.insert(0, _lack(facts))
        return wrong

    async def _connected(self) -> Wire:
        address = self._address
        try:
            wire: Wire = await asyncpg.connect(address.dsn, timeout=address.patience)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise meaning(error, address.url) from error
        return wire

    def sql(self, *, role: str | None = None, since: int | None = None) -> str:
        """The statements."""
        scripts = [one.strip().rstrip(";") + ";" for one in _scripts(self._namespace, since)]
        if role is not None:
            scripts.append("\n".join(_grants(self._namespace, role)))
        return "BEGIN;\n\n" + "\n\n".join(scripts) + "\n\nCOMMIT;\n"


def _grants(namespace: str, role: str) -> list[str]:
    """What a role needs that owns nothing."""
    made, meta = outline(schema(namespace)), prefix_of(namespace) + "_meta"
    quoted = _quoted(role)
    lines = [f"GRANT SELECT ON {_quoted(meta)} TO {quoted};"]
    lines += [
        f"GRANT {_RIGHTS['tables']} ON {_quoted(name)} TO {quoted};"
        for name in sorted(made.tables)
        if name != meta
    ]
    lines += [
        f"GRANT {_RIGHTS['sequences']} ON SEQUENCE {_quoted(name)} TO {quoted};"
        for name in sorted(made.sequences)
    ]
    return lines + [
        f"GRANT EXECUTE ON FUNCTION {_quoted(name)} TO {quoted};" for name in sorted(made.functions)
    ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# ------------------------------------------------------------- looking

_COLUMNS = """
SELECT c.relname::text, array_agg(a.attname::text)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relname = ANY($1) AND c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid)
  AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY c.relname
"""
_ELSEWHERE = """
SELECT quote_ident(n.nspname), has_schema_privilege(n.oid, 'USAGE')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = $1 AND c.relkind = 'r' ORDER BY n.nspname
"""
_NAMED = """
SELECT relname::text FROM pg_class WHERE relname = ANY($1) AND pg_table_is_visible(oid)
UNION SELECT proname::text FROM pg_proc WHERE proname = ANY($1) AND pg_function_is_visible(oid)
"""
_INVALID = """
SELECT c.relname::text FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
WHERE c.relname = ANY($1) AND pg_table_is_visible(c.oid) AND NOT i.indisvalid
"""
_FORBIDDEN = """
SELECT name, what FROM unnest($1::text[]) AS t (name),
  unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r (what)
WHERE to_regclass(quote_ident(name)) IS NOT NULL
  AND NOT has_table_privilege(to_regclass(quote_ident(name)), what)
"""


async def _missing(wire: Wire, wanted: Outline) -> list[str]:
    wrong: list[str] = []
    tables = {row[0]: set(row[1]) for row in await wire.fetch(_COLUMNS, list(wanted.tables))}
    for name, columns in sorted(wanted.tables.items()):
        if name not in tables:
            wrong.append(f"table {name} is missing")
        elif columns - tables[name]:
            wrong.append(f"table {name} lacks {', '.join(sorted(columns - tables[name]))}")
    others = {
        "index": wanted.indexes,
        "sequence": wanted.sequences,
        "function": wanted.functions,
    }
    names = [name for some in others.values() for name in some]
    there = {row[0] for row in await wire.fetch(_NAMED, names)}
    for kind, some in others.items():
        wrong += [f"{kind} {name} is missing" for name in sorted(some - there)]
    invalid = await wire.fetch(_INVALID, list(wanted.indexes))
    wrong += [f"index {row[0]} is invalid; REINDEX it" for row in invalid]
    for row in await wire.fetch(_FORBIDDEN, [name for name in wanted.tables if name in tables]):
        if not (row[0].endswith("_meta") and row[1] != "SELECT"):
            wrong.append(f"this user may not {row[1]} on {row[0]}")
    return wrong


def tables(url: str, namespace: str) -> PostgresTables:
    """The tables of a namespace in the database that a URL names."""
    return PostgresTables(url, namespace)
