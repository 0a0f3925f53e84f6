"""Connections to PostgreSQL that end while they are used, or whose user is cancelled."""

from __future__ import annotations

import asyncio
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


async def test_who_is_cancelled_leaves_his_connection_to_the_next(postgres_url: str) -> None:
    """A statement that is under way is carried out, and costs nobody a connection."""
    backend = connect(f"{postgres_url}?connections=1", namespace="link")
    link = backend._store.link
    used: list[int] = []
    began = asyncio.Event()

    async def ask(wire: Wire) -> None:
        used.append(wire.get_server_pid())
        began.set()
        await wire.execute("SELECT pg_sleep(0.05)")

    try:
        for _ in range(3):
            began.clear()
            task = asyncio.ensure_future(link.do(Work(ask)))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await link.do(Work(ask))
        assert len(used) == 4
        assert len(set(used)) == 1
    finally:
        await backend.aclose()
        backend.close()
