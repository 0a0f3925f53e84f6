"""The changes of jobs in one transaction, written in bulk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from treadle.backends.common.jobrow import FINAL_CODE, Code, Flag
from treadle.backends.postgres.rows import Home, Row

if TYPE_CHECKING:
    from treadle.backends.postgres.tx import Tx

__all__ = ["Writing"]

_SAME = (
    "seq",
    "id",
    "state",
    "queue",
    "rank",
    "flags",
    "fence",
    "nonce",
    "tries",
    "crashes",
    "version",
)
_JOB = (
    *_SAME,
    *("created", "due", "expires", "started", "until", "keep", "ended_fence", "ended_nonce"),
    *("request", "holder", "line", "line_rank", "line_units", "key", "flow", "facts"),
)
_UPDATED = (
    *("seq", "state", "rank", "flags", "fence", "nonce", "tries", "crashes", "version", "due"),
    *("expires", "started", "until", "ended_fence", "ended_nonce", "request", "holder", "line"),
    *("line_rank", "line_units", "key", "facts"),
)
_DONE = (
    *_SAME,
    *("created", "due", "started", "finished", "keep_until", "keep", "ended_fence"),
    *("ended_nonce", "holder", "flow", "failed_task", "facts", "result"),
)
_BLOCKING = frozenset({Code.QUEUED, Code.SUSPECT, Code.RUNNING})


def _blocks(row: Row) -> bool:
    """Whether a job holds back later ordered ones of its key."""
    state = row.state
    return row.key is not None and (
        state in _BLOCKING
        or (state == Code.SCHEDULED and (row.tries > 0 or bool(row.flags & Flag.PAID)))
        or (state == Code.WAITING and row.line is not None)
    )


def _columns(rows: Iterable[Row], names: Iterable[str]) -> list[list[Any]]:
    rows = list(rows)
    return [[getattr(row, name) for row in rows] for name in names]


class Writing:
    """Rows that were changed, removed, or turned into tombstones and not written yet."""

    __slots__ = ("_changed", "_graves", "_removed", "_tx")

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._changed: dict[str, Row] = {}
        self._removed: list[Row] = []
        self._graves: dict[str, tuple[Any, ...]] = {}

    def save(self, row: Row) -> None:
        """Write a row."""
        self._changed[row.id] = row

    def remove(self, row: Row, grave: tuple[Any, ...]) -> None:
        """Remove a row, leaving a tombstone."""
        self._changed.pop(row.id, None)
        self._removed.append(row)
        self._graves[row.id] = grave

    def bury(self, job_id: str, grave: tuple[Any, ...]) -> None:
        """Leave a tombstone."""
        self._graves[job_id] = grave

    async def flush(self) -> None:
        """Write them."""
        if self._changed or self._removed:
            await self._rows()
        if self._graves:
            await self._bury()

    async def _rows(self) -> None:
        changed, removed = list(self._changed.values()), self._removed
        self._changed, self._removed = {}, []
        live = [row for row in changed if row.state not in FINAL_CODE]
        over = [row for row in changed if row.state in FINAL_CODE]
        run = self._tx.run
        gone = [row.was_seq for row in (*removed, *over) if row.home == Home.JOB]
        if gone:
            await run("delete_jobs", sorted(gone))
        gone = [row.was_seq for row in (*removed, *changed) if row.home == Home.DONE]
        if gone:
            await run("delete_done", sorted(gone))
        same = [row for row in live if row.home == Home.JOB]
        if same:
            same.sort(key=lambda row: row.seq)
            blocks = [_blocks(row) for row in same]
            await run("update_jobs", *_columns(same, _UPDATED), blocks)
        fresh = [row for row in live if row.home != Home.JOB]
        if fresh:
            blocks = [_blocks(row) for row in fresh]
            await run("insert_jobs", *_columns(fresh, _JOB), blocks)
        if over:
            await run("insert_done", *_columns(over, _DONE))
        moved = [row for row in changed if row.home != Home.NOWHERE and row.seq != row.was_seq]
        if moved:
            await run("renumber", *_columns(moved, ("id", "seq")))
        for row in changed:
            row.home = Home.DONE if row.state in FINAL_CODE else Home.JOB
            row.was_seq = row.seq

    async def _bury(self) -> None:
        graves, self._graves = self._graves, {}
        tx = self._tx
        columns = zip(*graves.values(), strict=True)
        until = tx.now + tx.settings.request_ttl
        await tx.run("bury", list(graves), *map(list, columns), tx.now, until)
