"""The options of a task: what can be declared, what can be set for one call, how both are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, TypeVar, Unpack

import msgspec

from treadle.durability import Durability
from treadle.durations import Duration
from treadle.errors import InvalidOption, UnknownOption
from treadle.guards import unknown_option
from treadle.hints import shown
from treadle.keys import KeyLike, KeyRule
from treadle.policies.breaker import Breaker
from treadle.policies.limitset import Limits
from treadle.policies.retry import Retry
from treadle.pools.childoptions import ChildOptions
from treadle.pools.needs import NO_NEEDS, PlaceNeeds
from treadle.pools.rayoptions import RayNeeds, RayOptions
from treadle.records import After, At, In, Keep, OnConflict, Scope, StoredRetry, Unique

if TYPE_CHECKING:
    from treadle.job import Job
    from treadle.policies.limits import Limit
    from treadle.pools.worker import WorkerBuilder

__all__ = [
    "CallOptions",
    "DeclareOptions",
    "Options",
    "Reading",
    "TaskOptions",
    "UniqueOptions",
    "UniqueRule",
    "read_options",
]

TaskT = TypeVar("TaskT")


class UniqueRule(msgspec.Struct, frozen=True, kw_only=True):
    """How the unique key of a call is made, and what it does."""

    by: KeyRule
    # What a call has, but for its key: a copy costs a third of a new one.
    pattern: Unique

    def of(self, arguments: Mapping[str, Any]) -> Unique | None:
        """The unique key of a call."""
        key = self.by(arguments)
        if key is None:
            return None
        return msgspec.structs.replace(self.pattern, key=key)


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a task, read and checked."""

    queue: str = "default"
    # -100..100; larger is sooner.
    priority: int = 0
    retry: Retry = Retry(0)
    # Seconds that an attempt may take; ``None`` is without bound.
    timeout: float | None = 1800.0
    # What this call has instead of the two above; ``None`` leaves them. See ``NewJob``.
    call_retries: int | None = None
    call_retry: StoredRetry | None = None
    call_timeout: float | None = None
    expires: In | At | None = None
    due: In | At | None = None
    key: KeyRule | None = None
    key_slots: int = 1
    ordered: bool = False
    unique: UniqueRule | None = None
    limits: Limits | None = None
    # Parks the queue in the whole fleet.
    breaker: Breaker | None = None
    after: After | None = None
    keep: Keep = Keep()
    tags: tuple[str, ...] = ()
    meta: Mapping[str, Any] = {}
    flow: str | None = None
    at_most_once: bool = False
    max_crashes: int = 3
    # Jobs not yet final that the queue may hold, and whether an enqueue waits for room.
    bound: int | None = None
    waits_for_room: bool = False
    # "asyncio", "thread", "process" or "ray", and what the last one needs of a cluster.
    mode: str = "thread"
    ray: RayNeeds = RayNeeds()
    # What it has to itself of the places of its mode.
    needs: PlaceNeeds = NO_NEEDS
    # Workers of which each job is given one.
    worker: WorkerBuilder[Any] | None = None
    # Whether values that have no other encoding are pickled; the codec must allow it too.
    pickle: bool = False
    # Exception classes that ``result`` may raise as they were.
    errors: tuple[type[BaseException], ...] = ()
    # Of the one job that the next call makes.
    id: str | None = None
    # The caller's connection whose commit accepts the jobs of the next calls.
    within: Any = None
    # Its attempts end in ``ctx.transaction()``.
    transaction: bool = False
    # Its jobs may wait in the spool of the app while the store is away.
    spool: bool = True
    # What of an accepted job has to outlast which loss.
    durability: Durability | None = None


class UniqueOptions(TypedDict, total=False):
    """A unique rule as a dict: ``unique={"by": ["order_id"], "ttl": "10m"}``."""

    by: KeyLike | Literal[True]
    scope: Scope | Literal["until_started", "until_done", "for"]
    ttl: Duration
    on_conflict: OnConflict | Literal["skip", "replace", "reschedule", "error"]


class _Common(TypedDict, total=False):
    queue: str
    priority: int
    retry: int | Retry | None
    timeout: Duration | None
    expires: Duration | datetime | None
    delay: Duration | None
    key: KeyLike | None
    key_slots: int
    ordered: bool
    unique: bool | KeyLike | Unique | UniqueOptions | None
    limits: Limit | Iterable[Limit] | None
    on_failure: Literal["fail", "cancel", "run"]
    keep: Keep | Duration | Mapping[str, Duration | None] | None
    result_ttl: Duration | None
    tags: Iterable[str]
    meta: Mapping[str, Any]
    max_crashes: int
    bound: int | None
    on_full: Literal["error", "wait"]
    # Whether the spool of the app, if it has one, may keep the job while the store is away.
    spool: bool


class CallOptions(_Common, total=False):
    """What ``task.options(…)`` takes."""

    id: str
    # A connection of the caller: the jobs exist when its transaction is committed.
    within: Any
    run_at: datetime | None
    after: Job[Any] | str | Iterable[Job[Any] | str]
    flow: str | None


class DeclareOptions(_Common, ChildOptions, total=False):
    """What ``@app.task(…)`` takes."""

    name: str
    delivery: Literal["at_least_once", "at_most_once"]
    mode: Literal["asyncio", "thread", "process", "ray"]
    ray: RayOptions
    # Workers of a pool of its own for ``submit`` and ``map``, and child processes for jobs.
    max_workers: int
    errors: Iterable[type[BaseException]]
    # Parks the queue for all foremen after too many failed jobs.
    breaker: Breaker | None
    pickle: bool
    # It uses ``ctx.transaction()``: refused where that is not served.
    transaction: bool
    # Refused by a store that gives less.
    durability: Durability | Literal["memory", "normal", "full", "replica"] | None


class Options(TaskOptions, Generic[TaskT], frozen=True, kw_only=True):
    """The options of a task, to be read, and called for a copy of the task with others.

    ``task.options.timeout`` reads; ``task.options(timeout=5)`` is the task with another timeout.
    """

    copy: Callable[[Mapping[str, Any]], TaskT]

    def __call__(self, **options: Unpack[CallOptions]) -> TaskT:
        """The same task with other options, for the calls made with it.

        Raises:
            UnknownOption: an option that does not exist, with the nearest one that does.
            InvalidOption: a value that cannot work.
        """
        return self.copy(options)


class Facts(msgspec.Struct, frozen=True):
    """What the options of a task are checked against."""

    task: str
    is_async: bool
    # Names, without injected parameters.
    parameters: Sequence[str]


def read_options(
    facts: Facts, given: Mapping[str, Any], base: TaskOptions, *, call: bool
) -> dict[str, Any]:
    """The fields of :class:`TaskOptions` that some options set.

    Args:
        facts: of the task.
        given: options as the user wrote them.
        base: what they are added to.
        call: whether they are for a call, not for the declaration.

    Raises:
        UnknownOption, InvalidOption, Unsupported
    """
    from treadle.optionvalues import DECLARED, FOR_CALLS, check_together

    readers = FOR_CALLS if call else DECLARED
    fields: dict[str, Any] = {}
    for name, value in given.items():
        reader = readers.get(name)
        if reader is None:
            raise _unknown(facts, name, tuple(readers), elsewhere=DECLARED if call else FOR_CALLS)
        fields.update(reader(value, Reading(facts, base, fields)))
    check_together(facts, given, msgspec.structs.replace(base, **fields))
    return fields


class Reading(msgspec.Struct, frozen=True):
    """What a reader of one option can look at."""

    facts: Facts
    base: TaskOptions
    # Read before it.
    fields: Mapping[str, Any]

    def now(self, field: str) -> Any:
        """The value of a field as far as it has been read."""
        return self.fields.get(field, getattr(self.base, field))

    def refuse(self, option: str, value: object, wanted: str) -> InvalidOption:
        """The error for a value that cannot work."""
        return InvalidOption(
            f"task {self.facts.task!r}: {option}={shown(value)} is not {wanted}",
            option=option,
            value=value,
        )


_SYNONYMS = {
    "retries": "retry", "max_retries": "retry", "attempts": "retry", "backoff": "retry",
    "time_limit": "timeout", "soft_time_limit": "timeout", "job_timeout": "timeout",
    "countdown": "delay", "schedule_in": "delay", "eta": "run_at", "schedule_at": "run_at",
    "when": "run_at", "at": "run_at", "idempotency_key": "unique", "dedup_key": "unique",
    "unique_key": "unique",
    "ttl": "result_ttl", "keep_result": "result_ttl", "lock": "key", "concurrency": "limits",
    "rate_limit": "limits", "job_id": "id", "task_id": "id", "depends_on": "after",
    "max_queue_size": "bound", "metadata": "meta", "acks_late": "delivery",
    "connection": "within", "session": "within", "using": "within", "atomic": "transaction",
}  # fmt: skip
"""Words for the same in other libraries."""


def _unknown(
    facts: Facts, name: str, known: tuple[str, ...], elsewhere: Mapping[str, Any]
) -> UnknownOption:
    short = facts.task.rpartition(".")[2]
    if name in elsewhere:
        where = "for one call: task.options(…)" if "id" in elsewhere else "where it is declared"
        text = f"option {name!r} of task {short!r} is set {where}"
        return UnknownOption(f"{text}. Known options: {', '.join(known)}", option=name, known=known)
    return unknown_option(f"task {short!r}", name, known, _SYNONYMS)
