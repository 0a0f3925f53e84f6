"""A call of a job on its way to another process, and those processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from treadle.pools.places.place import Place
from treadle.pools.punctual import Begun
from treadle.pools.sites.account import compact
from treadle.pools.sites.site import Call, Channel
from treadle.pools.submission import Kind, Submission
from treadle.records import Note

__all__ = ["HostPlace", "JobCall"]

_SAID: msgspec.msgpack.Decoder[Note | bool] = msgspec.msgpack.Decoder(Note | bool)


class HostPlace(Place, Protocol):
    """A place in another process."""

    def tell_stopping(self) -> None:
        """Have code that asks know that it should find a good place to end."""
        ...


P = TypeVar("P", bound=HostPlace)


class JobCall(Submission, Generic[P]):
    """A call whose code tells of itself meanwhile.

    Args:
        call: itself.
        channel: hears what its code says.
    """

    __slots__ = (
        "_begins",
        "alone",
        "apart",
        "at",
        "begun",
        "channel",
        "loop",
        "taught",
        "task",
        "told",
        "watched",
    )

    def __init__(self, call: Call, channel: Channel) -> None:
        self._begins = Begun()
        super().__init__(Kind.METHOD, "run", (compact(call),), future=self._begins)
        self.task = call.name
        self.alone = call.alone
        # Nothing is given to its process before it has ended.
        self.apart = call.alone
        self.channel = channel
        self.loop = asyncio.get_running_loop()
        # The process that it was given to; and whether that was told of the task for it.
        self.at: P | None = None
        self.taught = False
        self.watched = False
        self.begun = False
        # Ends when its call has, or when it should look for a process itself.
        self.told: asyncio.Future[None] = self.loop.create_future()

    def next(self) -> None:
        """Nothing is before it any more: its channel is told when its code begins.

        That may be later, when its process has to be started again; or it is told now, where it
        has to be known before.
        """
        if self.alone:
            self._has_begun()
            return
        self._begins.when_begun(partial(self.in_loop, self._has_begun))

    def in_loop(self, act: Callable[..., None], *args: Any) -> None:
        """Have something done in the loop of who waits for it: at once, or as soon as it can."""
        if asyncio._get_running_loop() is self.loop:
            act(*args)
            return
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self.loop.call_soon_threadsafe(act, *args)

    def _has_begun(self) -> None:
        if not self.begun:
            self.begun = True
            self.channel.started()

    def tell(self) -> None:
        """Wake who waits for it. In the loop."""
        if not self.told.done():
            self.told.set_result(None)

    async def end(self) -> None:
        """Return when its call has ended, in whatever way. It has a process."""
        while not self.future.done():
            await self.word()

    async def word(self) -> None:
        """Return when its call may have ended, or have no process any more."""
        if self.told.done():
            self.told = self.loop.create_future()
        await self.told

    def said(self, body: bytes) -> None:
        """Hear what its code says."""
        word = _SAID.decode(body)
        if isinstance(word, bool):
            # At once: what it is about is on its way to the store.
            self.channel.committing(word)
            return
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody listens
            self.loop.call_soon_threadsafe(self.channel.note, word)

    @property
    def is_unknown(self) -> bool:
        """Whether it has ended because nobody has told its process what it is."""
        return self.future.failure is None and self.future.result() is None
