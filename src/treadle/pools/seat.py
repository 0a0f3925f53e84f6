"""What the code of a call in another process can say of itself, and what it can be told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Interrupted", "Seat", "here", "loop_aside", "seat_of"]


class Interrupted(BaseException):
    """Raised in plain code that has to end."""


class Seat(Protocol):
    """One call, as its own code sees it."""

    @property
    def stopping(self) -> bool:
        """Long work should find a good place to end."""
        ...

    @property
    def ending(self) -> BaseException | None:
        """Why the call has to end, once it has to."""
        ...

    def say(self, body: bytes) -> None:
        """Tell who waits for the call."""
        ...

    def plain_code(self) -> AbstractContextManager[None]:
        """A block in a coroutine in which its loop does not run."""
        ...


_seat: Callable[[], Seat] | None = None


def seat_of(find: Callable[[], Seat]) -> None:
    """Have :func:`here` ask this, in this process from now on."""
    global _seat
    _seat = find


def here() -> Seat:
    """The call that this code runs in."""
    assert _seat is not None, "this is no process of a place"
    return _seat()


@contextmanager
def loop_aside() -> Iterator[None]:
    """A block of plain code in a coroutine that owns its loop: there it may block, and run others.

    Whoever asks finds no running loop, as in plain code anywhere else.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    assert task is not None, "a coroutine runs in a task"
    # What a loop does around each step; one that is run inside would refuse to begin otherwise.
    asyncio.tasks._leave_task(loop, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        asyncio.tasks._enter_task(loop, task)
