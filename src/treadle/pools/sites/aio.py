"""Calls as coroutines on the caller's own event loop."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from treadle.pools.sites.site import Call, Channel, Ended, Program

__all__ = ["AsyncioSite"]


class AsyncioSite:
    """Runs a call where it is awaited, with nothing in between.

    A call is ended by cancelling the task that awaits it.
    """

    # What does not end when it is cancelled keeps the task that awaits it: see the foreman.
    abandoned = 0

    def __init__(self, program: Program) -> None:
        self._program = program

    def run(self, call: Call, channel: Channel) -> Awaitable[Ended]:
        """Run a call to its end."""
        channel.started()
        return self._program(call, channel, _invoke)

    async def aclose(self) -> None:
        """Nothing to let go of."""


async def _invoke(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Plain functions of asyncio tasks (their dependencies) are quick by contract."""
    return fn(*args, **kwargs)
