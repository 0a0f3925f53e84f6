"""Where the threads of a foreman come from. A simulation has none, and gives others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from treadle.clock import Clock
from treadle.pools.sites.site import Program, Site
from treadle.pools.sites.thread import ThreadSite

__all__ = ["Aside", "Threads"]


class Aside(Protocol):
    """A coroutine that runs beside the event loop of a foreman."""

    def start(self) -> None:
        """Begin."""
        ...

    async def join(self) -> None:
        """Wait for its end."""
        ...


class Threads:
    """The threads of this process."""

    def aside(self, main: Callable[[], Coroutine[Any, Any, None]], name: str) -> Aside:
        """Runs ``main`` in an event loop and thread of its own, not yet begun."""
        return _LoopAside(main, name)

    def site(self, program: Program, clock: Clock, patience: float) -> Site:
        """Where plain functions run."""
        return ThreadSite(program, clock=clock, patience=patience)


class _LoopAside:
    def __init__(self, main: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._main = main
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def join(self) -> None:
        while self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _live(self) -> None:
        asyncio.run(self._main())
