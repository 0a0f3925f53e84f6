"""``treadle db``: the tables of a store, for those who do not let programs make them."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from treadle import backends
from treadle.cli.options import AppOption, Json, Url
from treadle.cli.output import Output
from treadle.cli.root import group
from treadle.cli.statuses import FAILURE
from treadle.cli.stores import core_for
from treadle.config import mask

__all__: list[str] = []

db = group("db", "Make, change and check the tables of a store.")

Role = Annotated[
    str | None,
    typer.Option("--role", metavar="NAME", help="Also grant this role what it needs, no more."),
]
Since = Annotated[
    int | None,
    typer.Option("--from", metavar="VERSION", help="Only what changes tables of this version."),
]


def _tables(url: str | None, app: str | None) -> list[tuple[backends.Tables, str]]:
    """The tables of each backend that has some; of the first where none has, which says so."""
    core = core_for(url, app)
    urls = list(core.urls.values())
    asked = [one for one in urls if backends.has_tables(one)] or urls[:1]
    return [(backends.tables(one, namespace=core.namespace), mask(one)) for one in asked]


@db.command()
def install(url: Url = None, app: AppOption = None, json: Json = False) -> None:
    """Make the tables where they are missing. Harmless when all of it is there."""
    for tables, place in _tables(url, app):
        _say(asyncio.run(tables.install()), place, json=json)


@db.command()
def upgrade(url: Url = None, app: AppOption = None, json: Json = False) -> None:
    """Bring tables that are there up to this version of Treadle."""
    for tables, place in _tables(url, app):
        _say(asyncio.run(tables.upgrade()), place, json=json)


def _say(made: backends.Made, place: str, *, json: bool) -> None:
    if json:
        Output(json=True).data(made)
        return
    if made.before is None:
        text = f"made, version {made.version}"
    elif made.before < made.version:
        text = f"brought from version {made.before} to {made.version}"
    else:
        text = f"of version {made.version} already"
    Output().line(f"{place}: the tables are {text}; code from version {made.min_reader} on works")


@db.command()
def verify(url: Url = None, app: AppOption = None, json: Json = False) -> None:
    """Compare the tables with what this version needs. Changes nothing; status 1 if they differ."""
    out = Output(json=json)
    found = [(place, asyncio.run(tables.verify())) for tables, place in _tables(url, app)]
    wrong = [one for _, some in found for one in some]
    if json:
        out.data({"well": not wrong, "findings": wrong})
    for place, some in found:
        for one in some:
            out.line(f"{place}: {one}")
        if not some:
            out.line(f"{place}: the tables are as they should be")
    if wrong:
        raise typer.Exit(FAILURE)


@db.command()
def sql(url: Url = None, app: AppOption = None, role: Role = None, since: Since = None) -> None:
    """Print the statements that make the tables, for a DBA. Asks no server."""
    found = _tables(url, app)
    for tables, place in found:
        if len(found) > 1:
            sys.stdout.write(f"-- {place}\n")
        sys.stdout.write(tables.sql(role=role, since=since))
