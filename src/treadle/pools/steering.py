"""What a handle and a pool have in common: numbers, and how they end."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from treadle.pools.crew import Crew
from treadle.pools.crewstats import CrewStats

__all__ = ["Steering"]


class Steering:
    """Workers that can be counted and stopped, with ``with`` and ``async with``.

    Args:
        crew: the workers.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    @property
    def stats(self) -> CrewStats:
        """What the workers do and have done, in numbers."""
        return self._crew.stats

    def resize(self, workers: int) -> None:
        """Have so many workers from now on.

        Those too many end what they were given first; no call is lost. Returns once new ones are
        started; inside a running event loop they go on starting.

        Raises:
            WorkerNotStarted: a new one could not be; there are as many as before.
            WorkerStopped: after :meth:`stop`.
        """
        self._crew.resize(workers)

    def stop(self, drain: bool = True, timeout: float | None = None) -> None:
        """Stop the workers. Harmless when they are.

        Calls are refused from now on. Inside a running event loop, and in a call of the workers
        themselves, it returns at once and they stop meanwhile.

        Args:
            drain: carry out what was submitted before; else it ends with ``WorkerStopped``, and
                only what runs is waited for.
            timeout: seconds, after which what still runs is ended as the mode can.
        """
        self._crew.stop(drain=drain, timeout=timeout)

    async def astop(self, drain: bool = True, timeout: float | None = None) -> None:
        """As :meth:`stop`, awaited."""
        await self._crew.astop(drain=drain, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop(drain=error is None)

    async def __aenter__(self) -> Self:
        await self._crew.started()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.astop(drain=error is None)
