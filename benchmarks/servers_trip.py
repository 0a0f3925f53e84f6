"""What bounds one trip over Redis: its messages, from process to process, and nothing else.

A push that tells a sleeping worker, a claim, a settle that tells who waits, by bare redis-py with
hiredis. There are three scripts of a few commands: no lease that lapses, no retry, no queue but
one, no look at what may have been missed, and one job at a time is all that it can do.

``python -m benchmarks.servers_trip URL`` is the worker.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

__all__ = ["redis_trips"]

_PAYLOAD = b"x" * 60
_NAME = 36
_PUSH = """
redis.call('SET', 'j:' .. ARGV[1], ARGV[2])
redis.call('ZADD', 'floor', ARGV[3], ARGV[1])
if redis.call('DEL', 'idle') == 1 then redis.call('PUBLISH', 'wake', '1') end
return 1
"""
_CLAIM = """
local id = redis.call('ZRANGE', 'floor', 0, 0)[1]
redis.call('SET', 'idle', 1)
if not id then return {} end
redis.call('ZREM', 'floor', id)
redis.call('ZADD', 'leased', redis.call('TIME')[1] + 30, id)
return { id, redis.call('GET', 'j:' .. id) }
"""
_SETTLE = """
redis.call('ZREM', 'leased', ARGV[1])
redis.call('SET', 'j:' .. ARGV[1], ARGV[2])
redis.call('PUBLISH', 'ended', ARGV[1] .. ARGV[2])
return 1
"""


def redis_trips(url: str, count: int) -> list[list[float]]:
    """Milliseconds to the start and to the result of each, beside a worker process."""
    line = [sys.executable, "-m", "benchmarks.servers_trip", url]
    worker = subprocess.Popen(line, cwd=Path(__file__).parent.parent)
    try:
        return asyncio.run(_called(url, count))
    finally:
        worker.terminate()
        worker.wait()


async def _called(url: str, count: int) -> list[list[float]]:
    starts: list[float] = []
    ends: list[float] = []
    client: Any = Redis.from_url(url)
    ear = await _ear(client, "ended")
    push = await client.script_load(_PUSH)
    for number in range(-1, count):
        began = time.perf_counter()
        await client.evalsha(push, 0, f"{number:0{_NAME}}", _PAYLOAD, number)
        _, _, said = await ear.parse_response()
        if number >= 0:  # the first has waited for the worker to come
            ends.append((time.perf_counter() - began) * 1000)
            starts.append((float(said[_NAME:]) - began) * 1000)
    await ear.aclose()
    await client.aclose()
    return [starts, ends]


async def _work(url: str) -> None:
    client: Any = Redis.from_url(url)
    ear = await _ear(client, "wake")
    claim, settle = await client.script_load(_CLAIM), await client.script_load(_SETTLE)
    while True:
        if job := await client.evalsha(claim, 0):
            await client.evalsha(settle, 0, job[0], repr(time.perf_counter()))
        else:
            await ear.parse_response()


async def _ear(client: Any, channel: str) -> Any:
    ear = client.pubsub()
    await ear.subscribe(channel)
    await ear.parse_response()
    return ear


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
