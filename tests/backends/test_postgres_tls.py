"""PostgreSQL over TLS: a server that shows who it is, and takes nobody without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import own
from treadle import Treadle
from treadle.backends.postgres import connect
from treadle.backends.postgres.link import Work
from treadle.errors import BackendUnavailable
from treadle.testing.servers import PostgresServer, make_certificates


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with own(PostgresServer(tls=True).start) as server:
        yield server


def authority(server: PostgresServer) -> Path:
    assert server.certificates is not None
    return server.certificates.authority


async def refusal(url: str) -> str:
    """What is said of a store when it is opened, without asking again and again."""
    backend = connect(f"{url}&patience=300")
    with pytest.raises(BackendUnavailable) as caught:
        await backend.open()
    await backend.aclose()
    backend.close()
    return str(caught.value)


@pytest.mark.parametrize("prepared", ["on", "off"])
async def test_a_server_that_is_known(server: PostgresServer, prepared: str) -> None:
    options = f"sslmode=verify-full&sslrootcert={authority(server)}&prepared={prepared}"
    async with Treadle(f"{server.url}?{options}") as app:

        @app.task(name="double")
        async def double(number: int) -> int:
            return 2 * number

        async with app.foreman():
            assert await (await double.aenqueue(21)).aresult(timeout=30) == 42
    backend = connect(f"{server.url}?{options}")
    await backend.open()
    encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert await backend._store.link.do(Work(lambda wire: wire.fetchval(encrypted)))
    await backend.aclose()
    backend.close()


async def test_a_server_of_an_authority_that_is_not_trusted(
    server: PostgresServer, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path).authority
    said = await refusal(f"{server.url}?sslmode=verify-full&sslrootcert={other}")
    assert "shows a certificate that is not trusted" in said
    assert "?sslrootcert=… names the file of the authority to trust" in said


async def test_a_server_under_another_name(server: PostgresServer) -> None:
    """The certificate is for 127.0.0.1 and localhost."""
    url = server.url.replace("127.0.0.1", "127.1")
    said = await refusal(f"{url}?sslmode=verify-full&sslrootcert={authority(server)}")
    assert "shows a certificate that is not trusted" in said
    async with Treadle(f"{url}?sslmode=verify-ca&sslrootcert={authority(server)}"):
        pass


async def test_encrypted_and_unchecked(server: PostgresServer) -> None:
    async with Treadle(f"{server.url}?sslmode=require"):
        pass


async def test_a_client_without_tls_is_refused(server: PostgresServer) -> None:
    said = await refusal(f"{server.url}?sslmode=disable")
    assert "no pg_hba.conf entry" in said
    assert "no encryption" in said
