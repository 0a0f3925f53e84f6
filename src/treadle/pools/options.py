"""The options of workers and pools, checked where they are given."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

import msgspec

from treadle.durations import Duration, seconds
from treadle.errors import InvalidOption
from treadle.guards import refuse_unknown
from treadle.hints import did_you_mean
from treadle.policies import Limits, Retry, Timeout
from treadle.policies.limits import Limit
from treadle.pools.balance import BALANCING, Balancing
from treadle.pools.childoptions import CHILD_OPTIONS, ChildOptions, ChildTerms, refuse_elsewhere
from treadle.pools.limiting.limitpool import LimitPool
from treadle.pools.peerwords import EXPLAINED, SYNONYMS
from treadle.pools.rayoptions import RayNeeds, RayOptions, read_ray_options, refuse_without_ray

__all__ = [
    "MODES",
    "OPTIONS",
    "Mode",
    "PoolOptions",
    "WorkerOptions",
    "check_handle",
    "read_pool_options",
]

Mode = Literal["sync", "thread", "asyncio", "process", "ray"]
MODES: tuple[Mode, ...] = ("sync", "thread", "asyncio", "process", "ray")
_ALONE = ("sync", "asyncio")
OnFull = Literal["wait", "queue", "raise"]
_ON_FULL: tuple[OnFull, ...] = ("wait", "queue", "raise")


class WorkerOptions(ChildOptions, total=False):
    """What ``Worker.options(…)`` and ``Pool(…)`` take."""

    mode: Mode
    # Workers of the pool; 0 with ``on_demand``: no bound.
    max_workers: int
    balancing: Balancing
    # A worker for each call, stopped after it.
    on_demand: bool
    # Calls that wait and run in one worker, at the most.
    max_queued_tasks: int | None
    # What a call does when there are so many: block its thread, line up, or raise PoolFull.
    on_full: OnFull
    # Further attempts, or a whole policy; per method with a dict, "*" for the others.
    retry: int | Retry | Mapping[str, int | Retry]
    timeout: Duration | Timeout | None
    limits: Limit | Iterable[Limit] | LimitPool | None
    # Calls give their results and not futures.
    blocking: bool
    # Futures among the arguments are replaced by their results.
    unwrap_futures: bool
    # Seconds that code has to end once it was asked to.
    patience: Duration
    # A worker is restarted after so many calls, however they ended.
    restart_every: int | None
    # An idle worker is asked for its health this often.
    probe_every: Duration | None
    # Seconds that a worker has to be made and started, or restarted.
    start_timeout: Duration | None
    # Seconds between the starts of two workers. Of workers that jobs are given.
    start_delay: Duration
    # Jobs that one worker is given at a time. Of workers that jobs are given; in mode="process" of
    # all, whose coroutines overlap then.
    slots: int
    name: str
    # Of mode="ray" alone: what a worker needs of the cluster, and which.
    ray: RayOptions


class PoolOptions(ChildTerms, frozen=True, kw_only=True):
    """The same, read."""

    mode: Mode = "thread"
    max_workers: int = 1
    balancing: Balancing = "round_robin"
    on_demand: bool = False
    max_queued_tasks: int | None = None
    on_full: OnFull = "wait"
    retry: Mapping[str, Retry] = {}
    timeout: Timeout = Timeout()
    limits: Limits | LimitPool = Limits()
    blocking: bool = False
    unwrap_futures: bool = True
    patience: float = 5.0
    restart_every: int | None = None
    probe_every: float | None = None
    start_timeout: float | None = None
    start_delay: float = 0.0
    slots: int = 1
    name: str = ""
    ray: RayNeeds = RayNeeds()
    # Names of the options that somebody has set. Not an option.
    given: frozenset[str] = frozenset()

    def retry_of(self, method: str) -> Retry | None:
        """The retry of a method; ``None`` when it has one attempt."""
        found = self.retry.get(method, self.retry.get("*"))
        return found if found is not None and found.max != 0 else None


OPTIONS = tuple(WorkerOptions.__annotations__)


def read_pool_options(given: Mapping[str, Any], base: PoolOptions | None = None) -> PoolOptions:
    """Options from what a caller gave, over others.

    Raises:
        UnknownOption: an option that does not exist.
        InvalidOption: a value that cannot work.
    """
    refuse_unknown("a worker", given, OPTIONS, SYNONYMS, EXPLAINED)
    options = base or PoolOptions()
    read = {name: _READERS[name](value) for name, value in given.items()}
    options = msgspec.structs.replace(options, **read, given=options.given | given.keys())
    if options.mode == "sync" and options.max_workers > 1:
        _refuse("max_workers", options.max_workers, _ONE.format(options.mode))
    if options.mode == "sync" and options.start_timeout is not None:
        _refuse("start_timeout", options.start_timeout, "None in mode 'sync', where the caller "
                "carries out the start and cannot be interrupted")  # fmt: skip
    if options.mode in _ALONE and options.on_demand:
        _refuse("on_demand", True, f"False in mode {options.mode!r}")
    if options.on_demand and options.max_queued_tasks is not None:
        _refuse("max_queued_tasks", options.max_queued_tasks, "None with on_demand=True, where "
                "calls line up for one of max_workers")  # fmt: skip
    refuse_elsewhere(options.mode, options.given)
    refuse_without_ray(options.mode, options.given)
    if options.mode == "process" and options.slots > 1 and (options.fork or options.around):
        _refuse("slots", options.slots, "1 with fork= or around=, which are for one call at a time")
    if options.max_workers == 0 and not options.on_demand:
        _refuse("max_workers", 0, "at least 1; 0 means no bound, with on_demand=True")
    return options


def check_handle(options: PoolOptions) -> None:
    """Refuse what makes sense only for workers that jobs are given, one job at a time.

    Raises:
        InvalidOption: naming the option.
    """
    if options.mode == "asyncio" and options.max_workers > 1:
        _refuse("max_workers", options.max_workers, _ONE.format(options.mode))
    for option in ("start_delay", "slots"):
        # In a child process, calls of a handle overlap as well.
        if option in options.given and (option, options.mode) != ("slots", "process"):
            raise InvalidOption(
                f"{option}= is for workers that jobs are given (@app.task(worker=…), Foreman); a "
                "handle has no jobs",
                option=option,
                value=getattr(options, option),
            )


_ONE = "1 in mode {!r}: calls overlap or are carried out at once there"


def _refuse(option: str, value: Any, wanted: str) -> None:
    raise InvalidOption(f"{option}={value!r} has to be {wanted}", option=option, value=value)


def _one_of(option: str, allowed: tuple[str, ...]) -> Any:
    def read(value: Any) -> Any:
        if value not in allowed:
            hint = did_you_mean(str(value), allowed) if isinstance(value, str) else ""
            _refuse(option, value, f"one of {', '.join(allowed)}{hint}")
        return value

    return read


def _whole(option: str, least: int, *, none: bool = False) -> Any:
    def read(value: Any) -> Any:
        if none and value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            _refuse(option, value, f"a whole number from {least} on{' or None' if none else ''}")
        return value

    return read


def _flag(option: str) -> Any:
    def read(value: Any) -> bool:
        words = {"true": True, "1": True, "false": False, "0": False}
        known = words.get(value.lower(), value) if isinstance(value, str) else value
        if not isinstance(known, bool):
            _refuse(option, value, "True or False")
        return bool(known)

    return read


def _retry(value: Any) -> Mapping[str, Retry]:
    if isinstance(value, Mapping):
        by_method = cast("Mapping[str, Any]", value)
        return {str(method): _one_retry(one) for method, one in by_method.items()}
    return {"*": _one_retry(value)}


def _one_retry(value: Any) -> Retry:
    if isinstance(value, Retry):
        return value
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        _refuse("retry", value, "the number of further attempts or a Retry")
    return Retry(value)


def _above_0(option: str, value: Any) -> float:
    time = seconds(value, option)
    if time == 0:
        _refuse(option, value, "above 0")
    return time


def _limits(value: Any) -> Limits | LimitPool:
    return value if isinstance(value, LimitPool) else Limits.of(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        _refuse("name", value, "a short printable text")
    return str(value)


def _seconds(option: str) -> Any:
    def read(value: Any) -> float:
        return seconds(value, option)

    return read


def _time(option: str) -> Any:
    def read(value: Any) -> float | None:
        return None if value is None else _above_0(option, value)

    return read


_READERS: dict[str, Any] = {
    "mode": _one_of("mode", MODES),
    "max_workers": _whole("max_workers", 0),
    "balancing": _one_of("balancing", BALANCING),
    "on_demand": _flag("on_demand"),
    "max_queued_tasks": _whole("max_queued_tasks", 1, none=True),
    "on_full": _one_of("on_full", _ON_FULL),
    "retry": _retry,
    "timeout": Timeout.of,
    "limits": _limits,
    "blocking": _flag("blocking"),
    "unwrap_futures": _flag("unwrap_futures"),
    "patience": _seconds("patience"),
    "restart_every": _whole("restart_every", 1, none=True),
    "probe_every": _time("probe_every"),
    "start_timeout": _time("start_timeout"),
    "start_delay": _seconds("start_delay"),
    "slots": _whole("slots", 1),
    "name": _text,
    **CHILD_OPTIONS,
    "ray": read_ray_options,
}


def cores() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
