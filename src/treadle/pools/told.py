"""What running code says of how far it is, and those who listen."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from treadle.errors import Blocking
from treadle.loopthread import may_block

if TYPE_CHECKING:
    from treadle.pools.future import Future

__all__ = ["Progress", "afollow", "follow"]


class Progress(msgspec.Struct, frozen=True):
    """The last word of a task on how far it is."""

    current: float
    total: float | None = None
    message: str = ""

    @property
    def fraction(self) -> float | None:
        """From 0 to 1, when the total is known."""
        if not self.total:
            return None
        return min(1.0, max(0.0, self.current / self.total))


async def afollow(future: Future[Any]) -> AsyncIterator[Progress]:
    """What the code of a call says, until it has ended."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def tell(_: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody listens
            loop.call_soon_threadsafe(changed.set)

    with _listening(future, tell):
        last: Progress | None = None
        while True:
            changed.clear()
            over, said = future.done(), future.said
            if said is not None and said is not last:
                last = said
                yield said
            elif over:
                return
            else:
                await changed.wait()


def follow(future: Future[Any]) -> Iterator[Progress]:
    """The same for plain code.

    Raises:
        Blocking: it has not ended, and an event loop runs here.
    """
    changed = threading.Event()
    with _listening(future, lambda _: changed.set()):
        last: Progress | None = None
        while True:
            changed.clear()
            over, said = future.done(), future.said
            if said is not None and said is not last:
                last = said
                yield said
            elif over:
                return
            elif not may_block():
                raise Blocking(
                    "the call has not ended, and following it would block the event loop that "
                    "runs here; use 'async for … in future.aprogress()'",
                    twin="aprogress",
                )
            else:
                changed.wait()


@contextlib.contextmanager
def _listening(future: Future[Any], tell: Callable[[Any], None]) -> Iterator[None]:
    future.listen(tell)
    future.add_done_callback(tell)
    try:
        yield
    finally:
        future.forget_callback(tell)
        future.unlisten(tell)
