"""What the model draws: jobs, verdicts, changes, queries."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from treadle.faults import Fault
from treadle.ports import (
    Cancel,
    Change,
    Delete,
    Query,
    QueueRule,
    Reprioritise,
    Reschedule,
    Retry,
)
from treadle.records import (
    After,
    Algorithm,
    Ask,
    At,
    Cause,
    Hold,
    In,
    JobState,
    Keep,
    Note,
    OnConflict,
    OnFailure,
    Scope,
    Spend,
    Unique,
    When,
)
from treadle.testing.clock import START
from treadle.verdicts import Again, Cancelled, Done, Failed, Released, Verdict

__all__ = [
    "QUEUES",
    "SLOTS",
    "asks",
    "changes",
    "claims",
    "jobs",
    "notes",
    "queries",
    "rules",
    "verdicts",
]

QUEUES = ("a", "a.x", "a.y", "a.x.1", "b", "c")
SLOTS = {"m": 2, "n": 1}
"""Limits by slots, of which a job and a permit ask the same number."""
_KEYS = ("k", "l")
_FAULT = Fault(
    type="ValueError", message="no seat is frée\nhere", traceback="line 1\n", notes=("one",)
)

Fields = dict[str, Any]


def _fields(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Fields]:
    return st.fixed_dictionaries(fields)


_whens: st.SearchStrategy[When] = st.sampled_from(
    [In(0.0), In(0.5), In(2.0), In(5.0), In(-1.0), At(START + 3.0), At(START - 9.0)]
)


def _hold(key: str, units: int) -> Hold:
    return Hold(key=key, slots=SLOTS[key], units=units)


def _unique(key: str, scope: Scope, conflict: OnConflict) -> Unique:
    ttl = 5.0 if scope is Scope.FOR else None
    return Unique(key=key, scope=scope, ttl=ttl, on_conflict=conflict)


def _after(back: list[str], on: OnFailure) -> After:
    # How far back among the pushed, made into ids by whoever pushes.
    return After(ids=tuple(back), on_failure=on)


def _together(first: Fields, rest: list[Fields]) -> Fields:
    return {name: value for fields in (first, *rest) for name, value in fields.items()}


def _query(filters: list[Fields], limit: int, oldest: bool) -> Query:
    return Query(**_together({}, filters), limit=limit, oldest_first=oldest)


def _rule(rule: QueueRule | None) -> bytes | None:
    return None if rule is None else msgspec.msgpack.encode(rule)


_holds = st.builds(
    _hold,
    st.sampled_from(sorted(SLOTS)),
    st.sampled_from((1, 1, 2, 3)),
)
_spends = st.sampled_from(
    (
        Spend(key="r", count=2, per=1.0),
        Spend(key="r", count=2, per=1.0, cost=2.0),
        Spend(key="s", count=3, per=10.0, burst=1),
        Spend(key="f", count=2, per=5.0, algorithm=Algorithm.FIXED),
        Spend(key="g", count=2, per=5.0, algorithm=Algorithm.SLIDING),
    )
)
_uniques = st.builds(
    _unique,
    st.sampled_from(("u", "v")),
    st.sampled_from(list(Scope)),
    st.sampled_from(list(OnConflict)),
)
_afters = st.builds(
    _after,
    st.lists(st.sampled_from(("-1", "1", "2", "3", "7", "nobody")), max_size=3, unique=True),
    st.sampled_from(list(OnFailure)),
)
_keeps = st.sampled_from(
    [Keep(succeeded=seconds, failed=seconds, cancelled=seconds) for seconds in (0.0, 3.0, None)]
)

_FREE = (
    _fields(due=_whens),
    _fields(expires=_whens),
    _fields(unique=_uniques),
    _fields(after=_afters),
    _fields(keep=_keeps),
    _fields(priority=st.sampled_from((5, -5, 100))),
    _fields(at_most_once=st.just(True)),
    _fields(max_crashes=st.sampled_from((1, 2))),
    _fields(bound=st.sampled_from((0, 2, 6))),
    _fields(flow=st.just("f"), tags=st.just(("x", "y"))),
    _fields(tags=st.just(("x",)), meta=st.just({"who": "me"})),
    _fields(asks=_spends.map(lambda one: (one,))),
)
_LINES = (
    _fields(key=st.sampled_from(_KEYS)),
    _fields(key=st.sampled_from(_KEYS), ordered=st.just(True)),
    _fields(key=st.just("k"), key_slots=st.just(2)),
    _fields(asks=_holds.map(lambda one: (one,))),
    _fields(asks=st.tuples(_holds, _spends)),
)


def jobs(*, lines: bool) -> st.SearchStrategy[Fields]:
    """Fields of a new job: a queue, a task and a few things that make it special.

    Args:
        lines: whether it may ask for a key or for slots.
    """
    special = st.one_of(*_FREE, *_LINES, *_LINES) if lines else st.one_of(*_FREE)
    plain = _fields(queue=st.sampled_from(QUEUES), task=st.sampled_from(("t.one", "t.two")))
    return st.builds(_together, plain, st.lists(special, max_size=3))


notes: st.SearchStrategy[Note | None] = st.sampled_from(
    (None, None, Note(message="half", current=1.0, total=2.0), Note(checkpoint=b"here"))
)

verdicts: st.SearchStrategy[Verdict] = st.sampled_from(
    (
        Done(result=b"result"),
        Done(),
        Done(skipped="nothing to do"),
        Again(),
        Again(delay=1.0),
        Again(delay=2.0, counts=False, cause=Cause.TIMEOUT),
        Again(cause=Cause.CRASHED),
        Again(delay=0.5, fault=_FAULT),
        Failed(),
        Failed(fault=_FAULT),
        Failed(cause=Cause.UNDECODABLE),
        Failed(cause=Cause.TIMEOUT),
        Released(),
        Released(delay=1.0),
        Released(delay=1.0, reason="later"),
        Released(reason="not now"),
        Cancelled(),
        Cancelled(fault=_FAULT),
    )
)

changes: st.SearchStrategy[Change] = st.one_of(
    st.sampled_from((Cancel(), Delete(), Retry())),
    st.sampled_from((-5, 0, 5)).map(lambda priority: Reprioritise(priority=priority)),
    _whens.map(lambda when: Reschedule(due=when)),
    _whens.map(lambda when: Retry(due=when)),
)

_filters = st.one_of(
    _fields(queue=st.sampled_from(("a", "a.x", "b"))),
    _fields(states=st.lists(st.sampled_from(list(JobState)), min_size=1, max_size=3).map(tuple)),
    _fields(
        queue=st.sampled_from(("a", "b")),
        states=st.sampled_from(list(JobState)).map(lambda s: (s,)),
    ),
    _fields(task=st.sampled_from(("t.one", "t.*", "t.none"))),
    _fields(task=st.just("t.two"), states=st.just((JobState.FAILED,))),
    _fields(tags=st.sampled_from((("x",), ("y", "x"), ("z",)))),
    _fields(unique=st.sampled_from(("u", "v"))),
    _fields(key=st.sampled_from(_KEYS)),
    _fields(flow=st.just("f")),
    _fields(since=st.sampled_from((START, START + 2.0)), until=st.just(START + 9.0)),
    _fields(error=st.sampled_from(("Value", "seat is"))),
)

queries: st.SearchStrategy[Query] = st.builds(
    _query,
    st.lists(_filters, min_size=1, max_size=2),
    st.sampled_from((1, 3, 100)),
    st.booleans(),
)

claims: st.SearchStrategy[Fields] = _fields(
    limit=st.sampled_from((0, 1, 2, 3, 6)),
    queues=st.sampled_from((("*",), ("a", "b"), ("a.x", "*"), ("c", "a"), ("b", "a.x.1", "a"))),
    exclude=st.sampled_from(((), (), ("a.y",), ("b",), ("a",), ("*",))),
    lease=st.sampled_from((4.0, 1.0, 30.0)),
)

rules: st.SearchStrategy[bytes | None] = st.sampled_from(
    (
        QueueRule(paused=True),
        QueueRule(paused=True, until=START + 5.0),
        QueueRule(max_running=1),
        QueueRule(max_running=2),
        QueueRule(max_running=0),
        QueueRule(),
        None,
    )
).map(_rule)


def asks(*, lines: bool) -> st.SearchStrategy[tuple[Ask, ...]]:
    """What a request of the worker door wants; its slots are those of the jobs, or its own."""
    holds = _holds if lines else _holds.map(_own)
    spends: st.SearchStrategy[Ask] = _spends
    return st.lists(st.one_of(holds, spends), min_size=1, max_size=2).map(tuple)


def _own(hold: Hold) -> Hold:
    return msgspec.structs.replace(hold, key=f"door-{hold.key}")
