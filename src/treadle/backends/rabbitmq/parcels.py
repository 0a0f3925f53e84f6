"""Messages that are handed to a channel in one piece, each with a confirmation of its own.

The driver's publish takes a lock, a timer and a turn of the loop for each message. This is the same
for many: what it writes down of each, so that confirmations and messages that come back find who
waits, and one write for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache, partial
from typing import Any, Protocol

import msgspec
from aiormq.abc import ChannelFrame
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from treadle.backends.rabbitmq.layout import Line

__all__ = ["Confirming", "Parcel", "batches", "hand_over"]

_TYPE = "application/vnd.treadle.job+msgpack"
_MOST = 250
_MOST_BYTES = 1 << 20
"""Of one write, so that others who publish come between."""


class Confirming(Protocol):
    """What is used of the driver's own channel, one that has publishes confirmed."""

    number: int
    max_content_size: int
    # Of the message that was written last.
    delivery_tag: int
    # Who waits for what becomes of a message, by its number.
    confirmations: dict[int, Any]
    # The number of a message by its id, for those that come back.
    message_id_delivery_tag: dict[str, int]
    write_queue: asyncio.Queue[Any]

    @property
    def lock(self) -> AbstractAsyncContextManager[None]: ...

    def create_future(self) -> asyncio.Future[Any]: ...


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """A message and where it goes."""

    body: bytes
    job_id: str
    exchange: str = ""
    key: str
    headers: dict[str, str] = {}
    # What must be there for it to arrive.
    line: Line | None = None
    pauses: list[int] = []
    # Told that there is something to claim.
    rings: Line | None = None


def batches(parcels: Sequence[Parcel], most: int) -> Iterator[list[Parcel]]:
    """The parcels in their order, as many at a time as one write takes, and at most so many."""
    most = min(most, _MOST)
    batch: list[Parcel] = []
    size = 0
    for parcel in parcels:
        if batch and (len(batch) >= most or size + len(parcel.body) > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(parcel)
        size += len(parcel.body)
    if batch:
        yield batch


async def hand_over(channel: Confirming, parcels: Sequence[Parcel]) -> list[asyncio.Future[Any]]:
    """Write all to the connection, or none; what each of them waits for.

    Confirmed, a future has a result. ``PublishError``: it came back, because there is no queue.
    """
    # Numbers are given in the order in which the server reads the messages.
    async with channel.lock:
        first = channel.delivery_tag + 1
        # The server sends back what it cannot deliver by this name.
        names = [parcel.job_id or f"{first + at}" for at, parcel in enumerate(parcels)]
        written = b"".join(
            _written(channel, parcel, name) for parcel, name in zip(parcels, names, strict=True)
        )
        waiting: list[asyncio.Future[Any]] = [channel.create_future() for _ in parcels]
        for at, (name, future) in enumerate(zip(names, waiting, strict=True)):
            channel.confirmations[first + at] = future
            channel.message_id_delivery_tag[name] = first + at
        channel.delivery_tag += len(parcels)
        try:
            await channel.write_queue.put(ChannelFrame(payload=written, should_close=False))
        except BaseException:
            # The server has seen none of them, so it counts on from where it was.
            channel.delivery_tag = first - 1
            for at, name in enumerate(names):
                channel.confirmations.pop(first + at, None)
                _forget(channel, name, first + at)
            for future in waiting:
                future.cancel()
            raise
    for at, (name, future) in enumerate(zip(names, waiting, strict=True)):
        future.add_done_callback(partial(_forget, channel, name, first + at))
    return waiting


def _forget(channel: Confirming, name: str, tag: int, _: object = None) -> None:
    if channel.message_id_delivery_tag.get(name) == tag:
        del channel.message_id_delivery_tag[name]


def _written(channel: Confirming, parcel: Parcel, name: str) -> bytes:
    number, body, most = channel.number, parcel.body, channel.max_content_size
    properties = Basic.Properties(
        content_type=_TYPE,
        delivery_mode=2,
        message_id=name,
        headers=dict(parcel.headers) or None,
    )
    header = ContentHeader(properties=properties, body_size=len(body))
    pieces = [ContentBody(body[start : start + most]) for start in range(0, len(body), most)]
    written = [_publish(number, parcel.exchange, parcel.key), frame.marshal(header, number)]
    return b"".join(written + [frame.marshal(piece, number) for piece in pieces])


@lru_cache(maxsize=1024)
def _publish(number: int, exchange: str, key: str) -> bytes:
    """The first frame of a message, the same for all that go one way."""
    return frame.marshal(Basic.Publish(exchange=exchange, routing_key=key, mandatory=True), number)
