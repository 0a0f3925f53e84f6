"""Changing jobs from outside, and telling at once those that have to stop."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from treadle.errors import BackendError, InvalidOption
from treadle.events import Event
from treadle.logs import get_logger
from treadle.ports import (
    Altered,
    Backend,
    Cancel,
    Change,
    Delete,
    Query,
    Reprioritise,
    Reschedule,
    Retry,
)
from treadle.priorities import is_priority
from treadle.records import At, In

if TYPE_CHECKING:
    from treadle.core import Core

__all__ = ["alter"]

_log = get_logger("treadle.app")
_CHANGES = (Cancel, Retry, Reschedule, Reprioritise, Delete)


async def alter(core: Core, query: Query, change: Change) -> Altered:
    """Change the jobs that a query finds.

    A running job learns of its cancellation with the next renewal of its lease in any case; the
    event that is sent here makes it sooner where it arrives.

    Raises:
        InvalidOption: it is no change, or says what no job can have.
    """
    _check(change)
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


def _check(change: object) -> None:
    """Return for what stores can keep: they take a change as it is, for many jobs at once."""
    if not isinstance(change, _CHANGES):
        known = ", ".join(f"{one.__name__}(…)" for one in _CHANGES)
        raise InvalidOption(
            f"change={change!r} is not a change; give one of treadle.ports: {known}",
            option="change",
            value=change,
        )
    if isinstance(change, Reprioritise) and not is_priority(change.priority):
        raise InvalidOption(
            f"priority={change.priority!r} is not a whole number from -100 to 100",
            option="priority",
            value=change.priority,
        )
    if isinstance(change, Reschedule):
        _check_due(change.due)
    if isinstance(change, Retry) and change.due is not None:
        _check_due(change.due)


def _check_due(due: object) -> None:
    time: object = None
    if isinstance(due, In):
        time = due.seconds
    elif isinstance(due, At):
        time = due.timestamp
    if isinstance(time, int | float) and isfinite(time):
        return
    raise InvalidOption(
        f"due={due!r} is not a point in time; give In(60.0), seconds from now, or "
        "At(moment.timestamp()), of treadle.records",
        option="due",
        value=due,
    )


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
