"""repid over Redis streams: it has no results, and its worker is a program of the user."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from measuring import URL, Client, stamp
from repid import RedisServer, Repid, Router

app = Repid()
app.servers.register_server("default", RedisServer(URL), is_default=True)
router = Router()


@router.actor
async def job(number: int, text: str) -> None:
    stamp()


app.include_router(router)


class _Repid(Client):
    worker = ("with_repid.py",)
    results = False
    open: AsyncExitStack

    async def prepare(self) -> None:
        self.open = AsyncExitStack()
        await self.open.enter_async_context(app.servers.default.connection())

    async def enqueue(self, number: int, text: str) -> Any:
        await app.send_message_json(
            channel="default", payload={"number": number, "text": text}, headers={"topic": "job"}
        )

    async def close(self) -> None:
        await self.open.aclose()


CLIENT = _Repid()


async def _serve() -> None:
    async with app.servers.default.connection():
        await app.run_worker()


if __name__ == "__main__":
    asyncio.run(_serve())
