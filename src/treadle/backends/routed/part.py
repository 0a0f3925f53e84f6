"""One of several backends: what it says carries its name, and nobody waits for it too long."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from treadle.backends.common.untold import Untold
from treadle.clock import Clock
from treadle.errors import BackendError, BackendUnavailable, TreadleError
from treadle.ports import Backend
from treadle.together import ended

__all__ = ["Part"]

A = TypeVar("A")


class Part:
    """A backend among several.

    Args:
        name: that it was given.
        backend: not yet opened.
        clock: of the app.
        untold: has the fates of jobs until an answer of all has them.
    """

    def __init__(self, name: str, backend: Backend, clock: Clock, untold: Untold) -> None:
        self.name = name
        self._untold = untold
        self.backend = backend
        self._clock = clock
        # Loops in which it could not be opened yet.
        self._unopened: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    def __str__(self) -> str:
        return f"{self.name!r} ({self.backend.url})"

    async def open(self) -> None:
        """Open it for the running loop; what comes later tries again when it cannot be."""
        loop = asyncio.get_running_loop()
        self._unopened.add(loop)
        with self._named():
            await self.backend.open()
        self._unopened.discard(loop)

    async def ready(self) -> None:
        """Open it for the running loop where that could not be done before."""
        if asyncio.get_running_loop() in self._unopened:
            await self.open()

    async def aclose(self) -> None:
        """Close what the running loop has of it."""
        self._unopened.discard(asyncio.get_running_loop())
        await self.backend.aclose()

    async def ask(self, verb: Callable[[Backend], Awaitable[A]]) -> A:
        """What it answers.

        Raises:
            BackendError: it has none; says which backend it is.
        """
        if self._unopened:
            await self.ready()
        with self._named():
            return self._untold.kept(await verb(self.backend))

    async def soon(self, verb: Callable[[Backend], Awaitable[A]], seconds: float) -> A:
        """The same, unless it takes longer.

        Raises:
            BackendUnavailable: it does.
        """
        task = asyncio.ensure_future(self.ask(verb))
        try:
            if await ended(self._clock, seconds, task):
                return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        raise self.silent(seconds)

    def silent(self, seconds: float) -> BackendUnavailable:
        """The error of a backend that has not answered in time."""
        return BackendUnavailable(
            f"backend {self} did not answer within {seconds:g} s", backend=self.backend.url
        )

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except BackendError as error:
            details = {name: value for name, value in vars(error).items() if name[0] != "_"}
            raise type(error)(f"backend {self.name!r}: {error}", **details) from error
        except TreadleError:
            raise
        except OSError as error:
            raise BackendUnavailable(
                f"backend {self}: {error}", backend=self.backend.url
            ) from error
