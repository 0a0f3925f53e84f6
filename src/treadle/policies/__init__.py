"""What surrounds an attempt: retries, timeouts, breakers and limits, as pure machines."""

from __future__ import annotations

from treadle.policies.backoff import (
    Backoff,
    decorrelated,
    exponential,
    fibonacci,
    fixed,
    linear,
)
from treadle.policies.breaker import Breaker
from treadle.policies.gate import Gate
from treadle.policies.limits import Rate, Slots
from treadle.policies.limitset import Limits
from treadle.policies.match import AttemptInfo
from treadle.policies.retry import Retry
from treadle.policies.timeout import Timeout

__all__ = [
    "AttemptInfo",
    "Backoff",
    "Breaker",
    "Gate",
    "Limits",
    "Rate",
    "Retry",
    "Slots",
    "Timeout",
    "decorrelated",
    "exponential",
    "fibonacci",
    "fixed",
    "linear",
]
