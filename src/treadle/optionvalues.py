"""Readers of the options of a task: from what a user writes to fields of ``TaskOptions``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from treadle.codec.small import encoded_meta
from treadle.durations import seconds, timestamp
from treadle.errors import InvalidOption, NotEncodable, Unsupported
from treadle.guards import is_error_class, is_iterable, is_mapping, is_name
from treadle.optionneeds import NEEDS, check_needs
from treadle.optionrules import (
    named,
    read_after,
    read_durability,
    read_key,
    read_limits,
    read_on_failure,
    read_unique,
)
from treadle.options import Facts, Reading, TaskOptions
from treadle.policies.breaker import Breaker
from treadle.policies.retry import Retry
from treadle.policies.stored import stored
from treadle.policies.timeout import Timeout
from treadle.pools.rayoptions import read_ray_options
from treadle.queuenames import check_queue
from treadle.records import At, In, Keep

__all__ = ["DECLARED", "FOR_CALLS", "check_together"]

Fields = dict[str, Any]
Reader = Callable[[Any, Reading], Fields]
_MOST_TAGS = 100
# What all stores can keep.
_MOST = (1 << 31) - 1
_QUEUE_SIGNS = re.compile(r"[^A-Za-z0-9_:-]")


def _queue(value: Any, reading: Reading) -> Fields:
    if not isinstance(value, str):
        raise reading.refuse("queue", value, "the name of a queue")
    return {"queue": check_queue(value)}


def _whole(option: str, least: int, most: int = _MOST) -> Reader:
    """A reader of whole numbers between two bounds."""

    def read(value: Any, reading: Reading) -> Fields:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            too_much = isinstance(value, int) and value > most
            bounds = f"from {least}" + (f" to {most}" if most != _MOST or too_much else "")
            raise reading.refuse(option, value, f"a whole number {bounds}")
        return {option: value}

    return read


def _priority(value: Any, reading: Reading) -> Fields:
    if isinstance(value, str):
        raise reading.refuse(
            "priority", value, "a number; treadle has names for some: LOW, NORMAL, HIGH, CRITICAL"
        )
    return _whole("priority", -100, 100)(value, reading)


def _flag(option: str) -> Reader:
    def read(value: Any, reading: Reading) -> Fields:
        if not isinstance(value, bool):
            raise reading.refuse(option, value, "True or False")
        return {option: value}

    return read


def _retry(value: Any, _reading: Reading) -> Fields:
    return {"retry": Retry.of(value)}


def _call_retry(value: Any, _reading: Reading) -> Fields:
    if value is None:
        return {"call_retries": 0}
    if isinstance(value, Retry):
        return {
            "call_retries": -1 if value.max is None else value.max,
            "call_retry": stored(value),
        }
    if value == math.inf:
        return {"call_retries": -1}
    return {"call_retries": Retry.of(value).max}


def _timeout_seconds(value: Any, reading: Reading) -> float | None:
    if isinstance(value, Timeout):
        if value.total is not None:
            raise InvalidOption(
                f"task {reading.facts.task!r}: a job has no total timeout; bound its attempts "
                "with timeout=, their number with retry=, and its start with expires=",
                option="timeout",
                value=value,
            )
        return value.attempt
    if value == math.inf:
        return None
    return Timeout.of(value).attempt


def _timeout(value: Any, reading: Reading) -> Fields:
    return {"timeout": _timeout_seconds(value, reading)}


def _call_timeout(value: Any, reading: Reading) -> Fields:
    limit = _timeout_seconds(value, reading)
    return {"timeout": limit, "call_timeout": math.inf if limit is None else limit}


def _expires(value: Any, reading: Reading) -> Fields:
    if value is None:
        return {"expires": None}
    if isinstance(value, datetime):
        return {"expires": At(timestamp(value, "expires"))}
    limit = seconds(value, "expires")
    if limit == 0:
        raise reading.refuse("expires", value, "above 0: the job could never start")
    return {"expires": In(limit)}


def _delay(value: Any, _reading: Reading) -> Fields:
    return {"due": None if value is None else In(seconds(value, "delay"))}


def _run_at(value: Any, _reading: Reading) -> Fields:
    return {"due": None if value is None else At(timestamp(value, "run_at"))}


def _keep(value: Any, reading: Reading) -> Fields:
    if isinstance(value, Keep):
        value = msgspec.structs.asdict(value)
    if not is_mapping(value):
        one = None if value is None else seconds(value, "keep")
        return {"keep": Keep(succeeded=one, failed=one, cancelled=one)}
    times = {
        state: None if time is None else seconds(time, f"keep[{state!r}]")
        for state, time in named(value, "keep", Keep.__struct_fields__, reading).items()
    }
    return {"keep": msgspec.structs.replace(reading.now("keep"), **times)}


def _result_ttl(value: Any, reading: Reading) -> Fields:
    time = None if value is None else seconds(value, "result_ttl")
    return {"keep": msgspec.structs.replace(reading.now("keep"), succeeded=time)}


def _tags(value: Any, reading: Reading) -> Fields:
    if not isinstance(value, str) and not is_iterable(value):
        raise reading.refuse("tags", value, "a tag, or a list of tags")
    tags = (value,) if isinstance(value, str) else tuple(value)
    for tag in tags:
        if not is_name(tag):
            raise reading.refuse("tags", tag, "a tag: 1 to 128 characters that can be seen")
    together = tuple(dict.fromkeys((*reading.base.tags, *tags)))
    if len(together) > _MOST_TAGS:
        raise reading.refuse("tags", value, f"tags, of which a job has {_MOST_TAGS} at most")
    return {"tags": together}


def _meta(value: Any, reading: Reading) -> Fields:
    if not is_mapping(value) or not all(isinstance(name, str) for name in value):
        raise reading.refuse("meta", value, "a dict with texts as keys")
    # A copy: what the caller does with the dict later is not the job's business.
    meta: dict[str, Any] = {**reading.base.meta, **value}
    try:
        return {"meta": msgspec.json.decode(encoded_meta(meta))}
    except NotEncodable as error:
        raise reading.refuse("meta", value, f"metadata: {error}") from error


def _text(option: str) -> Reader:
    def read(value: Any, reading: Reading) -> Fields:
        if value is None and option == "flow":
            return {option: None}
        if not is_name(value):
            raise reading.refuse(option, value, "a text of 1 to 128 characters that can be seen")
        return {option: value}

    return read


def _bound(value: Any, reading: Reading) -> Fields:
    return {"bound": None} if value is None else _whole("bound", 1)(value, reading)


def _on_full(value: Any, reading: Reading) -> Fields:
    if value not in {"error", "wait"}:
        raise reading.refuse("on_full", value, "'error' or 'wait'")
    return {"waits_for_room": value == "wait"}


def _delivery(value: Any, reading: Reading) -> Fields:
    if value not in {"at_least_once", "at_most_once"}:
        raise reading.refuse("delivery", value, "'at_least_once' or 'at_most_once'")
    return {"at_most_once": value == "at_most_once"}


def _mode(value: Any, reading: Reading) -> Fields:
    facts = reading.facts
    if value == "thread" and facts.is_async:
        raise InvalidOption(
            f"task {facts.task!r} is 'async def' and cannot run in mode='thread'; "
            "leave the mode away, or make it a plain function",
            option="mode",
            value=value,
        )
    if value in {"asyncio", "thread", "process", "ray"}:
        return {"mode": value}
    if value == "sync":
        raise Unsupported(
            f"task {facts.task!r}: jobs cannot run in mode='sync', which would stop the foreman "
            "while they do; use 'thread', or an eager app in tests: Treadle(eager=True)",
            backend="",
            feature="mode='sync'",
        )
    raise reading.refuse("mode", value, "'asyncio', 'thread', 'process' or 'ray'")


def _ray(value: Any, _reading: Reading) -> Fields:
    return {"ray": read_ray_options(value)}


def _worker(value: Any, reading: Reading) -> Fields:
    from treadle.pools.worker import WorkerBuilder

    builder: WorkerBuilder[Any] = WorkerBuilder[Any].of(value)
    if builder.pool_options.mode == "sync":
        raise Unsupported(
            f"task {reading.facts.task!r}: jobs cannot have workers of mode='sync', which would "
            "stop the foreman while they work; use 'thread' or 'asyncio'",
            backend="",
            feature="mode='sync'",
        )
    if not builder.pool_options.max_workers:
        raise reading.refuse("worker", value, "workers of a number; set max_workers")
    builder.check_made()
    fields: Fields = {"worker": builder}
    if "queue" not in reading.fields:
        # A line of their own, so that what waits for a worker is in nobody's way.
        fields["queue"] = f"{reading.base.queue}.{_QUEUE_SIGNS.sub('_', builder.name)}"
    return fields


def _errors(value: Any, reading: Reading) -> Fields:
    if not isinstance(value, type) and not is_iterable(value):
        raise reading.refuse("errors", value, "an exception class, or a list of these")
    kinds: tuple[Any, ...] = (value,) if isinstance(value, type) else tuple(value)
    for kind in kinds:
        if not is_error_class(kind):
            raise reading.refuse("errors", kind, "an exception class")
    return {"errors": kinds}


def _breaker(value: Any, reading: Reading) -> Fields:
    if value is None or isinstance(value, Breaker):
        return {"breaker": value}
    raise reading.refuse("breaker", value, "a Breaker, such as Breaker(5, pause='10s')")


_COMMON: dict[str, Reader] = {
    "queue": _queue,
    "priority": _priority,
    "retry": _retry,
    "timeout": _timeout,
    "expires": _expires,
    "delay": _delay,
    "key": read_key,
    "key_slots": _whole("key_slots", 1),
    "ordered": _flag("ordered"),
    "unique": read_unique,
    "limits": read_limits,
    "on_failure": read_on_failure,
    "keep": _keep,
    "result_ttl": _result_ttl,
    "tags": _tags,
    "meta": _meta,
    "max_crashes": _whole("max_crashes", 1),
    "bound": _bound,
    "on_full": _on_full,
    "spool": _flag("spool"),
}

DECLARED: dict[str, Reader] = {
    "name": lambda _value, _reading: {},  # read before the options are
    **_COMMON,
    "delivery": _delivery,
    "mode": _mode,
    "ray": _ray,
    **NEEDS,
    "worker": _worker,
    "errors": _errors,
    "breaker": _breaker,
    "pickle": _flag("pickle"),
    "transaction": _flag("transaction"),
    "durability": read_durability,
}
"""What can be declared."""

FOR_CALLS: dict[str, Reader] = {
    **_COMMON,
    "retry": _call_retry,
    "timeout": _call_timeout,
    "run_at": _run_at,
    "after": read_after,
    "flow": _text("flow"),
    "id": _text("id"),
    "within": lambda value, _reading: {"within": value},
}
"""What can be set for one call."""


def _never_starts(options: TaskOptions) -> bool:
    match options.due, options.expires:
        case In(due), In(expires):
            return due >= expires
        case At(due), At(expires):
            return due >= expires
        case _:
            return False


def _check_transaction(name: str, options: TaskOptions) -> None:
    """Refuse transactions where the code runs on another machine, or without a context."""
    worker = options.worker
    mode = options.mode if worker is None else worker.pool_options.mode
    if mode == "ray" or (mode == "process" and worker is not None):
        what = "jobs" if worker is None else "workers"
        raise Unsupported(
            f"task {name!r}: {what} of mode={mode!r} have no ctx.transaction(); use 'thread' or "
            "'asyncio', or leave transaction= away",
            backend="",
            feature=f"transaction with mode={mode!r}",
        )


def check_together(facts: Facts, given: Mapping[str, Any], options: TaskOptions) -> None:
    """Refuse options that exclude each other.

    Raises:
        InvalidOption: naming both.
    """
    name = facts.task

    def clash(option: str, text: str) -> InvalidOption:
        return InvalidOption(f"task {name!r}: {text}", option=option, value=given.get(option))

    if given.get("worker") is not None and "mode" in given:
        raise clash("mode", "its code runs where its worker lives: worker=Browser.options(mode=…)")
    check_needs(name, given, options)
    if given.get("ray") is not None and options.mode != "ray":
        raise clash("ray", "ray= says what mode='ray' needs of a cluster; give that mode, too")
    if given.get("delay") is not None and given.get("run_at") is not None:
        raise clash("run_at", "delay= and run_at= both say when to start; give one of them")
    if _never_starts(options):
        raise clash("expires", "it would expire before its delay is over, and never start")
    retries = options.retry.max if options.call_retries is None else options.call_retries
    if options.at_most_once and retries != 0:
        raise clash(
            "retry",
            "delivery='at_most_once' and retry= exclude each other: a second attempt is a "
            "second delivery",
        )
    if options.key is None and (options.ordered or options.key_slots != 1):
        option = "ordered" if options.ordered else "key_slots"
        raise clash(option, f"{option}= needs key=, which says what is ordered or counted")
    if options.waits_for_room and options.within is not None:
        raise clash("within", "on_full='wait' cannot wait in a transaction; use on_full='error'")
    if options.transaction:
        _check_transaction(name, options)
    if options.waits_for_room and options.bound is None:
        raise clash("on_full", "on_full='wait' needs bound=, the number of jobs to wait at")
