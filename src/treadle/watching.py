"""Looking at one job, and waiting until it has ended, without polling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.durations import Duration, seconds
from treadle.errors import WaitTimeout
from treadle.ports import Page, Query
from treadle.records import FINAL

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["find_one", "until_final"]

_AT_ONCE = 30.0  # seconds that one question to the store may wait


async def find_one(core: Core, job_id: str, *, wait: float = 0.0, version: int = -1) -> Page:
    """What the store has of one job, after a change when ``wait`` is given."""
    backend = await core.ready()
    return await backend.find(Query(ids=(job_id,), wait=wait, version=version))


async def until_final(core: Core, job_id: str, timeout: Duration | None) -> Page:
    """What the store has of a job once it has ended, or is gone.

    Raises:
        WaitTimeout: it has not ended in time.
    """
    limit = None if timeout is None else seconds(timeout, "timeout")
    began = core.clock.monotonic()
    page = await find_one(core, job_id)
    while page.records and page.records[0].state not in FINAL:
        wait = _AT_ONCE
        if limit is not None:
            wait = min(wait, began + limit - core.clock.monotonic())
            if wait <= 0:
                raise WaitTimeout(
                    f"job {job_id} is {page.records[0].state.value} after {limit:g} s; it goes "
                    "on, only the waiting has ended",
                    job_id=job_id,
                )
        page = await find_one(core, job_id, wait=wait, version=page.records[0].version)
    return page
