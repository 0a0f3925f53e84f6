"""What a ``postgresql://`` URL may say; what the driver would not understand is refused at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import own, postgres_url
from treadle.backends.postgres import connect
from treadle.backends.postgres.address import parse
from treadle.errors import BackendUnavailable, InvalidOption, UnknownOption
from treadle.testing.servers import PostgresServer

__all__ = ["postgres_url"]


@pytest.mark.parametrize(
    ("query", "option", "says"),
    [
        ("sslmode=yes", "sslmode", "'yes' cannot work: use disable or allow or .* or verify-full"),
        ("sslmode=", "sslmode", "verify-full"),
        ("sslnegotiation=tls", "sslnegotiation", "postgres or direct"),
        ("ssl_min_protocol_version=1.2", "ssl_min_protocol_version", "TLSv1.2 or"),
        ("sslrootcert=/nowhere.pem", "sslrootcert", "a file that can be read"),
        ("sslcert=/nowhere.pem", "sslcert", "a file that can be read"),
        ("sslkey=/nowhere.pem", "sslkey", "a file that can be read"),
        ("sslcrl=/nowhere.pem", "sslcrl", "a file that can be read"),
        ("passfile=/nowhere", "passfile", "a file that can be read"),
        ("port=abc", "port", "a number, such as 5432"),
        ("port=70000", "port", "a number, such as 5432"),
        ("host=other", "host", "it or 'db' before the"),
        ("user=ann", "user", "it or 'bob' before the"),
        ("database=other", "database", "it or 'shop' before the"),
        ("dbname=other", "dbname", "it or 'shop' before the"),
    ],
)
def test_a_parameter_that_cannot_be(query: str, option: str, says: str) -> None:
    with pytest.raises(InvalidOption, match=f"{option}=.*{says}") as caught:
        parse(f"postgresql://bob@db/shop?{query}")
    assert caught.value.option == option


@pytest.mark.parametrize(("name", "near"), [("ssl", "sslkey"), ("sslmod", "sslmode")])
def test_one_that_does_not_exist(name: str, near: str) -> None:
    with pytest.raises(UnknownOption, match=f"no option '{name}' .did you mean '{near}'"):
        parse(f"postgresql://db/shop?{name}=true")


def test_what_the_driver_knows_is_passed_on(tmp_path: Path) -> None:
    file = tmp_path / "authority.pem"
    file.touch()
    url = f"postgresql:///?host=db&port=5433&dbname=shop&sslmode=verify-full&sslrootcert={file}"
    dsn = parse(f"{url}&connections=3").dsn
    for part in ("host=db", "port=5433", "dbname=shop", "sslmode=verify-full", "authority.pem"):
        assert part in dsn
    assert "connections" not in dsn


async def refusal(url: str) -> str:
    """What is said of a store when it is opened, without asking again and again."""
    backend = connect(f"{url}&patience=300")
    with pytest.raises(BackendUnavailable) as caught:
        await backend.open()
    await backend.aclose()
    backend.close()
    return str(caught.value)


async def test_a_server_without_tls() -> None:
    with own(PostgresServer(config={"ssl": "off"}).start) as server:
        said = await refusal(f"{server.url}?sslmode=require")
    assert "does not speak TLS, and the url asks for it: ALTER SYSTEM SET ssl = on" in said


async def test_no_authority_to_check_by(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    said = await refusal(f"{postgres_url}?sslmode=verify-full")
    assert "cannot be reached as the url says: root certificate file" in said
    assert "\n" not in said
