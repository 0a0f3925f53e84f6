"""Limits: definitions that give the asks of a call."""

from __future__ import annotations

import functools
import pickle
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from treadle.errors import InvalidOption, UnknownOption
from treadle.policies import Limits, Rate, Slots
from treadle.policies.limitset import Wanted
from treadle.records import Algorithm, Hold, Spend

TASK = "shop.charge"


class Plan(Enum):
    FREE = "free"


def asks(*limits: Rate | Slots, **arguments: Any) -> tuple[Any, ...]:
    return Limits(*limits).asks(TASK, arguments)


def keys(*limits: Rate | Slots, **arguments: Any) -> list[str]:
    return [ask.key for ask in asks(*limits, **arguments)]


def test_a_rate_is_an_ask_to_spend() -> None:
    assert asks(Rate(100, per="1m")) == (
        Spend(key="shop.charge:rate/60", count=100.0, per=60.0, cost=1.0),
    )
    assert asks(Rate(10, per=1, burst=3, cost=2, key="api")) == (
        Spend(key="api", count=10.0, per=1.0, cost=2.0, burst=3.0),
    )


@pytest.mark.parametrize(
    ("name", "algorithm", "burst"),
    [
        ("gcra", Algorithm.GCRA, None),
        ("token_bucket", Algorithm.GCRA, None),
        ("leaky_bucket", Algorithm.GCRA, 1.0),
        ("fixed", Algorithm.FIXED, None),
        ("sliding", Algorithm.SLIDING, None),
    ],
)
def test_algorithms(name: str, algorithm: Algorithm, burst: float | None) -> None:
    (ask,) = asks(Rate(10, per=1, algorithm=name))
    assert (ask.algorithm, ask.burst) == (algorithm, burst)


def test_slots_are_an_ask_to_hold() -> None:
    assert asks(Slots(8)) == (Hold(key="shop.charge:slots", slots=8),)
    assert asks(Slots(8, units=3, key="gpu")) == (Hold(key="gpu", slots=8, units=3),)


def test_a_limit_for_each_value_of_a_parameter() -> None:
    assert keys(Slots(1, by="tenant"), tenant="acme") == ["shop.charge:slots:tenant@acme"]
    assert keys(Rate(1, per=1, key="api", by="tenant"), tenant="acme", x=1) == ["api@acme"]


def host(url: str) -> str:
    return url.split("/", maxsplit=1)[0]


def by_host(url: str, secure: bool = True, **_: Any) -> str:
    return f"{host(url)}{'s' if secure else ''}"


def test_a_limit_for_each_value_of_a_function() -> None:
    limit = Slots(1, key="web", by=lambda url: url.split("/")[0])
    assert keys(limit, url="a.example/x", other=1) == ["web@a.example"]
    assert keys(Slots(1, by=by_host), url="a/x", secure=False) == ["shop.charge:slots:by_host@a"]
    assert keys(Slots(1, by=by_host), url="a/x") == ["shop.charge:slots:by_host@as"]
    partial = Slots(1, by=functools.partial(by_host, secure=True))
    assert keys(partial, url="a/x") == ["shop.charge:slots:partial@as"]
    optional = Slots(1, key="k", by=lambda a, b=2: f"{a}{b}")
    assert keys(optional, a=1) == ["k@12"]
    assert keys(optional, a=1, b=3) == ["k@13"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (None, "None"),
        (True, "True"),
        (Decimal("1.5"), "1.5"),
        (date(2026, 1, 2), "2026-01-02"),
        (UUID(int=5), str(UUID(int=5))),
        (Path("a/b"), "a/b"),
        (Plan.FREE, "free"),
    ],
)
def test_values_that_name_a_limit(value: Any, text: str) -> None:
    assert keys(Slots(1, key="k", by="x"), x=value) == [f"k@{text}"]


@pytest.mark.parametrize("value", [[1], {"a": 1}, object(), b"x"])
def test_values_that_cannot_name_a_limit(value: Any) -> None:
    with pytest.raises(InvalidOption, match=r"by: shop\.charge gave .* which cannot name a limit"):
        keys(Slots(1, by="x"), x=value)


def test_a_long_value_is_hashed() -> None:
    (one,) = keys(Slots(1, key="k", by="x"), x="a" * 1000)
    (two,) = keys(Slots(1, key="k", by="x"), x="a" * 999 + "b")
    assert one.startswith("k@#")
    assert len(one) < 50
    assert one != two


def test_a_cost_by_the_arguments() -> None:
    limit = Rate(1000, per=60, cost=lambda tokens: tokens * 2, key="llm")
    assert [ask.cost for ask in asks(limit, tokens=30, prompt="x")] == [60.0]
    assert asks(limit, tokens=0) == ()
    with pytest.raises(InvalidOption, match=r"cost: 1002\.0 is not within the 1000 units"):
        asks(limit, tokens=501)
    with pytest.raises(InvalidOption, match="cost: -2 is not a number from 0"):
        asks(limit, tokens=-1)
    with pytest.raises(InvalidOption, match="cost: 'xx' is not a number"):
        asks(limit, tokens="x")


def test_parameters_that_are_not_there() -> None:
    limits = Limits(Slots(1, by="tenant"), Rate(9, per=1, cost=lambda size: size))
    limits.check(TASK, ["tenant", "size", "more"])
    with pytest.raises(
        InvalidOption, match=r"by: shop\.charge has no parameter 'tenant'; its parameters: size"
    ):
        limits.check(TASK, ["size"])
    with pytest.raises(InvalidOption, match=r"cost: shop\.charge has no parameter 'size'"):
        limits.check(TASK, ["tenant"])
    with pytest.raises(InvalidOption, match="'tenant'; its parameters: none"):
        limits.asks(TASK)


@pytest.mark.parametrize("by", [lambda *names: "x", lambda tenant, /: "x"])
def test_a_function_has_to_name_its_parameters(by: Any) -> None:
    with pytest.raises(InvalidOption, match=r"by: .* by position; let it name the parameters"):
        Slots(1, by=by)


def test_several_are_asked_for_together() -> None:
    limits = Limits(Slots(4), Rate(10, per=1), Rate(100, per=60), Slots(9, key="all"))
    assert [ask.key for ask in limits.asks("t")] == ["t:slots", "t:rate/1", "t:rate/60", "all"]
    assert limits.static
    assert not Limits(Slots(1), Slots(2, by="x")).static
    assert not Limits(Rate(1, per=1, cost=lambda x: x)).static
    assert Limits().asks("t") == ()


@pytest.mark.parametrize(
    "limits",
    [
        (Slots(1), Slots(2)),
        (Rate(1, per=1), Rate(2, per=1)),
        (Rate(1, per=1, key="k"), Slots(2, key="k")),
        (Slots(1, key="k", by="a"), Slots(2, key="k", by="b")),
    ],
)
def test_two_limits_of_one_key_are_refused(limits: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidOption, match=r"limits: two of them have the key .*with key="):
        Limits(*limits)


def test_what_an_option_holds() -> None:
    one, two = Slots(1), Rate(1, per=1)
    shared = Limits(one, two)
    assert Limits.of(shared) is shared
    assert Limits.of(None) == Limits()
    assert Limits.of(one) == Limits(one)
    assert Limits.of([one, two]) == shared
    assert Limits.of(limit for limit in (one, two)) == shared
    assert pickle.loads(pickle.dumps(shared)) == shared
    assert type(pickle.loads(pickle.dumps(shared))) is Limits
    for wrong in (3, "slots"):
        with pytest.raises(InvalidOption, match=f"limits: {wrong!r} is not a list of Rate"):
            Limits.of(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match=r"give each by itself: Limits\(Slots\(4\), …\)"):
        Limits([Slots(1)])  # type: ignore[arg-type]  # what is wrong here
    with pytest.raises(InvalidOption, match=r"limits: 3 is not a Rate or Slots, such as Rate\("):
        Limits.of([one, 3])  # type: ignore[list-item]


def test_a_key_that_is_the_own_name_of_another_limit_is_refused_at_the_call() -> None:
    with pytest.raises(InvalidOption, match="two of them have the key 't:slots'"):
        Limits(Slots(1), Slots(2, key="t:slots")).asks("t")


def amounts(limits: Limits, **wanted: Any) -> dict[str, float]:
    """What is asked for by name, in units."""
    return {
        name: ask.units if isinstance(ask, Hold) else ask.cost
        for name, ask in limits.asks_of(Wanted(**wanted)).items()
    }


def test_code_asks_by_the_names_of_limits() -> None:
    limits = Limits(Rate(9, per=60), Slots(4, units=2), Rate(50, per=1, key="tokens", cost=0))
    assert limits.names == ("rate/60", "slots", "tokens")
    assert amounts(limits) == {"rate/60": 1, "slots": 2}
    assert amounts(limits, amounts={"tokens": 5, "slots": 0}) == {"rate/60": 1, "tokens": 5}
    assert amounts(limits, amounts={"tokens": 5}, named_only=True) == {"tokens": 5}
    assert amounts(limits, named_only=True) == {}
    with pytest.raises(UnknownOption, match=r"no limit 'token' .*did you mean 'tokens'") as caught:
        limits.asks_of(Wanted(amounts={"token": 1}))
    assert caught.value.known == limits.names
    with pytest.raises(InvalidOption, match="5 is not within the 4 slots"):
        limits.asks_of(Wanted(amounts={"slots": 5}))


def test_calls_that_hold_or_spend_nothing_by_themselves() -> None:
    assert asks(Slots(4, units=0), Rate(1, per=1, cost=0)) == ()


def test_a_limit_of_each_worker_has_its_number_in_the_key() -> None:
    limits = Limits(Slots(1, key="mine", scope="worker"), Slots(3, key="all"))
    assert limits.per_worker
    assert not Limits(Slots(1)).per_worker
    keys_of = {name: ask.key for name, ask in limits.asks_of(Wanted(worker=2)).items()}
    assert keys_of == {"mine": "mine@worker/2", "all": "all"}
    assert limits.asks_of(Wanted())["mine"].key == "mine"
    with pytest.raises(InvalidOption, match="scope: 'workers' is not one of worker"):
        Slots(1, scope="workers")  # type: ignore[arg-type]


def test_what_can_be_had_at_once() -> None:
    assert Slots(4).capacity == 4
    assert Rate(10, per=1, burst=3).capacity == 3
    assert Rate(10, per=1, algorithm="leaky_bucket").capacity == 1
