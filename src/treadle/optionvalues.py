"""Readers of the options of a task: from what a user writes to fields of ``TaskOptions``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from treadle.backends.common.names import check_queue
from treadle.durations import seconds, timestamp
from treadle.errors import InvalidOption, Unsupported
from treadle.guards import is_error_class, is_mapping
from treadle.optionrules import (
    named,
    read_after,
    read_key,
    read_limits,
    read_on_failure,
    read_unique,
)
from treadle.options import Facts, Reading, TaskOptions
from treadle.policies.retry import Retry
from treadle.policies.timeout import Timeout
from treadle.records import At, In, Keep

__all__ = ["DECLARED", "FOR_CALLS", "check_together"]

Fields = dict[str, Any]
Reader = Callable[[Any, Reading], Fields]
_LATER = ("process", "ray")


def _queue(value: Any, reading: Reading) -> Fields:
    if not isinstance(value, str):
        raise reading.refuse("queue", value, "the name of a queue")
    return {"queue": check_queue(value)}


def _whole(option: str, least: int, most: float = math.inf) -> Reader:
    """A reader of whole numbers between two bounds."""

    def read(value: Any, reading: Reading) -> Fields:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            bounds = f"from {least}" + ("" if most == math.inf else f" to {most}")
            raise reading.refuse(option, value, f"a whole number {bounds}")
        return {option: value}

    return read


def _flag(option: str) -> Reader:
    def read(value: Any, reading: Reading) -> Fields:
        if not isinstance(value, bool):
            raise reading.refuse(option, value, "True or False")
        return {option: value}

    return read


def _retry(value: Any, _reading: Reading) -> Fields:
    return {"retry": Retry.of(value)}


def _call_retry(value: Any, reading: Reading) -> Fields:
    if value is None:
        return {"call_retries": 0}
    if isinstance(value, Retry):
        raise InvalidOption(
            f"retry for one call of task {reading.facts.task!r} is a number; "
            "the rest of a Retry(…) belongs where the task is declared, "
            "because a job carries only data",
            option="retry",
            value=value,
        )
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
        return {"keep": value}
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
    tags = (value,) if isinstance(value, str) else tuple(value)
    for tag in tags:
        if not isinstance(tag, str) or not 0 < len(tag) <= 128:
            raise reading.refuse("tags", tag, "a tag: a text of 1 to 128 characters")
    return {"tags": tuple(dict.fromkeys((*reading.base.tags, *tags)))}


def _meta(value: Any, reading: Reading) -> Fields:
    if not is_mapping(value) or not all(isinstance(name, str) for name in value):
        raise reading.refuse("meta", value, "a dict with texts as keys")
    # A copy: what the caller does with the dict later is not the job's business.
    meta: dict[str, Any] = {**reading.base.meta, **value}
    try:
        return {"meta": msgspec.json.decode(msgspec.json.encode(meta))}
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise reading.refuse("meta", value, f"JSON: {error}") from error


def _text(option: str) -> Reader:
    def read(value: Any, reading: Reading) -> Fields:
        if value is None and option == "flow":
            return {option: None}
        if not isinstance(value, str) or not 0 < len(value) <= 128:
            raise reading.refuse(option, value, "a text of 1 to 128 characters")
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
    if value in {"asyncio", "thread"}:
        return {"mode": value}
    if value == "sync":
        raise Unsupported(
            f"task {facts.task!r}: jobs cannot run in mode='sync', which would stop the foreman "
            "while they do; use 'thread', or an eager app in tests: Treadle(eager=True)",
            backend="",
            feature="mode='sync'",
        )
    if value in _LATER:
        raise Unsupported(
            f"task {facts.task!r}: mode={value!r} is not available for jobs in this version; "
            "'asyncio' and 'thread' are, and 'treadle run --processes N' uses more cores",
            backend="",
            feature=f"mode={value!r}",
        )
    raise reading.refuse("mode", value, "'asyncio' or 'thread'")


def _worker(value: Any, reading: Reading) -> Fields:
    raise Unsupported(
        f"task {reading.facts.task!r}: worker= is not available for jobs in this version; "
        "keep state with Depends(…, scope='foreman')",
        backend="",
        feature="worker",
    )


def _errors(value: Any, reading: Reading) -> Fields:
    kinds: tuple[Any, ...] = (value,) if isinstance(value, type) else tuple(value)
    for kind in kinds:
        if not is_error_class(kind):
            raise reading.refuse("errors", kind, "an exception class")
    return {"errors": kinds}


_COMMON: dict[str, Reader] = {
    "queue": _queue,
    "priority": _whole("priority", -100, 100),
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
}

DECLARED: dict[str, Reader] = {
    "name": lambda _value, _reading: {},  # read before the options are
    **_COMMON,
    "delivery": _delivery,
    "mode": _mode,
    "worker": _worker,
    "errors": _errors,
    "pickle": _flag("pickle"),
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


def check_together(facts: Facts, given: Mapping[str, Any], options: TaskOptions) -> None:
    """Refuse options that exclude each other.

    Raises:
        InvalidOption: naming both.
    """
    name = facts.task

    def clash(option: str, text: str) -> InvalidOption:
        return InvalidOption(f"task {name!r}: {text}", option=option, value=given.get(option))

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
    if options.waits_for_room and options.bound is None:
        raise clash("on_full", "on_full='wait' needs bound=, the number of jobs to wait at")
