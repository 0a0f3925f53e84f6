"""Tables that are made, brought up to date, looked at and printed, on each backend with some."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.backends.postgres_support import drop
from tests.servers import postgres_url
from treadle import Treadle, backends
from treadle.backends.common.tables import Made, Migration, outline
from treadle.backends.postgres import migrate as postgres
from treadle.backends.sqlite import database as sqlite
from treadle.backends.sqlite import migrate as sqlite_tables
from treadle.backends.sqlite import statements as sqlite_statements
from treadle.errors import InvalidOption, SchemaMismatch, Unsupported

__all__ = ["postgres_url"]


class Place:
    """Where tables can be made, and how to get at them by other means."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.namespace = namespace

    @property
    def tables(self) -> backends.Tables:
        return backends.tables(self.url, namespace=self.namespace)

    def app(self, options: str = "") -> Treadle:
        return Treadle(self.url + options, namespace=self.namespace)

    def run(self, *statements: str) -> list[Any]:
        """Carry out statements of somebody else; the rows of the last."""
        if self.url.startswith("sqlite"):
            path = self.url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(path)) as connection:
                rows: list[Any] = []
                for statement in statements:
                    rows = connection.execute(statement).fetchall()
                connection.commit()
                return rows

        async def run() -> list[Any]:
            wire = await asyncpg.connect(self.url)
            try:
                found: list[Any] = []
                for statement in statements:
                    found = [tuple(row) for row in await wire.fetch(statement)]
                return found
            finally:
                await wire.close()

        return asyncio.run(run())

    def script(self, text: str) -> None:
        """Carry out a script as a DBA would."""
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as connection:
                connection.executescript(text)
            return
        subprocess.run(
            ["psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.url],
            input=text.encode(), check=True, capture_output=True,
        )  # fmt: skip

    def name(self, table: str) -> str:
        return f'"{self.namespace}_{table}"'


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path}/jobs.db", "tables")
        return
    url: str = request.getfixturevalue("postgres_url")
    namespace = f"tables{abs(hash(str(tmp_path))) % 10**8}"
    yield Place(url, namespace)
    drop(url, namespace)


def use(app: Treadle) -> None:
    """Enqueue a job and run it."""

    async def run() -> None:
        @app.task(name="add")
        async def add(a: int, b: int) -> int:
            return a + b

        async with app:
            job = await add.aenqueue(1, 2)
            async with app.foreman(burst=True) as foreman:
                await foreman.join()
            assert await job.aresult() == 3

    asyncio.run(run())


def test_they_are_made_once(place: Place) -> None:
    tables = place.tables
    assert asyncio.run(tables.verify()) == [
        f"there are no tables of the namespace '{place.namespace}'"
    ]
    with pytest.raises(SchemaMismatch, match="db install"):
        asyncio.run(tables.upgrade())
    assert asyncio.run(tables.install()) == Made(None, 1, 1)
    assert asyncio.run(tables.install()) == Made(1, 1, 1)
    assert asyncio.run(tables.upgrade()) == Made(1, 1, 1)
    assert list(asyncio.run(tables.verify())) == []
    use(place.app("?install=never"))


def test_without_permission_nothing_is_made(place: Place) -> None:
    with pytest.raises(SchemaMismatch, match="db install"):
        use(place.app("?install=never"))
    assert asyncio.run(place.tables.verify()) != []
    if place.url.startswith("sqlite"):
        assert not Path(place.url.removeprefix("sqlite:///")).exists()
    with pytest.raises(InvalidOption, match="auto or never"):
        place.app("?install=perhaps").core.backend()


def test_what_a_dba_has_carried_out_is_as_good(place: Place) -> None:
    place.script(place.tables.sql())
    assert list(asyncio.run(place.tables.verify())) == []
    use(place.app("?install=never" + ("&foreign=allow" if "sqlite" in place.url else "")))


def test_what_is_missing_is_named(place: Place) -> None:
    asyncio.run(place.tables.install())
    job, place_index = place.name("job"), place.name("job_place")
    place.run(
        f"DROP INDEX {place_index}",
        f"ALTER TABLE {job} DROP COLUMN holder",
        f"DROP TABLE {place.name('cell')}",
    )
    wrong = asyncio.run(place.tables.verify())
    assert set(wrong) >= {
        f"table {place.namespace}_cell is missing",
        f"table {place.namespace}_job lacks holder",
        f"index {place.namespace}_job_place is missing",
    }


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch, place: Place) -> Migration:
    """Code whose tables have a column more."""
    script = "ALTER TABLE treadle_session ADD COLUMN colour text"
    migration = Migration(version=2, min_reader=1, script=script)
    for module in (postgres, sqlite, sqlite_tables):
        monkeypatch.setattr(module, "VERSION", 2, raising=False)
        monkeypatch.setattr(module, "MIGRATIONS", (migration,), raising=False)
    return migration


def colour(place: Place) -> list[Any]:
    return place.run(f"SELECT colour FROM {place.name('session')}")


def test_old_tables_are_brought_up_by_the_first_use(place: Place, request: Any) -> None:
    asyncio.run(place.tables.install())
    request.getfixturevalue("next_version")
    assert "of version 1" in asyncio.run(place.tables.verify())[0]
    with pytest.raises(SchemaMismatch, match="db upgrade"):
        use(place.app("?install=never"))
    use(place.app())
    assert colour(place) == []
    assert asyncio.run(place.tables.upgrade()) == Made(2, 2, 1)
    assert list(asyncio.run(place.tables.verify())) == []


def test_old_tables_are_brought_up_by_hand(place: Place, request: Any) -> None:
    asyncio.run(place.tables.install())
    request.getfixturevalue("next_version")
    assert asyncio.run(place.tables.upgrade()) == Made(1, 2, 1)
    assert colour(place) == []


def test_old_tables_are_brought_up_by_a_dba(place: Place, request: Any) -> None:
    asyncio.run(place.tables.install())
    request.getfixturevalue("next_version")
    text = place.tables.sql(since=1)
    assert "CREATE TABLE" not in text
    place.script(text)
    assert colour(place) == []
    use(place.app("?install=never"))


def test_older_code_goes_on_as_long_as_it_may(place: Place) -> None:
    asyncio.run(place.tables.install())
    meta = place.name("meta")
    place.run(f"UPDATE {meta} SET value = 7 WHERE key = 'version'")
    use(place.app())
    assert asyncio.run(place.tables.upgrade()) == Made(7, 7, 1)
    place.run(f"UPDATE {meta} SET value = 7 WHERE key = 'min_reader'")
    for verb in (place.tables.install, place.tables.upgrade, place.tables.verify):
        with pytest.raises(SchemaMismatch, match="newer Treadle"):
            asyncio.run(verb())
    with pytest.raises(SchemaMismatch, match="newer Treadle"):
        use(place.app())


def test_what_has_no_tables_says_so() -> None:
    for url in ("memory://", "redis://host", "amqp://host"):
        with pytest.raises(Unsupported, match="nothing to install"):
            backends.tables(url)
    with pytest.raises(InvalidOption, match="no backend"):
        backends.tables("mongodb://host")
    with pytest.raises(Unsupported, match="no roles"):
        backends.tables("sqlite:///jobs.db").sql(role="app")


def test_an_outline_has_every_name() -> None:
    made = outline(sqlite_statements.schema("treadle"))
    assert {"seq", "id", "queue", "failed_task"} <= made.tables["treadle_job"]
    assert made.tables["treadle_body"] == {"seq", "spec"}
    assert "treadle_job_place" in made.indexes
    script = """CREATE TABLE "a" (x numeric(10, 2) NOT NULL, -- y bigint,
      z text DEFAULT ('('), PRIMARY KEY (x, z));
      CREATE SEQUENCE "s"; CREATE OR REPLACE FUNCTION "f"(a int) RETURNS int AS $$ SELECT 1 $$"""
    made = outline([script])
    assert made.tables == {"a": frozenset({"x", "z"})}
    assert (made.sequences, made.functions) == ({"s"}, {"f"})
