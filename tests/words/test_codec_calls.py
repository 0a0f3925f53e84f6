"""Arguments are bound as a call would bind them, and mistakes are named."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import msgspec
import pytest

from treadle.codec import Shape
from treadle.errors import InvalidCall, NotDecodable, NotEncodable

if TYPE_CHECKING:
    from collections import OrderedDict as Missing


class Extra(TypedDict, total=False):
    size: int


CONTEXT: Any = object()


def plain(a: int, b: str = "x") -> None: ...
def keyword(a: int, *, b: str, c: int = 1) -> None: ...
def positional(a: int, b: int = 2, /, c: int = 3) -> None: ...
def many(a: int, *rest: int, b: str = "x", **more: Path) -> None: ...
def everything(a: int, /, b: int, *rest: int, c: int, **more: Any) -> None: ...
def unpacked(**more: Unpack[Extra]) -> None: ...
def nothing() -> None: ...
def odd_names(self: int, cls: int, args: int, kwargs: int, call: int, name: int = 1) -> None: ...
def injected(a: int, ctx: Any = CONTEXT, b: int = 2) -> None: ...
def with_worker(worker: Any, url: str, n: int = 1) -> None: ...


def shape(function: Callable[..., Any], *skip: str) -> Shape:
    return Shape.of(function, name="t", skip=skip)


CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (plain, (1,), {}),
    (plain, (1, "y"), {}),
    (plain, (), {"b": "y", "a": 1}),
    (keyword, (1,), {"b": "y"}),
    (keyword, (), {"a": 1, "b": "y", "c": 2}),
    (positional, (1,), {}),
    (positional, (1, 2), {"c": 4}),
    (positional, (1, 2, 3), {}),
    (many, (1,), {}),
    (many, (1, 2, 3), {"b": "y", "x": Path("p"), "a_": Path("q")}),
    (everything, (1, 2), {"c": 3}),
    (everything, (1, 2, 3, 4), {"c": 3, "a": "not the first", "z": (1,)}),
    (unpacked, (), {"size": 3}),
    (unpacked, (), {}),
    (nothing, (), {}),
    (odd_names, (1, 2, 3), {"kwargs": 4, "call": 5}),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), CALLS)
def test_the_function_gets_what_a_plain_call_would_give_it(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    seen: list[Any] = []

    @functools.wraps(function)
    def spy(*a: Any, **k: Any) -> None:
        import inspect

        bound = inspect.signature(function).bind(*a, **k)
        bound.apply_defaults()
        seen.append(bound.arguments)

    task = shape(function)
    new_args, new_kwargs = task.decode(task.encode(args, kwargs))
    spy(*args, **kwargs)
    spy(*new_args, **new_kwargs)
    assert seen[0] == seen[1]


def test_defaults_are_not_stored() -> None:
    def before(a: int, b: str = "old") -> None: ...
    def after(a: int, b: str = "new", c: int = 0) -> None: ...

    stored = shape(before).encode((1,), {})
    assert shape(after).decode(stored) == ((), {"a": 1})
    stored = shape(before).encode((1, "old"), {})
    assert shape(after).decode(stored) == ((), {"a": 1, "b": "old"})


WRONG: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    (plain, (), {}, "missing required argument 'a'; it takes (a, b='x')"),
    (keyword, (), {}, "missing required arguments 'a' and 'b'; it takes (a, *, b, c=1)"),
    (odd_names, (1,), {}, "missing required arguments 'cls', 'args', 'kwargs' and 'call'"),
    (plain, (1, "a", 2), {}, "takes 2 positional arguments but 3 were given"),
    (nothing, (1,), {}, "takes 0 positional arguments but 1 was given; it takes ()"),
    (keyword, (1, "b"), {}, "takes 1 positional argument but 2 were given"),
    (plain, (1,), {"a": 2}, "multiple values for argument 'a'"),
    (plain, (1,), {"bb": 2}, "unexpected keyword argument 'bb' (did you mean 'b'?)"),
    (plain, (1,), {"zzz": 2}, "unexpected keyword argument 'zzz'; it takes"),
    (positional, (), {"a": 1}, "'a' is positional-only and cannot be passed by name"),
    (everything, (1,), {"a": 1, "c": 1}, "missing required argument 'b'"),
    (everything, (), {"a": 1, "b": 1, "c": 1}, "missing required argument 'a'"),
    (many, (1,), {3: 4}, "the names of keyword arguments must be strings"),  # type: ignore[dict-item]
    (plain, (1,), {3: 4}, "unexpected keyword argument 3"),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("function", "args", "kwargs", "says"), WRONG)
def test_a_wrong_call_is_named(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidCall) as caught:
        shape(function).encode(args, kwargs)
    assert str(caught.value).startswith(f"task 't': {says}")
    assert caught.value.task == "t"
    assert caught.value.__cause__ is None
    assert isinstance(caught.value, TypeError)


def test_injected_parameters_are_not_passed_and_do_not_travel() -> None:
    task = shape(injected, "ctx")
    assert task.decode(task.encode((1,), {"b": 3})) == ((), {"a": 1, "b": 3})
    with pytest.raises(InvalidCall, match="'ctx' is injected when the task runs"):
        task.encode((1,), {"ctx": 5})
    with pytest.raises(InvalidCall, match=r"takes 1 positional argument but 2 were given"):
        task.encode((1, 2), {})  # in a plain call 2 would be the context
    stored = msgspec.msgpack.encode({"a": 1, "ctx": 2})
    with pytest.raises(NotDecodable, match="unknown argument 'ctx'"):
        task.decode(stored)


def test_the_worker_parameter_is_stripped() -> None:
    task = shape(with_worker, "worker")
    assert task.decode(task.encode(("u", 2), {})) == ((), {"url": "u", "n": 2})


def test_methods_partials_and_callable_objects_have_a_shape() -> None:
    class Thing:
        def method(self, day: dt.date) -> None: ...

        def __call__(self, day: dt.date) -> None: ...

    def two(count: int, day: dt.date) -> None: ...

    day = dt.date(2026, 1, 1)
    for function in (Thing().method, Thing(), functools.partial(two, 1)):
        task = shape(function)
        assert task.decode(task.encode((), {"day": day}))[1] == {"day": day}
        with pytest.raises(NotEncodable, match="day: expected date, got int 1"):
            task.encode((), {"day": 1})


def test_a_default_of_none_allows_none() -> None:
    def old_style(size: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    task = shape(old_style)
    assert task.decode(task.encode((None,), {})) == ((), {"size": None})
    with pytest.raises(NotEncodable):
        task.encode(("x",), {})


def test_classes_inside_a_function_can_be_annotated() -> None:
    @dataclass
    class Local:
        x: int

    def task(value: Local, items: list[Local]) -> Local: ...

    local = shape(task)
    assert local.decode(local.encode((Local(1), [Local(2)]), {}))[1]["items"] == [Local(2)]
    assert local.decode_result(local.encode_result(Local(1))) == Local(1)


def test_an_annotation_may_name_what_is_defined_further_down() -> None:
    early = shape(uses_later)
    assert early.decode(early.encode((Later(1),), {}))[1] == {"value": Later(1)}


def uses_later(value: Later) -> None: ...


@dataclass
class Later:
    x: int
    again: list[Later] | None = None


def test_an_annotation_that_cannot_be_resolved_spoils_its_own_parameter_only() -> None:
    def task(a: int, b: Missing[str, int] | None = None) -> None: ...

    half = shape(task)
    assert half.decode(half.encode((1,), {})) == ((), {"a": 1})
    with pytest.raises(NotEncodable, match=r"b: the annotation 'Missing.*' cannot be resolved"):
        half.encode((1, {}), {})


@pytest.mark.parametrize(
    ("function", "wire", "says"),
    [
        (plain, {}, "the argument 'a' is missing"),
        (plain, {"a": 1, "c": 2}, "unknown argument 'c'"),
        (plain, {"a": 1, 5: 2}, "unknown argument 5"),
        (plain, [1], "the arguments are not a map"),
        (plain, None, "the arguments are not a map"),
        (positional, {"a": 1, "c": "x"}, "c: expected int"),
        (everything, {"a": 1, "b": 2, "c": 3, "more": {"b": 1}}, "has the name of another"),
        (everything, {"b": 2, "c": 3}, "the argument 'a' is missing"),
        (many, {"a": 1, "rest": 5}, "rest: expected tuple"),
        (many, {"a": 1, "more": {1: "x"}}, "more[1]: expected str"),
    ],
)
def test_stored_arguments_that_no_call_gives_are_undecodable(
    function: Callable[..., Any], wire: Any, says: str
) -> None:
    with pytest.raises(NotDecodable) as caught:
        shape(function).decode(msgspec.msgpack.encode(wire))
    assert says in str(caught.value)


def test_a_missing_place_before_others_is_undecodable() -> None:
    with pytest.raises(NotDecodable, match="an argument before 'b' is missing"):
        shape(lambda a=1, b=2, /: None).decode(msgspec.msgpack.encode({"b": 1}))


def test_calls_written_as_json_become_what_the_annotations_ask_for() -> None:
    @dataclass
    class Options:
        sizes: set[int]
        path: Path | None = None

    def task(when: dt.datetime, options: Options, *days: dt.date, data: bytes = b"") -> None: ...

    written = shape(task)
    body = written.from_json(
        ["2026-01-01T10:00:00Z", {"sizes": [1, 2], "path": "/x"}, "2026-02-03"],
        {"data": "aGk="},
    )
    args, kwargs = written.decode(body)
    assert args == (
        dt.datetime(2026, 1, 1, 10, tzinfo=dt.UTC),
        Options({1, 2}, Path("/x")),
        dt.date(2026, 2, 3),
    )
    assert kwargs == {"data": b"hi"}


@pytest.mark.parametrize(
    ("annotation", "raw", "value"),
    [
        (int, "12", 12),
        (float, 3, 3),
        (bool, "true", True),
        (str | dt.date, "2026-01-01", "2026-01-01"),
        (dt.date | None, "2026-01-01", dt.date(2026, 1, 1)),
        (dt.date | None, None, None),
        (dt.timedelta, "PT90S", dt.timedelta(seconds=90)),
        (set[int] | list[int], [1], [1]),
        (tuple[int, str], [1, "a"], (1, "a")),
        (frozenset[str], ["a"], frozenset("a")),
        (dict[int, Path], {"1": "p"}, {1: Path("p")}),
        (bytearray, "aGk=", bytearray(b"hi")),
        (Any, {"a": [1]}, {"a": [1]}),
        (Extra, {"size": "3"}, {"size": 3}),
    ],
    ids=str,
)
def test_json_values_are_read_by_the_annotation(annotation: Any, raw: Any, value: Any) -> None:
    def task(value: Any) -> None: ...

    task.__annotations__ = {"value": annotation}
    written = shape(task)
    assert written.decode(written.from_json([raw], {}))[1] == {"value": value}


def test_json_that_cannot_be_read_is_refused_by_its_path() -> None:
    def task(when: dt.date, extra: Extra | None = None) -> None: ...

    written = shape(task)
    with pytest.raises(NotEncodable, match=r"^task .t.: when: expected date, got str .tomorrow.$"):
        written.from_json(["tomorrow"], {})
    with pytest.raises(NotEncodable, match=r"extra: Extra has no field str 'sise'"):
        written.from_json(["2026-01-01"], {"extra": {"sise": 1}})
    with pytest.raises(NotEncodable, match=r"extra\.size: expected int, got str 'x'"):
        written.from_json(["2026-01-01"], {"extra": {"size": "x"}})
    with pytest.raises(InvalidCall, match="missing required argument 'when'"):
        written.from_json([], {})
