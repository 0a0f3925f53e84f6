"""Hearing the events of several backends as those of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from treadle.errors import TreadleError
from treadle.events import Event
from treadle.logs import get_logger

__all__ = ["merged"]

_log = get_logger("treadle.routed")


async def merged(sources: Sequence[AsyncIterator[Event]]) -> AsyncIterator[Event]:
    """The events of all sources. One that fails is heard no more; the others are."""
    heard: asyncio.Queue[Event] = asyncio.Queue()

    async def pump(source: AsyncIterator[Event]) -> None:
        try:
            async for event in source:
                heard.put_nowait(event)
        except (TreadleError, OSError) as error:
            _log.warning("part.not_heard", error=str(error))

    pumps = [asyncio.ensure_future(pump(one)) for one in sources]
    try:
        while True:
            yield await heard.get()
    finally:
        for one in pumps:
            one.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
