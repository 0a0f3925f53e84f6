"""Keys from arguments: templates, functions, names."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pydantic
import pytest

from treadle import InvalidCall, InvalidOption
from treadle.keys import KeyLike, key_rule

PARAMETERS = ("user", "sizes", "deep")


def key(value: KeyLike | Any, **arguments: Any) -> str | None:
    given: Mapping[str, Any] = {"user": 1, "sizes": [], "deep": False, **arguments}
    return key_rule(value, option="key", task="shop.t", parameters=PARAMETERS)(given)


class User(pydantic.BaseModel):
    id: int
    name: str


@dataclasses.dataclass
class Order:
    id: int
    lines: set[str]


class Colour(enum.Enum):
    RED = "red"


class TestTemplates:
    def test_fields_are_parameters_with_their_parts(self) -> None:
        assert key("user:{user}") == "user:1"
        assert key("{user.name}", user=User(id=1, name="me")) == "me"
        assert key("{sizes[0]:03d}", sizes=[7]) == "007"
        assert key("only") == "only"
        assert key("{{user}}") == "{user}"

    @pytest.mark.parametrize(
        ("template", "words"),
        [
            ("{usr}", r"no parameter 'usr' \(did you mean 'user'\?\); its parameters are: user"),
            ("{", "is not a template"),
            ("{0}", "no parameter '0'"),
            ("{}", "no parameter ''"),
        ],
    )
    def test_a_bad_one_is_refused_where_it_is_declared(self, template: str, words: str) -> None:
        with pytest.raises(InvalidOption, match=words):
            key(template)

    @pytest.mark.parametrize("template", ["{user.name}", "{sizes[0]}", "{user:%%}"])
    def test_arguments_that_do_not_have_the_parts_are_refused(self, template: str) -> None:
        with pytest.raises(InvalidCall, match="cannot be made of these arguments"):
            key(template)

    def test_an_empty_key_is_refused(self) -> None:
        with pytest.raises(InvalidCall, match="is empty"):
            key("{user}", user="")

    def test_a_long_key_has_a_bound_and_stays_itself(self) -> None:
        one, two = key("{user}", user="x" * 500 + "1"), key("{user}", user="x" * 500 + "2")
        assert one is not None
        assert len(one) <= 200
        assert one != two
        assert one == key("{user}", user="x" * 500 + "1")

    def test_a_task_without_parameters_says_so(self) -> None:
        with pytest.raises(InvalidOption, match="it has none"):
            key_rule("{user}", option="key", task="t", parameters=())


class TestFunctions:
    def test_they_name_what_they_need(self) -> None:
        assert key(lambda user: f"u{user}") == "u1"
        assert key(lambda **arguments: f"{sorted(arguments)}") == "['deep', 'sizes', 'user']"
        assert key(lambda user, of="x": f"{user}{of}") == "1x"
        assert key(lambda: None) is None

    def test_they_give_text(self) -> None:
        for wrong in (3, ""):
            with pytest.raises(InvalidCall, match="it gives a text, or None"):
                key(lambda wrong=wrong: wrong)


class TestNames:
    def test_they_give_a_key_of_the_task(self) -> None:
        one = key(["user"])
        assert one is not None
        assert one.startswith("shop.t:")
        assert one == key(("user",), deep=True)
        assert one != key(["user"], user=2)
        assert one != key(["user", "deep"])

    def test_true_means_all(self) -> None:
        assert key(True) == key(["user", "sizes", "deep"])

    @pytest.mark.parametrize(
        "value",
        [
            {"b": 1, "a": {3, 2}}, frozenset("xyz"), Order(1, {"a", "b"}), User(id=1, name="me"),
            Colour.RED, Path("a/b"), UUID(int=3), b"x", 1.5, None, (1, "x"), 2**63,
        ],
        ids=lambda value: type(value).__name__,
    )  # fmt: skip
    def test_equal_values_give_equal_keys(self, value: Any) -> None:
        assert key(["sizes"], sizes=value) == key(["sizes"], sizes=value)
        assert key(["sizes"], sizes=value) != key(["sizes"], sizes="other")

    @pytest.mark.parametrize("value", [object(), 2**70])
    def test_what_has_no_order_is_refused_with_the_way_out(self, value: Any) -> None:
        with pytest.raises(InvalidCall, match=r"no key can be made of user.*a template"):
            key(["user"], user=value)

    @pytest.mark.parametrize("value", [3, [], None])
    def test_what_is_no_key_is_refused(self, value: Any) -> None:
        with pytest.raises(InvalidOption, match=r"a template such as 'user:{user_id}'"):
            key(value)
