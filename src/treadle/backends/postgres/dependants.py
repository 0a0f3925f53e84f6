"""Who waits for whom in one transaction, written together before it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.backends.postgres.reading import Reading

__all__ = ["Dependants"]


class Dependants:
    """Jobs that wait for others, and ended jobs whose dependants have not all been told."""

    __slots__ = ("_ended", "_left", "_quiet", "_reading", "_waits")

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        # The numbers of those that wait, and the jobs that each waits for.
        self._waits: dict[int, dict[str, None]] = {}
        # Those that wait no longer, whatever they waited for.
        self._left: dict[int, None] = {}
        self._ended: dict[str, bool] = {}
        # Whether it was seen that nobody is left to be told.
        self._quiet = False

    # ------------------------------------------------------------- changes

    def wait(self, seq: int, job_id: str) -> None:
        """Let a job wait for another."""
        self._waits.setdefault(seq, {})[job_id] = None

    def leave(self, seq: int) -> None:
        """Let a job wait for no other any more."""
        self._waits.pop(seq, None)
        self._left[seq] = None

    def end(self, job_id: str, succeeded: bool) -> None:
        """A job that others wait for has ended."""
        self._ended[job_id] = succeeded
        self._quiet = False

    async def drop(self, seq: int, job_id: str) -> None:
        """Let a job wait for one less."""
        await self.flush()
        await self._reading.run("drop_after", seq, job_id)

    async def told(self, job_id: str) -> None:
        """All that waited for an ended job have been told."""
        await self._reading.run("told", job_id)

    # ------------------------------------------------------------- questions

    async def next_ended(self) -> tuple[str, bool] | None:
        """An ended job, and whether it succeeded; ``None`` when everybody has been told."""
        if self._quiet:
            return None
        await self.flush()
        found = await self._reading.one("next_ended")
        self._quiet = found is None
        return None if found is None else (found[0], bool(found[1]))

    async def waiters(self, job_id: str, most: int) -> Sequence[int]:
        """The numbers of those that wait for a job."""
        await self.flush()
        return [seq for (seq,) in await self._reading.run("waiters", job_id, most)]

    async def still_waits(self, seq: int) -> bool:
        """Whether a job waits for another."""
        await self.flush()
        return await self._reading.one("still_waits", seq) is not None

    async def flush(self) -> None:
        """Write them."""
        run = self._reading.run
        if self._left:
            left, self._left = list(self._left), {}
            await run("delete_after", left)
        if self._waits:
            waits = [(seq, job) for seq, jobs in self._waits.items() for job in jobs]
            self._waits = {}
            await run("insert_after", *map(list, zip(*waits, strict=True)))
        if self._ended:
            ended, self._ended = self._ended, {}
            await run("ended", list(ended), list(ended.values()))
