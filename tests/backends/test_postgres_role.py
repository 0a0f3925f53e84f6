"""A role that owns nothing, with what ``treadle db sql`` grants: what it has, and has not."""

from __future__ import annotations

import asyncio
import os

import asyncpg
import pytest

from tests.backends.postgres_role import its_namespace, its_url, namespace, role, run
from tests.backends.postgres_support import drop
from tests.servers import postgres_url
from treadle import Treadle, backends
from treadle.backends.postgres import connect
from treadle.backends.postgres.statements import prefix_of
from treadle.errors import BackendReadOnly
from treadle.records import SessionInfo

__all__ = ["its_namespace", "its_url", "namespace", "postgres_url", "role"]


def test_it_owns_nothing_and_finds_nothing_missing(
    postgres_url: str, its_url: str, role: str, namespace: str
) -> None:
    owned = run(
        postgres_url,
        f"SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner "
        f"WHERE r.rolname = '{role}'",
    )
    assert owned == [0]
    tables = backends.tables(its_url, namespace=namespace)
    assert list(asyncio.run(tables.verify())) == []
    meta = prefix_of(namespace) + "_meta"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        run(its_url.partition("?")[0], f"UPDATE {meta} SET value = 0")


def test_what_it_may_not_do_is_said(postgres_url: str, its_url: str) -> None:
    elsewhere = f"other{os.getpid()}"
    asyncio.run(backends.tables(postgres_url, namespace=elsewhere).install())
    try:
        wrong = asyncio.run(backends.tables(its_url, namespace=elsewhere).verify())
        assert f"this user may not SELECT on {elsewhere}_meta" in wrong
        assert f"this user may not INSERT on {elsewhere}_job" in wrong
        with pytest.raises(BackendReadOnly, match="permission denied"):
            asyncio.run(backends.tables(its_url, namespace=elsewhere).install())
    finally:
        drop(postgres_url, elsewhere)


@pytest.mark.parametrize(
    ("granted", "says"),
    [
        (False, "that this user may use; they are in schema {0}: GRANT USAGE ON SCHEMA {0}"),
        (True, "in the search_path of this user; schema {0} has some"),
    ],
)
def test_tables_that_it_does_not_find_are_named(
    postgres_url: str, its_url: str, role: str, granted: bool, says: str
) -> None:
    hidden = f"hidden{os.getpid()}"
    run(postgres_url, f"CREATE SCHEMA {hidden}")
    try:
        run(postgres_url, f"CREATE TABLE {hidden}.{prefix_of(hidden)}_meta (a int)")
        if granted:
            run(postgres_url, f'GRANT USAGE ON SCHEMA {hidden} TO "{role}"')
        wrong = asyncio.run(backends.tables(its_url, namespace=hidden).verify())
        assert list(wrong) == [
            f"there are no tables of the namespace {hidden!r} " + says.format(hidden)
        ]
    finally:
        run(postgres_url, f"DROP SCHEMA {hidden} CASCADE")


async def test_an_app_of_it_runs_jobs(its_url: str, namespace: str) -> None:
    app = Treadle(its_url, namespace=namespace)

    @app.task(name="add", key="k", unique=True, retry=1)
    async def add(a: int, b: int) -> int:
        return a + b

    async with app:
        jobs = [await add.aenqueue(n, 1) for n in range(3)]
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
        assert [await job.aresult() for job in jobs] == [1, 2, 3]


async def test_it_comes_back_after_an_outage(
    postgres_url: str, its_url: str, namespace: str
) -> None:
    """Where nobody was present for a while, something is written down before anybody is."""
    for name in ("one", "two"):
        backend = connect(its_url, namespace=namespace)
        try:
            session = await backend.open_session(SessionInfo(name=name))
            sessions = prefix_of(namespace) + "_session"
            await asyncio.to_thread(
                run, postgres_url, f"UPDATE {sessions} SET until = until - 1000"
            )
            assert await backend.extend(session, (), 30.0) == []
        finally:
            await backend.aclose()
            backend.close()
