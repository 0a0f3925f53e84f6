"""Namespaces of a RabbitMQ server that are removed again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import aiormq
from aiormq.exceptions import AMQPError

from treadle.backends.rabbitmq.layout import BITS, IdNames, Names
from treadle.ids import SystemIds

__all__ = ["exists", "forget", "namespace", "unused", "without"]

_C = TypeVar("_C", bound=type)


def without(*names: str) -> Callable[[_C], _C]:
    """Leave out some cases of a class, which must be there."""

    def mark(suite: _C) -> _C:
        for name in names:
            assert callable(getattr(suite, name))
            setattr(suite, name, None)
        return suite

    return mark


def unused() -> str:
    """A namespace that nobody else has."""
    return f"test-{SystemIds().new()}"


async def _lines(channel: aiormq.abc.AbstractChannel, names: Names) -> set[bytes]:
    words: set[bytes] = set()
    with suppress(AMQPError, RuntimeError):
        while True:
            message = await channel.basic_get(names.names, no_ack=True, timeout=10)
            if not isinstance(message.delivery, aiormq.spec.Basic.GetOk):
                break
            words.add(bytes(message.body))
    return words


async def exists(url: str, queue: str) -> bool:
    """Whether there is a queue of that name."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        await channel.queue_declare(queue, passive=True)
    except AMQPError:
        return False
    finally:
        await connection.close()
    return True


async def forget(url: str, *namespaces: str) -> None:
    """Delete all that was made for namespaces."""
    connection = await aiormq.connect(url)
    try:
        for names in [made for one in namespaces for made in (Names(one, 0), IdNames(one))]:
            channel = await connection.channel()
            await _delete(connection, names, await _lines(channel, names))
    finally:
        await connection.close()


async def _delete(
    connection: aiormq.abc.AbstractConnection, names: Names, words: set[bytes]
) -> None:
    channel = await connection.channel()
    lines = [f"{names.prefix}q/{word.decode()}" for word in words if word]
    waits = [names.wait(level) for level in range(BITS)]
    for queue in [*lines, *waits, names.dead, names.names]:
        await channel.queue_delete(queue, nowait=True)
    steps = [names.step(level) for level in range(-1, BITS)]
    for exchange in [*steps, names.bell, names.events]:
        await channel.exchange_delete(exchange, nowait=True)
    # Carried out after all that.
    await channel.basic_qos(prefetch_count=1)


@asynccontextmanager
async def namespace(url: str) -> AsyncIterator[str]:
    """A namespace of one's own for a block."""
    name = unused()
    try:
        yield name
    finally:
        await forget(url, name)
