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
        PayloadError,
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
    "PayloadError",
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
    "current",
    "task",
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
        "DuplicateJob",
        "Fail",
        "InvalidCall",
        "InvalidOption",
        "JobCancelled",
        "JobError",
        "JobFailed",
        "JobNotFound",
        "LeaseLost",
        "NotEncodable",
        "OutcomeUnknown",
        "PayloadError",
        "QueueFull",
        "Quit",
        "ResultExpired",
        "RetryLater",
        "Skip",
        "TreadleError",
        "Trip",
        "UnknownOption",
        "WaitTimeout",
    ),
    "treadle.events": ("Event",),
    "treadle.foreman": ("Foreman",),
    "treadle.job": ("Job",),
    "treadle.policies": (
        "Breaker",
        "LimitSet",
        "Rate",
        "Retry",
        "Slots",
        "Timeout",
        "backoff",
    ),
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
