"""What ``treadle doctor`` is told of a PostgreSQL server: what it gives, what it may lose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.backends.postgres_support import execute
from tests.servers import own
from treadle.backends.postgres import connect
from treadle.cli.checks import Finding
from treadle.testing.servers import PostgresServer


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with own(PostgresServer(fsync=True).start) as server:
        yield server


@pytest.fixture
def setting(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[None]:
    """A setting of the database, for what connects from now on."""
    name, value = request.param
    execute(server.url, f"ALTER DATABASE test SET {name} = {value}")
    yield
    execute(server.url, f"ALTER DATABASE test RESET {name}")


async def probed(
    server: PostgresServer, options: str = ""
) -> tuple[Mapping[str, Any], dict[str, tuple[str, str]]]:
    """The facts, and what is found by name."""
    backend = connect(server.url + options)
    try:
        await backend.open()
        facts = await backend.probe()
    finally:
        await backend.aclose()
        backend.close()
    found = [Finding(**one) for one in facts["findings"]]
    return facts, {one.check: (one.level, one.says) for one in found}


async def test_a_server_as_it_comes(server: PostgresServer) -> None:
    facts, found = await probed(server)
    assert facts["durability"] == "full"
    assert facts["may_lose"] == "nothing when the server is killed or loses power"
    assert facts["now"] > 1.7e9
    assert found["isolation"] == ("ok", "read committed")
    assert found["autovacuum"][0] == "ok"
    assert {level for level, _ in found.values()} == {"ok"}


@pytest.mark.parametrize("setting", [("synchronous_commit", "off")], indirect=True)
@pytest.mark.usefixtures("setting")
async def test_commits_that_do_not_wait_for_the_disk(server: PostgresServer) -> None:
    facts, _ = await probed(server)
    assert facts["durability"] == "normal"
    assert "the last moments when the server is killed" in facts["may_lose"]
    assert "synchronous_commit = on" in facts["advice"]


@pytest.mark.parametrize(
    "setting", [("default_transaction_isolation", "'serializable'")], indirect=True
)
@pytest.mark.usefixtures("setting")
async def test_another_isolation(server: PostgresServer) -> None:
    _, found = await probed(server)
    assert found["isolation"] == ("ok", "read committed")  # the store's connections say so
    # Behind a pooler they cannot.
    _, found = await probed(server, "?prepared=off")
    assert found["isolation"][0] == "warn"
    assert found["isolation"][1].startswith("serializable by default")


async def test_a_server_that_does_not_look_after_its_files() -> None:
    config = {"autovacuum": "off"}
    with own(PostgresServer(config=config).start) as server:
        facts, found = await probed(server)
    assert facts["durability"] == "memory"
    assert facts["may_lose"].startswith("everything when the machine loses power")
    assert facts["advice"] == "ALTER SYSTEM SET fsync = on"
    assert found["autovacuum"][0] == "warn"
    assert found["full_page_writes"][0] == "warn"
