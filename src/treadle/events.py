"""Facts that happened, for observers."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

__all__ = ["NAMES", "Event", "matches"]

NAMES = (
    "job.enqueued",
    "job.started",
    "job.progress",
    "job.retrying",
    "job.released",
    "job.succeeded",
    "job.failed",
    "job.cancelling",
    "job.cancelled",
    "job.lost",
    "queue.paused",
    "queue.resumed",
    "breaker.opened",
    "breaker.half_open",
    "breaker.closed",
    "foreman.started",
    "foreman.stopping",
    "foreman.stopped",
    "session.reopened",
    "loop.blocked",
    "backend.lost_data",
    "lock.released",
    "spool.began",
    "spool.forwarded",
    "spool.refused",
)
"""Every event there is. ``app.on`` refuses a pattern that matches none of them."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One fact."""

    # One of ``NAMES``.
    name: str
    # Seconds since the epoch.
    at: float
    job_id: str | None = None
    task: str | None = None
    queue: str | None = None
    attempt: int | None = None
    # What else there is to say, by name: ``error``, ``seconds``, ``reason``, ``current`` …
    data: Mapping[str, Any] = {}


def matches(
    event: Event, pattern: str, *, task: str | None = None, queue: str | None = None
) -> bool:
    """Whether an event is one that an observer asked for; all arguments are globs."""
    return (
        fnmatchcase(event.name, pattern)
        and (task is None or fnmatchcase(event.task or "", task))
        and (queue is None or fnmatchcase(event.queue or "", queue))
    )
