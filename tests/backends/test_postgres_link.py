"""Connections to PostgreSQL that end while they are used."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from tests.servers import postgres_url
from treadle.backends.postgres import connect
from treadle.backends.postgres.client import Wire
from treadle.backends.postgres.link import Work
from treadle.backends.postgres.notices import Notices
from treadle.backends.postgres.wake import Notice
from treadle.clock import SystemClock
from treadle.errors import BackendUnavailable
from treadle.testing import eventually

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


@pytest.mark.parametrize("how", ["closed", "terminated"])
async def test_nothing_is_told_any_more_once_it_is_closed(how: str) -> None:
    """Or a task would be left in the loop, and a connection be made that nobody closes."""
    told: list[Notice] = []
    release = asyncio.Event()

    async def send(notice: Notice) -> None:
        told.append(notice)
        await release.wait()

    notices = Notices(send, SystemClock())
    notices.tell(Notice(ready=("one",)))
    notices.tell(Notice(ready=("two",)))
    await eventually(lambda: len(told) == 1)
    if how == "closed":
        release.set()
        await notices.aclose()
    else:
        notices.terminate()
    notices.tell(Notice(ready=("three",)))
    # The first at once, the second with the end if there is time for one, the third never.
    assert [notice.ready for notice in told] == [("one",), ("two",)][: 2 if how == "closed" else 1]
