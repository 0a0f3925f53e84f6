"""A foreman whose jobs each write one row in their transaction; it may be told where to die.

``KILL_AT`` is the number of a statement of such a transaction, from 1, at whose beginning the
process that runs the job gets SIGKILL. Without, it says how many there were, in a file.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from treadle import CONTEXT, Context, Retry, Treadle, backoff
from treadle.foreman.serve import serve

URL = "TRANSACTIONS_URL"
KILL_AT = "KILL_AT"
COUNTED = "COUNTED"
NAMESPACE = "TRANSACTIONS_NAMESPACE"
LEASE = 6.0

app = Treadle(os.environ.get(URL, "memory://"), namespace=os.environ.get(NAMESPACE, "treadle"))
OPTIONS: Any = {
    "keep": None,
    "max_crashes": 1000,
    "retry": Retry(1000, backoff=backoff.fixed(0, jitter=False)),
}


def write(connection: Any, ctx: Context) -> None:
    """One row; with it every statement of the transaction is counted."""
    passed = 0
    at = int(os.environ.get(KILL_AT, "0"))

    def traced(_: str) -> None:
        nonlocal passed
        passed += 1
        if passed == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if COUNTED in os.environ:
            Path(os.environ[COUNTED]).write_text(str(passed))

    if hasattr(connection, "set_trace_callback"):
        connection.set_trace_callback(traced)
        connection.execute("INSERT INTO rows (job) VALUES (?)", (ctx.job_id,))
    else:
        connection.execute(f'INSERT INTO "{app.core.namespace}_rows" VALUES (%s)', (ctx.job_id,))


@app.task(name="follow", keep=None)
async def follow(job: str) -> str:
    return job


@app.task(name="asyncio", **OPTIONS)
async def in_loop(ctx: Context = CONTEXT) -> None:
    ctx.enqueue(follow, ctx.job_id)
    async with ctx.transaction() as connection:
        if hasattr(connection, "is_in_transaction"):
            table = f'"{app.core.namespace}_rows"'
            await connection.execute(f"INSERT INTO {table} VALUES ($1)", ctx.job_id)
        else:
            write(connection, ctx)


@app.task(name="thread", **OPTIONS)
def in_thread(ctx: Context = CONTEXT) -> None:
    ctx.enqueue(follow, ctx.job_id)
    with ctx.transaction() as connection:
        write(connection, ctx)


@app.task(name="process", mode="process", **OPTIONS)
def in_process(ctx: Context = CONTEXT) -> None:
    ctx.enqueue(follow, ctx.job_id)
    with ctx.transaction() as connection:
        write(connection, ctx)


async def run() -> int:
    """Serve until nothing is left."""
    options: dict[str, Any] = {"lease": LEASE, "suspect_every": 0.2, "concurrency": 2}
    try:
        return await serve(app.core, burst=True, **options)
    finally:
        await app.aclose()


def main() -> None:
    """The process."""
    raise SystemExit(asyncio.run(run()))
