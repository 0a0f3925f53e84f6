"""The options of a foreman over workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import msgspec

from treadle.clock import Clock
from treadle.durations import Duration
from treadle.errors import InvalidOption, UnknownOption
from treadle.guards import is_iterable, refuse_unknown
from treadle.ids import Ids
from treadle.policies import Breaker, Retry, Timeout
from treadle.policies.limits import Limit
from treadle.policies.limitset import Limits
from treadle.pools.childoptions import CHILD_OPTIONS
from treadle.pools.limiting.limitset import LimitSet
from treadle.pools.options import Mode
from treadle.pools.peerwords import EXPLAINED, SYNONYMS

__all__ = ["ForemanOptions", "Given", "read_given"]


class ForemanOptions(TypedDict, total=False):
    """What ``Foreman(Browser, …)`` takes."""

    # Workers; 4 unless the class says otherwise.
    max_workers: int
    # Where they live: "asyncio" for a class with asynchronous methods, else "thread".
    mode: Mode
    # Jobs that one worker is given at a time.
    slots: int
    # Seconds that a worker has to be made and started, or restarted.
    start_timeout: Duration | None
    # Seconds between the starts of two workers.
    start_delay: Duration
    # A worker is restarted after so many jobs, however they ended.
    restart_every: int | None
    # An idle worker is asked for its health this often.
    probe_every: Duration | None
    # Seconds that code has to end once it was asked to.
    patience: Duration
    # For messages, and in the names of threads.
    name: str
    # Of all jobs together; with scope="worker", of each worker.
    limits: Limit | Iterable[Limit] | None
    # Jobs that wait or run, at the most; an enqueue waits for room. None for no bound.
    backlog: int | None
    # Further attempts of a job, or a whole policy.
    retry: int | Retry | None
    # Seconds that an attempt may take.
    timeout: Duration | Timeout | None
    # Pauses all workers after so many failed jobs in a row.
    breaker: Breaker | None
    # Seconds that running jobs have when the foreman stops before they have ended.
    grace: Duration
    # How long results are kept.
    result_ttl: Duration | None
    # Of tests.
    clock: Clock
    ids: Ids


_WORKER = ("max_workers", "mode", "slots", "start_timeout", "start_delay", "restart_every",
           "probe_every", "patience", "name")  # fmt: skip
_TASK = ("retry", "timeout", "result_ttl")
_KNOWN = tuple(ForemanOptions.__annotations__)
_BACKLOG = 100
_SYNONYMS = {
    "max_queued_tasks": "backlog", "max_queue_size": "backlog", "maxsize": "backlog",
    "queue_size": "backlog", "max_pending": "backlog", "max_tasks_per_child": "restart_every",
    "maxtasksperchild": "restart_every", "max_jobs": "restart_every", "delay": "start_delay",
    "shutdown_timeout": "grace", "stop_timeout": "grace", "circuit_breaker": "breaker",
    "max_failures": "breaker", "ttl": "result_ttl",
}  # fmt: skip
"""Words for what a foreman has besides its workers."""


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """The same, sorted by whom they concern."""

    worker: Mapping[str, Any]
    # Of the task that is made of each function.
    task: Mapping[str, Any]
    # Of each worker.
    own_limits: Limits
    backlog: int | None = _BACKLOG
    breaker: Breaker | None = None
    grace: Any = 5.0
    clock: Clock | None = None
    ids: Ids | None = None


def read_given(options: Mapping[str, Any], worker: str) -> Given:
    """Options from what a caller gave.

    Args:
        options: as given.
        worker: the name of the class of workers, for messages.

    Raises:
        UnknownOption: an option that does not exist.
        InvalidOption: a value that cannot work.
    """
    for option in CHILD_OPTIONS:
        if option in options:
            raise UnknownOption(
                f"{option}= is of the workers of a Foreman: give it with the class, "
                f"Foreman({worker}.options({option}=…), …)",
                option=option,
                known=_KNOWN,
            )
    words = {word: ours for word, ours in (SYNONYMS | _SYNONYMS).items() if ours in _KNOWN}
    refuse_unknown("a Foreman", options, _KNOWN, words, EXPLAINED)
    backlog = options.get("backlog", _BACKLOG)
    if backlog is not None and (not isinstance(backlog, int) or backlog < 1):
        raise InvalidOption(
            f"backlog={backlog!r} has to be a whole number from 1, or None for no bound",
            option="backlog",
            value=backlog,
        )
    limits = _listed(options.get("limits"))
    shared = [one for one in limits if getattr(one, "scope", None) is None]
    common = Limits(*map(_named, Limits.of(shared)))
    task = {name: options[name] for name in _TASK if name in options}
    if common:
        task["limits"] = common
    others = ("breaker", "grace", "clock", "ids")
    return Given(
        worker={name: options[name] for name in _WORKER if name in options},
        task=task,
        own_limits=Limits.of([one for one in limits if one not in shared]),
        backlog=backlog,
        **{name: options[name] for name in others if name in options},
    )


def _listed(value: Any) -> list[Any]:
    """Limits, not yet checked: those of all and of each worker are not in each other's way."""
    if isinstance(value, LimitSet):
        raise InvalidOption(
            f"limits={value!r}: a foreman counts for its own jobs alone, so what others hold of "
            "this set would not count. Give it the list, limits=[*limits], or have the jobs take "
            "from the set: 'async with limits.aacquire():' in the function",
            option="limits",
            value=value,
        )
    return list(value) if is_iterable(value) else list(Limits.of(value))


def _named(limit: Limit) -> Limit:
    """A limit that the jobs of all functions share, and not those of each on their own."""
    return limit if limit.key is not None else limit.replace(key=limit.named("foreman"))
