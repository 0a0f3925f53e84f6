"""Exit statuses, and the line that an error becomes."""

from __future__ import annotations

from treadle.errors import (
    BackendStalled,
    BackendUnavailable,
    JobNotFound,
    PayloadError,
    QueueFull,
    TreadleError,
    UnknownTask,
    UsageError,
    WaitTimeout,
)

__all__ = [
    "FAILURE",
    "INTERRUPTED",
    "NOT_FOUND",
    "OK",
    "TEMPORARY",
    "UNAVAILABLE",
    "USAGE",
    "status_of",
]

OK = 0
FAILURE = 1
USAGE = 2
NOT_FOUND = 3
UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h
TEMPORARY = 75  # EX_TEMPFAIL: ``Quit``, a full queue, a wait that took too long
INTERRUPTED = 130

_STATUSES: tuple[tuple[type[TreadleError], int], ...] = (
    (UsageError, USAGE),
    (PayloadError, USAGE),
    (JobNotFound, NOT_FOUND),
    (UnknownTask, NOT_FOUND),
    (BackendUnavailable, UNAVAILABLE),
    (BackendStalled, TEMPORARY),
    (QueueFull, TEMPORARY),
    (WaitTimeout, TEMPORARY),
)


def status_of(error: TreadleError) -> int:
    """The exit status that tells a script what kind of error it was."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), FAILURE)
