"""procrastinate over PostgreSQL: rows of jobs are kept, results are not a thing it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from measuring import URL, Client, stamp
from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=URL), import_paths=["with_procrastinate"])


@app.task(name="job")
async def job(number: int, text: str) -> None:
    stamp()


class _Procrastinate(Client):
    worker = ("-m", "procrastinate", "--app", "with_procrastinate.app", "worker")
    bulk, results = True, False

    async def prepare(self) -> None:
        await app.open_async()
        await app.schema_manager.apply_schema_async()

    async def enqueue(self, number: int, text: str) -> Any:
        return await job.defer_async(number=number, text=text)

    async def many(self, numbers: Sequence[int], text: str) -> None:
        await job.batch_defer_async(*[{"number": number, "text": text} for number in numbers])

    async def close(self) -> None:
        await app.close_async()


CLIENT = _Procrastinate()
