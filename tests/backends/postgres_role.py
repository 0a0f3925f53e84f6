"""A role that may use tables which somebody else has made, and nothing else."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.backends.postgres_support import drop, empty
from treadle import backends

__all__ = ["its_namespace", "its_url", "namespace", "role", "run"]

PASSWORD = "not a secret"


def run(url: str, *statements: str) -> list[Any]:
    """The first column of the last statement."""

    async def carried_out() -> list[Any]:
        wire = await asyncpg.connect(url)
        try:
            rows: list[Any] = []
            for statement in statements:
                rows = [row[0] for row in await wire.fetch(statement)]
            return rows
        finally:
            await wire.close()

    return asyncio.run(carried_out())


@pytest.fixture(scope="module")
def role(postgres_url: str) -> Iterator[str]:
    """A role that may log in, and nothing else."""
    name = f"Treadle app {os.getpid()}"
    run(
        postgres_url,
        f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{PASSWORD}'",
        # Nobody turns off the machine in the middle of a test.
        f'ALTER ROLE "{name}" SET synchronous_commit = off',
    )
    yield name
    run(postgres_url, f'DROP ROLE "{name}"')


@pytest.fixture(scope="module")
def its_namespace(postgres_url: str, role: str) -> Iterator[str]:
    """Tables that a DBA has made for the role, by what the command printed."""
    namespace = f"role{os.getpid()}"
    script = backends.tables(postgres_url, namespace=namespace).sql(role=role)
    subprocess.run(
        ["psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", postgres_url],
        input=script.encode(), check=True, capture_output=True,
    )  # fmt: skip
    yield namespace
    drop(postgres_url, namespace)


@pytest.fixture(scope="module")
def its_url(postgres_url: str, role: str) -> str:
    """The same database, as the role."""
    parts = urlsplit(postgres_url)
    host = parts.netloc.rpartition("@")[2]
    user = f"{role}:{PASSWORD}".replace(" ", "%20")
    return urlunsplit(parts._replace(netloc=f"{user}@{host}")) + "?install=never"


@pytest.fixture
def namespace(postgres_url: str, its_namespace: str) -> str:
    """Its tables, empty."""
    empty(postgres_url, its_namespace)
    return its_namespace
