"""What a handle and a pool have in common: numbers, and how they end."""

from __future__ import annotations

from types import TracebackType
from typing import NoReturn, Self

from treadle.durations import Duration, seconds
from treadle.errors import NotEncodable
from treadle.pools.crew import Crew
from treadle.pools.crewstats import CrewStats

__all__ = ["Steering"]


class Steering:
    """Workers that can be counted and stopped, with ``with`` and ``async with``.

    Leaving the block carries out what was submitted. An error that leaves it, Ctrl+C and the
    cancellation of a task included, ends what has not begun and asks what runs to end; that has
    ``patience`` seconds, and is ended then as the mode can. A thread cannot be: it is left to
    itself, which the log says. A second Ctrl+C waits for nothing.

    Args:
        crew: the workers.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def __reduce__(self) -> NoReturn:
        raise NotEncodable(
            f"{self!r} stays in the process that made it; code that runs elsewhere makes one of "
            "its own, or is given results"
        )

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

    def stop(self, drain: bool = True, timeout: Duration | None = None) -> None:
        """Stop the workers. Harmless when they are.

        Calls are refused from now on. Inside a running event loop, and in a call of the workers
        themselves, it returns at once and they stop meanwhile.

        Args:
            drain: carry out what was submitted before; else it ends with ``WorkerStopped``, and
                only what runs is waited for.
            timeout: seconds, after which what still runs is ended as the mode can.
        """
        self._crew.stop(drain=drain, timeout=_read(timeout))

    async def astop(self, drain: bool = True, timeout: Duration | None = None) -> None:
        """As :meth:`stop`, awaited."""
        await self._crew.astop(drain=drain, timeout=_read(timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                self.stop()
                return
            except BaseException:  # Ctrl+C meanwhile
                self._crew.abort()
                raise
        self._crew.abort()

    async def __aenter__(self) -> Self:
        await self._crew.started()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                await self.astop()
                return
            except BaseException:  # it was cancelled meanwhile
                await self._crew.aabort()
                raise
        await self._crew.aabort()


def _read(timeout: Duration | None) -> float | None:
    return None if timeout is None else seconds(timeout, "timeout")
