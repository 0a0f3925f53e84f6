"""What this process knows of the leases that it was granted, so that it need not look them up.

A hint: each use proves it against the database. A job has one entry, of its latest lease in this
process, so that an older token is never taken for it.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Grants"]

_MOST = 100_000


class Grants(dict[str, tuple[int, int, int, str, bool]]):
    """By job id: seq, fence, nonce, queue, and whether a success needs no more than to be kept."""

    __slots__ = ()

    def drop(self, ids: Iterable[str]) -> None:
        """Leases have ended."""
        for job_id in ids:
            self.pop(job_id, None)

    def forget(self, nonce: int) -> None:
        """A session was closed."""
        # A list, because a transaction of a job drops its own from another thread.
        self.drop([key for key, grant in list(self.items()) if grant[2] == nonce])

    def tidy(self) -> None:
        """Forget all, when many leases were lost and never settled."""
        if len(self) > _MOST:
            self.clear()
