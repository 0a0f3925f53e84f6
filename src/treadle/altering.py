"""Changing jobs from outside, and telling at once those that have to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.errors import BackendError
from treadle.events import Event
from treadle.logs import get_logger
from treadle.ports import Altered, Change, Query

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
        now = core.clock.now()
        events = [Event(name="job.cancelling", at=now, job_id=one) for one in altered.asked]
        try:
            await backend.publish(events)
        except BackendError as error:
            _log.warning("cancel.not_announced", jobs=len(events), error=str(error))
    return altered
