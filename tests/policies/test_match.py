"""Types, predicates and validators."""

from __future__ import annotations

from typing import Any

import pytest

from tests.policies.kit import FIRST
from treadle.errors import InvalidOption
from treadle.policies.match import AttemptInfo, Matcher, callables, conditions, leaf, validators


def matches(wanted: Any, error: BaseException, info: AttemptInfo = FIRST) -> bool:
    return Matcher(conditions(wanted, "on")).matches(error, info)


def test_types_match_with_their_subclasses() -> None:
    assert matches(OSError, ConnectionError())
    assert matches([KeyError, ValueError], UnicodeError("x"))
    assert not matches([KeyError, ValueError], TypeError())
    assert matches(BaseException, SystemExit(1))
    assert not matches((), ValueError())


def test_predicates_are_asked_in_order_until_one_says_yes() -> None:
    asked: list[str] = []

    def no(error: BaseException) -> bool:
        asked.append("no")
        return False

    def yes(error: BaseException) -> bool:
        asked.append("yes")
        return True

    assert matches([no, yes, no], ValueError())
    assert asked == ["no", "yes"]
    assert not matches([KeyError, no], ValueError())


def test_a_predicate_with_two_parameters_gets_the_attempt() -> None:
    info = AttemptInfo(attempt=3, elapsed=9.0, task="t")
    assert matches(lambda error, attempt: attempt == info, ValueError(), info)


@pytest.mark.parametrize(
    "function",
    [
        lambda value: value == "v",
        lambda value, strict=True: value == "v" and strict is True,
        lambda value, /: value == "v",
        lambda value, *rest: value == "v" and not rest,
        "v".__eq__,
    ],
)
def test_one_argument_is_enough(function: Any) -> None:
    assert callables(validators(function, "until"))[0]("v", FIRST)


@pytest.mark.parametrize(
    "function", [lambda value, info: info is FIRST, lambda *both: both == ("v", FIRST)]
)
def test_two_arguments_where_they_are_wanted(function: Any) -> None:
    assert callables(validators(function, "until"))[0]("v", FIRST)


class Silent:
    """Does not tell its parameters, as some functions written in C."""

    @property
    def __signature__(self) -> None:
        raise ValueError("no signature found")

    def __call__(self, value: object) -> bool:
        return value == "v"


def test_a_function_that_does_not_tell_its_parameters_gets_the_value() -> None:
    assert callables(validators(Silent(), "until"))[0]("v", FIRST)
    assert callables(validators([bool, int], "until"))[0]("x", FIRST)


async def later(error: BaseException) -> bool:
    return True


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (later, "is not plain: an async function cannot be asked here; use def"),
        (lambda: True, "is not callable with a value, or with a value and an AttemptInfo"),
        (lambda a, b, c: True, "is not callable with a value, or with"),
    ],
)
def test_a_function_that_cannot_be_asked_is_refused(wanted: Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        conditions(wanted, "on")
    with pytest.raises(InvalidOption, match=says):
        validators(wanted, "until")


def test_a_group_of_one_is_about_its_member() -> None:
    error = ValueError("x")
    assert leaf(error) is error
    assert leaf(ExceptionGroup("a", [ExceptionGroup("b", [error])])) is error
    two = ExceptionGroup("two", [error, KeyError()])
    assert leaf(two) is two
