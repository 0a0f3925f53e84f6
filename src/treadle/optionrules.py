"""Readers of the options that relate jobs to each other: keys, uniqueness, limits, order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from treadle.durability import Durability, level_of
from treadle.durations import seconds
from treadle.guards import is_iterable, is_mapping, is_name
from treadle.keys import key_rule
from treadle.options import Reading, UniqueRule
from treadle.policies.limitset import Limits
from treadle.records import After, OnConflict, OnFailure, Scope, Unique

__all__ = [
    "named",
    "read_after",
    "read_durability",
    "read_key",
    "read_limits",
    "read_on_failure",
    "read_unique",
]

Fields = dict[str, Any]


def read_key(value: Any, reading: Reading) -> Fields:
    if value is None:
        return {"key": None}
    facts = reading.facts
    if value is True:
        raise reading.refuse("key", value, "a key; name the parameters that make it")
    rule = key_rule(value, option="key", task=facts.task, parameters=facts.parameters)
    return {"key": rule}


def read_unique(value: Any, reading: Reading) -> Fields:
    facts = reading.facts
    if value is None or value is False:
        return {"unique": None}
    if isinstance(value, Unique):
        given: Mapping[str, Any] = {
            "by": value.key,
            "scope": value.scope,
            "ttl": value.ttl,
            "on_conflict": value.on_conflict,
        }
    elif is_mapping(value):
        given = named(value, "unique", ("by", "scope", "ttl", "on_conflict"), reading)
    else:
        given = {"by": value}
    by = key_rule(
        given.get("by", True), option="unique", task=facts.task, parameters=facts.parameters
    )
    ttl = given.get("ttl")
    scope = given.get("scope", Scope.UNTIL_DONE if ttl is None else Scope.FOR)
    pattern = Unique(
        key="",
        scope=_member(Scope, scope, "unique scope", reading),
        ttl=None if ttl is None else seconds(ttl, "unique ttl"),
        on_conflict=_member(OnConflict, given.get("on_conflict", "skip"), "on_conflict", reading),
    )
    if (pattern.scope is Scope.FOR) != bool(pattern.ttl):
        raise reading.refuse(
            "unique", value, "a rule: the scope 'for' and a ttl above 0 go together"
        )
    return {"unique": UniqueRule(by=by, pattern=pattern)}


def named(
    value: Mapping[Any, Any], option: str, known: Sequence[str], reading: Reading
) -> Mapping[str, Any]:
    """A mapping that has only known keys."""
    for name in value:
        if name not in known:
            raise reading.refuse(option, value, f"known by its keys: {', '.join(known)}")
    return {str(name): one for name, one in value.items()}


def _member(kind: type[StrEnum], value: Any, option: str, reading: Reading) -> Any:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(repr(str(one)) for one in kind)
        raise reading.refuse(option, value, f"one of {known}") from None


def read_limits(value: Any, reading: Reading) -> Fields:
    if value is None:
        return {"limits": None}
    limits = Limits.of(value)
    limits.check(f"task {reading.facts.task!r}", reading.facts.parameters)
    if limits.per_worker:
        raise reading.refuse("limits", value, "shared by the fleet; scope= is for pools of workers")
    return {"limits": limits or None}


def read_durability(value: Any, reading: Reading) -> Fields:
    if value is None:
        return {"durability": None}
    try:
        meant = level_of(value)
    except (TypeError, ValueError):
        meant = None
    if meant is None or meant != value:
        known = ", ".join(repr(str(one)) for one in Durability)
        word = "" if meant is None else f"; {value!r} is the word of Redis for {str(meant)!r}"
        raise reading.refuse("durability", value, f"one of {known}{word}")
    return {"durability": meant}


def read_after(value: Any, reading: Reading) -> Fields:
    ids: list[str] = []
    for one in value if is_iterable(value) else (value,):
        job_id = one if isinstance(one, str) else getattr(one, "id", None)
        if not is_name(job_id):
            raise reading.refuse("after", one, "a job or the id of one")
        ids.append(job_id)
    before: After | None = reading.now("after")
    on_failure = OnFailure.FAIL if before is None else before.on_failure
    return {"after": After(ids=tuple(ids), on_failure=on_failure)}


def read_on_failure(value: Any, reading: Reading) -> Fields:
    what = _member(OnFailure, value, "on_failure", reading)
    before: After | None = reading.now("after")
    return {"after": After(ids=() if before is None else before.ids, on_failure=what)}
