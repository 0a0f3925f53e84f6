"""Changing jobs from outside, and telling at once those that have to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.errors import BackendError
from treadle.events import Event
from treadle.logs import get_logger
from treadle.ports import Altered, Backend, Cancel, Change, Query

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["alter"]

_log = get_logger("treadle.app")


async def alter(core: Core, query: Query, change: Change) -> Altered:
    """Change the jobs that a query finds.

    A running job learns of its cancellation with the next renewal of its lease in any case; the
    event that is sent here makes it sooner where it arrives.
    """
    backend = await core.ready()
    altered = await backend.alter(query, change)
    if altered.asked:
        # Told first, so that it comes before the end of the job in all but rare cases.
        await _tell(core, backend, "job.cancelling", altered.asked)
        await _announce(core, backend, altered.asked)
    if altered.done and isinstance(change, Cancel):
        # They never ran: no foreman will tell of them.
        await _tell(core, backend, "job.cancelled", altered.done)
    return altered


async def _announce(core: Core, backend: Backend, asked: Sequence[str]) -> None:
    now = core.clock.now()
    try:
        await backend.publish(
            [Event(name="job.cancelling", at=now, job_id=job_id) for job_id in asked]
        )
    except (BackendError, OSError) as error:
        _log.warning("cancel.not_announced", jobs=len(asked), error=str(error))


async def _tell(core: Core, backend: Backend, name: str, jobs: Sequence[str]) -> None:
    """Tell the observers of this process."""
    if core.bus.wanted(name):
        page = await backend.find(Query(ids=tuple(jobs), limit=len(jobs)))
        for record in page.records:
            core.tell(name, record.spec)
