"""The spools of an app that has several stores: one for each that is a server, in one file."""

from __future__ import annotations

from collections.abc import Mapping

from treadle.spool.entry import Entry
from treadle.spool.file import SpoolFile
from treadle.spool.spool import Spool

__all__ = ["Spools"]


class Spools:
    """Several spools as one; each has a line of its own, so that no store waits for another.

    Args:
        parts: by the name of the store; one at least.
    """

    def __init__(self, parts: Mapping[str, Spool]) -> None:
        self.named = dict(parts)
        self.parts = tuple(parts.values())

    @property
    def file(self) -> SpoolFile:
        """The file of all of them."""
        return self.parts[0].file

    @property
    def forwards(self) -> bool:
        """Whether the background loop forwards for any."""
        return any(one.forwards for one in self.parts)

    def open(self) -> None:
        """Make sure that the file can be used, and forward what an earlier process has left."""
        for one in self.parts:
            one.open()

    def close(self) -> None:
        """Give up the file; what waits in it stays there."""
        for one in self.parts:
            one.close()

    def forget(self) -> None:
        """In a forked child: what is open is the parent's."""
        for one in self.parts:
            one.forget()

    async def halt(self) -> None:
        """Stop forwarding. To be awaited on the background loop."""
        for one in self.parts:
            await one.halt()

    def find(self, job_id: str) -> Entry | None:
        """The job of an id, if it is in any."""
        return next((entry for one in self.parts if (entry := one.find(job_id))), None)
