"""Connections to PostgreSQL that end while they are used."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.servers import postgres_url
from treadle.backends.postgres import connect
from treadle.backends.postgres.client import Wire
from treadle.backends.postgres.link import Work
from treadle.errors import BackendUnavailable

__all__ = ["postgres_url"]


def _given_up(wire: Wire) -> None:
    """Let the server have said that it closes the connection, and not have closed it yet."""
    fields = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"
    protocol: Any = wire._protocol  # type: ignore[attr-defined]
    protocol.data_received(b"E" + struct.pack(">I", 4 + len(fields)) + fields)


@pytest.mark.parametrize("again", [True, False])
async def test_what_meets_a_connection_half_closed_is_done_on_another(
    postgres_url: str, again: bool
) -> None:
    backend = connect(postgres_url, namespace="link")
    asked: list[int] = []

    async def ask(wire: Wire) -> int:
        asked.append(wire.get_server_pid())
        if len(asked) == 1:
            _given_up(wire)
        return int(await wire.fetchval("SELECT 7"))

    link = backend._store.link
    try:
        if again:
            assert await link.do(Work(ask)) == 7
            assert len(set(asked)) == 2
        else:
            with pytest.raises(BackendUnavailable):
                await link.do(Work(ask, again=False))
            assert len(asked) == 1
        assert await link.do(Work(ask)) == 7
    finally:
        await backend.aclose()
        backend.close()
