"""Whether the connection of a caller leads to the database of the jobs, and to the same tables.

Two urls may name one database, by a pooler or another name of the host; so it is the servers that
are asked. Each connection is asked once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from treadle.backends.postgres.link import Work
from treadle.backends.postgres.within_drivers import Lent, LentPsycopg, connected, driver_of
from treadle.errors import InvalidOption

if TYPE_CHECKING:
    from treadle.backends.postgres.client import Wire
    from treadle.backends.postgres.store import Store

__all__ = ["Place", "check_place"]


class Place(NamedTuple):
    """What a server says of a connection."""

    # When it was started, in microseconds: no two servers have that in common.
    started: int
    database: str
    # The table of the jobs that the search_path finds, by its number, and its schema.
    table: int | None
    schema: str | None
    # Where it is, as it sees itself; nothing is said of a socket in the file system.
    host: str | None
    port: int | None

    def __str__(self) -> str:
        at = "" if self.host is None else f" at {self.host}:{self.port}"
        return f"database {self.database!r}{at}"

    @property
    def server(self) -> tuple[int, str]:
        """The database, on its server."""
        return self.started, self.database


async def check_place(store: Store, within: object, connection: Lent) -> None:
    """Return when a connection leads to where the jobs are.

    Raises:
        InvalidOption: it leads to another database, or to other tables in that.
    """
    driver = driver_of(connection)
    if driver in store.lenders:
        return
    [row] = await connection.fetch(store.sql["place"])
    theirs = Place(*row)
    ours = store.place
    if ours is None or ours[:3] != theirs[:3]:
        # Also when the server was started anew since then, or the tables have been made.
        ours = store.place = await _asked(store, blocking=isinstance(connection, LentPsycopg))
    if ours.server != theirs.server:
        _refuse(store, within, f"{theirs}", f"{ours}")
    if theirs.table is None:
        # The first statement says what is missing.
        return
    if ours.table != theirs.table:
        _refuse(store, within, f"schema {theirs.schema!r}", f"schema {ours.schema!r} of {ours}")
    store.lenders.add(driver)


def _refuse(store: Store, within: object, theirs: str, ours: str) -> None:
    raise InvalidOption(
        f"within={within!r} leads to {theirs}, and the jobs of {store.address.url} are in {ours}; "
        "give a connection that leads there, or enqueue after the commit, without within=",
        option="within",
        value=within,
    )


async def _asked(store: Store, *, blocking: bool) -> Place:
    query = store.sql["place"]
    if blocking:
        # No event loop can be waited for: the driver that the caller has asks.
        with connected(store.address) as own:
            return Place(*own.execute(query).fetchone())

    async def work(wire: Wire) -> Place:
        row = await wire.fetchrow(query)
        assert row is not None, "it gives one row"
        return Place(*row)

    return await store.link.do(Work(work))
