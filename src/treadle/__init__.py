"""Background jobs and stateful workers: typed, durable, from one process to a fleet."""

from __future__ import annotations

from treadle.app import Treadle
from treadle.context import CONTEXT, Context
from treadle.depends import Depends
from treadle.errors import (
    AttemptTimeout,
    BackendError,
    BackendUnavailable,
    DuplicateJob,
    Fail,
    InvalidCall,
    InvalidOption,
    JobCancelled,
    JobError,
    JobFailed,
    JobNotFound,
    LeaseLost,
    NotEncodable,
    OutcomeUnknown,
    QueueFull,
    Quit,
    ResultExpired,
    RetryLater,
    Skip,
    TreadleError,
    Trip,
    UnknownOption,
    WaitTimeout,
)
from treadle.events import Event
from treadle.foreman import Foreman
from treadle.job import Job
from treadle.policies import Breaker, LimitSet, Rate, Retry, Slots, Timeout, backoff
from treadle.priorities import CRITICAL, HIGH, LOW, NORMAL
from treadle.records import Cause, JobState, Keep, Unique
from treadle.task import Task, task
from treadle.version import __version__

__all__ = [
    "CONTEXT",
    "CRITICAL",
    "HIGH",
    "LOW",
    "NORMAL",
    "AttemptTimeout",
    "BackendError",
    "BackendUnavailable",
    "Breaker",
    "Cause",
    "Context",
    "Depends",
    "DuplicateJob",
    "Event",
    "Fail",
    "Foreman",
    "InvalidCall",
    "InvalidOption",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobNotFound",
    "JobState",
    "Keep",
    "LeaseLost",
    "LimitSet",
    "NotEncodable",
    "OutcomeUnknown",
    "QueueFull",
    "Quit",
    "Rate",
    "ResultExpired",
    "Retry",
    "RetryLater",
    "Skip",
    "Slots",
    "Task",
    "Timeout",
    "Treadle",
    "TreadleError",
    "Trip",
    "Unique",
    "UnknownOption",
    "WaitTimeout",
    "__version__",
    "backoff",
    "task",
]
