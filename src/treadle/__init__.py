"""Background jobs and stateful workers: typed, durable, from one process to a fleet.

The names are loaded when they are first used (PEP 562), so that a program that only makes jobs does
not pay for what runs them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from treadle.version import __version__

if TYPE_CHECKING:
    from treadle.app import Treadle
    from treadle.context import CONTEXT, Context, current
    from treadle.depends import Depends
    from treadle.errors import (
        AttemptTimeout,
        BackendError,
        BackendUnavailable,
        CallCancelled,
        DuplicateJob,
        Fail,
        InvalidCall,
        InvalidOption,
        JobCancelled,
        JobError,
        JobFailed,
        JobNotFound,
        LeaseLost,
        LockTimeout,
        NotEncodable,
        OutcomeUnknown,
        PayloadError,
        PoolFull,
        QueueFull,
        Quit,
        ResultExpired,
        RetryLater,
        Skip,
        TreadleError,
        Trip,
        UnknownOption,
        WaitTimeout,
        WorkerCrashed,
        WorkerError,
        WorkerNotStarted,
        WorkerStopped,
    )
    from treadle.events import Event
    from treadle.job import Job
    from treadle.locks.lock import Lock
    from treadle.policies import Breaker, Rate, Retry, Slots, Timeout, backoff
    from treadle.pools.completing import as_completed
    from treadle.pools.future import Future
    from treadle.pools.gathering import agather, await_for, gather, wait
    from treadle.pools.limiting.limitpool import LimitPool
    from treadle.pools.limiting.limitset import LIMITS, LimitSet
    from treadle.pools.noticing import stopping
    from treadle.pools.pool import Pool
    from treadle.pools.worker import Worker
    from treadle.pools.wrapping import wrap_future
    from treadle.priorities import CRITICAL, HIGH, LOW, NORMAL
    from treadle.records import Cause, JobState, Keep, Unique
    from treadle.stateful.foreman import Foreman
    from treadle.task import Task, task

__all__ = [
    "CONTEXT",
    "CRITICAL",
    "HIGH",
    "LIMITS",
    "LOW",
    "NORMAL",
    "AttemptTimeout",
    "BackendError",
    "BackendUnavailable",
    "Breaker",
    "CallCancelled",
    "Cause",
    "Context",
    "Depends",
    "DuplicateJob",
    "Event",
    "Fail",
    "Foreman",
    "Future",
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
    "LimitPool",
    "LimitSet",
    "Lock",
    "LockTimeout",
    "NotEncodable",
    "OutcomeUnknown",
    "PayloadError",
    "Pool",
    "PoolFull",
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
    "Worker",
    "WorkerCrashed",
    "WorkerError",
    "WorkerNotStarted",
    "WorkerStopped",
    "__version__",
    "agather",
    "as_completed",
    "await_for",
    "backoff",
    "current",
    "gather",
    "stopping",
    "task",
    "wait",
    "wrap_future",
]

_HOMES = {
    "treadle.app": ("Treadle",),
    "treadle.context": (
        "CONTEXT",
        "Context",
        "current",
    ),
    "treadle.depends": ("Depends",),
    "treadle.errors": (
        "AttemptTimeout",
        "BackendError",
        "BackendUnavailable",
        "CallCancelled",
        "DuplicateJob",
        "Fail",
        "InvalidCall",
        "InvalidOption",
        "JobCancelled",
        "JobError",
        "JobFailed",
        "JobNotFound",
        "LeaseLost",
        "LockTimeout",
        "NotEncodable",
        "OutcomeUnknown",
        "PayloadError",
        "PoolFull",
        "QueueFull",
        "Quit",
        "ResultExpired",
        "RetryLater",
        "Skip",
        "TreadleError",
        "Trip",
        "UnknownOption",
        "WaitTimeout",
        "WorkerCrashed",
        "WorkerError",
        "WorkerNotStarted",
        "WorkerStopped",
    ),
    "treadle.events": ("Event",),
    "treadle.job": ("Job",),
    "treadle.locks.lock": ("Lock",),
    "treadle.policies": (
        "Breaker",
        "Rate",
        "Retry",
        "Slots",
        "Timeout",
        "backoff",
    ),
    "treadle.pools.completing": ("as_completed",),
    "treadle.pools.future": ("Future",),
    "treadle.pools.gathering": (
        "agather",
        "await_for",
        "gather",
        "wait",
    ),
    "treadle.pools.limiting.limitpool": ("LimitPool",),
    "treadle.pools.limiting.limitset": ("LIMITS", "LimitSet"),
    "treadle.pools.noticing": ("stopping",),
    "treadle.pools.pool": ("Pool",),
    "treadle.pools.worker": ("Worker",),
    "treadle.pools.wrapping": ("wrap_future",),
    "treadle.priorities": (
        "CRITICAL",
        "HIGH",
        "LOW",
        "NORMAL",
    ),
    "treadle.records": (
        "Cause",
        "JobState",
        "Keep",
        "Unique",
    ),
    "treadle.stateful.foreman": ("Foreman",),
    "treadle.task": (
        "Task",
        "task",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'treadle' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Loading the module `treadle.task` must not put it where the decorator `task` belongs.
        if not (name in _HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
