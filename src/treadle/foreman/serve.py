"""A foreman as the purpose of a process: signals, exit status."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from treadle.foreman.foreman import Foreman
from treadle.foreman.signals import heard

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["RECYCLED", "serve"]

RECYCLED = 64 + 12
"""Exit status of a child that has lived long enough and wants to be replaced."""


async def serve(
    core: Core,
    *,
    opened: Callable[[Foreman, asyncio.AbstractEventLoop], None] | None = None,
    **options: Any,
) -> int:
    """Run a foreman until a signal, ``Quit``, or with ``burst`` until nothing is left.

    The first SIGTERM or SIGINT stops it in good order, a second one leaves at once, also
    while something blocks the event loop.

    Args:
        core: of the app.
        opened: called when it is up, with its event loop.
        options: of :class:`~treadle.foreman.foreman.Foreman`.

    Returns:
        The exit status: 0, 75 after ``Quit``, :data:`RECYCLED`.
    """
    foreman = Foreman(core, **options)
    loop = asyncio.get_running_loop()
    with heard(loop, _stopper(foreman, loop)):
        async with foreman:
            if opened is not None:
                opened(foreman, loop)
            await foreman.join()
    if foreman.exit_status == 0 and foreman.recycled is not None:
        return RECYCLED
    return foreman.exit_status


def _stopper(foreman: Foreman, loop: asyncio.AbstractEventLoop) -> Callable[[signal.Signals], None]:
    # Of the signal itself: a foreman that is stopping for a reason of its own gets its grace.
    asked = False

    def hear(number: signal.Signals) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        loop.call_soon_threadsafe(foreman.ask_to_stop)

    return hear
