"""Definitions: frozen values that say at once what is wrong with them."""

from __future__ import annotations

import copy
import pickle
from enum import Enum
from typing import Any

import pytest

import treadle
from treadle import Keep, LimitPool, LimitSet, Unique, backoff
from treadle.errors import InvalidOption, UnknownOption
from treadle.guards import Explained, ExplainedStruct
from treadle.policies import (
    Breaker,
    Limits,
    Rate,
    Retry,
    Slots,
    Timeout,
    decorrelated,
    exponential,
    fibonacci,
    fixed,
    linear,
)
from treadle.policies.backoff import Function

WITHOUT_OPTIONS = {
    *("Context", "Event", "Future", "Job", "Task"),  # made by the package
    *("Foreman", "Lock", "Pool", "Treadle", "Worker"),  # with options of their own, checked by them
}


def is_server_error(error: BaseException) -> bool:
    return getattr(error, "status", 0) >= 500


def tenant_of(url: str) -> str:
    return url.split("/", maxsplit=1)[0]


ALL = [
    (Retry(), "Retry()"),
    (Retry(5, on=OSError), "Retry(max=5, on=(OSError,))"),
    (Retry(None, on=[OSError, is_server_error]), "Retry(max=None, on=(OSError, is_server_error))"),
    (Retry(backoff="3s", until=bool), "Retry(until=(bool,), backoff=Fixed(pause=3))"),
    (Timeout("30s", total="5m"), "Timeout(attempt=30, total=300)"),
    (Timeout(), "Timeout()"),
    (Breaker(3, trips=2), "Breaker(threshold=3, trips=2)"),
    (Rate(100, per="1m", by="tenant"), "Rate(count=100, per=60, by='tenant')"),
    (Rate(2, per=1, by=tenant_of), "Rate(count=2, per=1, by=tenant_of)"),
    (Slots(8, key="gpu", units=2), "Slots(slots=8, units=2, key='gpu')"),
    (Limits(Slots(8), Rate(1, per=1)), "Limits(Slots(slots=8), Rate(count=1, per=1))"),
    (fixed(3), "Fixed(pause=3)"),
    (linear("1s", 2, jitter=0.5), "Linear(start=1, step=2, jitter=0.5)"),
    (exponential(factor=3), "Exponential(factor=3)"),
    (fibonacci(max="1h"), "Fibonacci(max=3600)"),
    (decorrelated("2s"), "Decorrelated(start=2)"),
    (Function(len), "Function(call=len)"),
]


@pytest.mark.parametrize(("definition", "text"), ALL, ids=[text for _, text in ALL])
def test_a_definition_is_a_value(definition: Any, text: str) -> None:
    assert repr(definition) == text
    twin = pickle.loads(pickle.dumps(definition))
    assert twin == definition
    assert hash(twin) == hash(definition)
    assert copy.copy(definition) == definition
    assert definition != object()
    assert all(definition != other for other, _ in ALL if other is not definition)


def test_a_definition_is_frozen() -> None:
    with pytest.raises(AttributeError, match=r"Retry is frozen; make another .*replace\(max=…\)"):
        Retry().max = 3  # type: ignore[misc, unused-ignore]
    with pytest.raises(AttributeError, match="frozen"):
        del Retry().max


def test_replace_keeps_the_rest_and_checks_again() -> None:
    retry = Retry(2, on=OSError, until=bool)
    assert retry.replace(max=None) == Retry(None, on=OSError, until=bool)
    assert retry.max == 2
    with pytest.raises(InvalidOption, match="max: -1"):
        retry.replace(max=-1)
    with pytest.raises(UnknownOption, match="Retry has no option 'retries'"):
        retry.replace(retries=1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Retry(give_up=OSError), r"'give_up' \(did you mean 'give_up_on'\?\)"),
        (lambda: Retry(max_retries=3), r"'max_retries' \(did you mean 'max'\?\)"),
        (lambda: Retry(autoretry_for=OSError), r"'autoretry_for' \(did you mean 'on'\?\)"),
        (lambda: Rate(1, period=1), r"'period' \(did you mean 'per'\?\)"),
        (lambda: Slots(1, weight=2), r"'weight' \(did you mean 'units'\?\)"),
        (lambda: Timeout(attempts=3), r"'attempts' \(did you mean 'attempt'\?\)"),
        (lambda: Breaker(treshold=3), r"'treshold' \(did you mean 'threshold'\?\)"),
        (lambda: Rate(1, per=1, bursts=3), r"'bursts' \(did you mean 'burst'\?\)"),
        (lambda: Slots(1, unit=2), r"'unit' \(did you mean 'units'\?\)"),
        (lambda: Unique(by="mail"), r"'by' \(did you mean 'key'\?\)"),
        (lambda: Unique(key="a", scop="for"), r"'scop' \(did you mean 'scope'\?\)"),
        (lambda: Keep(succeded=1), r"'succeded' \(did you mean 'succeeded'\?\)"),
        (lambda: LimitSet(shard=True), r"'shard' \(did you mean 'shared'\?\)"),
        (lambda: LimitPool(balance="random"), r"'balance' \(did you mean 'balancing'\?\)"),
        (lambda: Slots(1, zzz=2), r"'zzz'\. Known options: slots, units, key, by"),
    ],
)
def test_an_unknown_option_names_the_nearest(make: Any, says: str) -> None:
    with pytest.raises(UnknownOption, match=says):
        make()


@pytest.mark.parametrize(
    ("make", "option", "says"),
    [
        (
            lambda: Unique("mail"),
            "key",
            r"nothing by position, and 'mail' .* Unique\(key='mail'\)\. Known options: key, scope",
        ),
        (lambda: Unique(), "key", r"Unique needs key: Unique\(key=…\)"),
        (lambda: Keep("1d"), "succeeded", r"name it, such as Keep\(succeeded='1d'\)"),
        (lambda: Retry(3, OSError), "on", r"Retry takes max by position, and <class 'OSError'>"),
        (lambda: Retry(3, max=4), "max", r"max twice: 3 by position and 4 by name"),
        (lambda: Timeout(1, 2), "total", r"such as Timeout\(total=2\)"),
        (lambda: Breaker(1, 2), "pause", r"such as Breaker\(pause=2\)"),
        (lambda: Rate(1), "per", r"Rate needs per: Rate\(per=…\)"),
        (lambda: Slots(), "slots", r"Slots needs slots"),
        (lambda: backoff.Fixed(1, 2), "jitter", r"such as Fixed\(jitter=2\)"),
    ],
)
def test_a_call_that_does_not_fit_says_how_it_would(make: Any, option: str, says: str) -> None:
    with pytest.raises(InvalidOption, match=says) as caught:
        make()
    assert caught.value.option == option


@pytest.mark.parametrize("name", [name for name in treadle.__all__ if name[0].isupper()])
def test_no_definition_of_the_package_fails_without_a_word(name: str) -> None:
    """Whatever holds options has one mechanism; a class that is added has to have it, too."""
    kind = getattr(treadle, name)
    if isinstance(kind, Explained | ExplainedStruct):
        with pytest.raises(UnknownOption, match=f"{name} has no option 'zzz'. Known options: "):
            kind(zzz=1)
    else:
        assert (
            not isinstance(kind, type)
            or name in WITHOUT_OPTIONS
            or issubclass(kind, BaseException | Enum)
        )


def test_an_error_of_the_code_inside_stays_what_it_is() -> None:
    class Odd(metaclass=Explained):
        def __init__(self, size: int) -> None:
            self.size = size + ""  # type: ignore[operator]

    with pytest.raises(TypeError, match="unsupported operand"):
        Odd(3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Retry(-1), "max: -1 is not a whole number from 0"),
        (lambda: Retry(1.5), "max: 1.5 is not a whole number from 0"),
        (lambda: Retry(True), "max: True is not a whole number from 0"),
        (lambda: Retry("3"), "max: '3' is not a whole number from 0"),
        (lambda: Retry(on=3), "on: 3 is not callable, nor a list of such"),
        (lambda: Retry(on="OSError"), "not an exception type but text; write on=OSError"),
        (lambda: Retry(on=[OSError, 3]), "on: 3 is not an exception type or a predicate"),
        (lambda: Retry(on=int), "on: <class 'int'> is not a type of exceptions"),
        (lambda: Retry(give_up_on=dict), "give_up_on: .* is not a type of exceptions"),
        (lambda: Retry(until=["no"]), "until: 'no' is not a function that tells"),
        (lambda: Retry(backoff=type), "backoff: .* but a class"),
        (lambda: Retry(backoff="soon"), "backoff: 'soon' is not a duration"),
        (
            lambda: Retry(backoff="exponential"),
            r"the curve is made by backoff\.exponential\('1s'\)",
        ),
        (lambda: Rate(1, per=1, algorithm="fixed_window"), "did you mean 'fixed'"),
        (lambda: Rate(1, per=1, algorithm="sliding_window"), "did you mean 'sliding'"),
        (lambda: Rate(0.5, per=1), r"in a longer time is Rate\(1, per=2\)"),
        (lambda: Timeout(0), "attempt: 0 is not above 0; None means without bound"),
        (lambda: Timeout(total="0s"), "total: '0s' is not above 0"),
        (lambda: Breaker(0), "threshold: 0 is not a whole number from 1"),
        (lambda: Breaker(pause=0), "pause: 0 is not above 0"),
        (lambda: Breaker(pause=10, max_pause=5), "max_pause: 5 is not at least the first pause"),
        (lambda: Breaker(factor=0.5), "factor: 0.5 is not a number from 1"),
        (lambda: Breaker(trips=0), "trips: 0 is not a whole number from 1"),
        (lambda: Rate(0, per=1), "count: 0 is not a number above 0"),
        (lambda: Rate(float("nan"), per=1), "count: nan is not a number above 0"),
        (lambda: Rate(1, per=0), "per: 0 is not above 0"),
        (lambda: Rate(1, per=1, cost=-1), "cost: -1 is not a number from 0"),
        (lambda: Rate(5, per=1, cost=6), "cost: 6.0 is not within the 5 units"),
        (lambda: Rate(5, per=1, burst=2, cost=3), "cost: 3.0 is not within the 2 units"),
        (
            lambda: Rate(5, per=1, algorithm="leaky_bucket", cost=2),
            "cost: 2.0 is not within the 1 units",
        ),
        (lambda: Rate(5, per=1, algorithm="fixed", burst=2), "burst: 2 is not an option of fixed"),
        (lambda: Rate(5, per=1, algorithm="gcar"), r"algorithm: .* \(did you mean 'gcra'\?\)"),
        (lambda: Rate(5, per=1, key=""), "key: '' is not a text without '@'"),
        (lambda: Rate(5, per=1, key="a@b"), "key: 'a@b' is not a text without '@'"),
        (lambda: Slots(5, key="user:{id}"), "is not filled in; say .*: by='id'"),
        (lambda: Rate(5, per=1, key="{user.id:>4}"), "is not filled in; say .*: by='user'"),
        (lambda: Slots(5, by="no name"), "by: 'no name' is not the name of a parameter"),
        (lambda: Slots(5, by=3), "by: 3 is not the name of a parameter"),
        (lambda: Slots(0), "slots: 0 is not a whole number from 1"),
        (lambda: Slots(2, units=3), "units: 3 is not within the 2 slots"),
        (lambda: linear(1, jitter=2), "jitter: 2 is not a number from 0 to 1"),
        (lambda: exponential(factor=0.9), "factor: 0.9 is not a number from 1"),
    ],
)
def test_a_value_that_cannot_work_is_refused_where_it_is_given(make: Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        make()
