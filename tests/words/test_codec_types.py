"""Every kind of type travels as what it is."""

from __future__ import annotations

import collections
import datetime as dt
import math
import os
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, AnyStr, Literal, Optional, Union
from uuid import UUID

import msgspec
import pytest

from tests.words.kinds import (
    NOW,
    PARIS,
    SOME_UUID,
    Access,
    Attrs,
    Box,
    Color,
    Json,
    Level,
    Linked,
    Loose,
    Model,
    N,
    Odd,
    Options,
    Pair,
    Point,
    PointBox,
    Spot,
    Struct,
    Tree,
    UserId,
    names,
    round_trip,
    shape_of,
)
from treadle.errors import NotDecodable

FITS: list[tuple[Any, Any]] = [
    (int, 5),
    (int, 2**64),
    (int, -(2**63) - 1),
    (int, 10**4000),
    (int, True),
    (float, 1.5),
    (float, math.inf),
    (float, 3),
    (str, "é€😀"),
    (str, "file-\udcff"),
    (bool, False),
    (None, None),
    (bytes, b"\x00\xff"),
    (bytearray, bytearray(b"ab")),
    (dt.datetime, NOW),
    (dt.datetime, NOW.replace(tzinfo=dt.UTC)),
    (dt.datetime, NOW.replace(tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=30)))),
    (dt.datetime, NOW.replace(tzinfo=PARIS)),
    (dt.datetime, dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=PARIS)),
    (dt.date, dt.date(1, 1, 1)),
    (dt.date, NOW),
    (dt.time, dt.time(23, 59, 59, 999999)),
    (dt.time, dt.time(1, 2, tzinfo=dt.UTC)),
    (dt.time, dt.time(1, 2, tzinfo=PARIS)),
    (dt.timedelta, dt.timedelta(days=-400, microseconds=1)),
    (dt.timedelta, dt.timedelta.max),
    (UUID, SOME_UUID),
    (Decimal, Decimal("1.10")),
    (Decimal, Decimal("-Infinity")),
    (Path, Path("/tmp/x")),
    (Path, Path(os.fsdecode(b"/tmp/\xff"))),
    (PurePath, PureWindowsPath("C:/x")),
    (PurePosixPath, PurePosixPath("a/b")),
    (os.PathLike, Path("p")),
    (Color, Color.BLUE),
    (Level, Level.HIGH),
    (Odd, Odd.PAIR),
    (Access, Access.READ | Access.WRITE),
    (list[int], [1, 2, 2**70]),
    (list, [1, "a", (2,)]),
    (list[dt.date], [dt.date(2026, 1, 1)]),
    (tuple[int, ...], (1, 2)),
    (tuple[int, str, Point], (1, "a", Point(1))),
    (tuple[()], ()),
    (tuple, (1, [2], {3})),
    (set[UUID], {SOME_UUID}),
    (frozenset[str], frozenset({"a"})),
    (collections.deque[int], collections.deque([1, 2])),
    (dict[str, list[int]], {"a": [1]}),
    (dict[int, str], {1: "a", 2**70: "b"}),
    (dict[dt.date, Path], {dt.date(2026, 1, 1): Path("x")}),
    (dict[tuple[int, int], str], {(1, 2): "a"}),
    (dict[Spot, int], {Spot(1): 2}),
    (collections.OrderedDict[str, int], collections.OrderedDict(b=1, a=2)),
    (collections.Counter[str], collections.Counter("hello")),
    (Mapping[str, int], {"a": 1}),
    (Sequence[int], (1, 2)),
    (Sequence[int], [1, 2]),
    (Collection[int], {1}),
    (AbstractSet[int], frozenset({1})),
    (Point, Point(1, 2)),
    (list[Point], [Point(1), Point(2)]),
    (Tree, Tree("a", [Tree("b", parent=None)])),
    (Linked, Linked(1, Linked(2))),
    (Box[int], Box(1, [2])),
    (Box[Box[Point]], Box(Box(Point(1)))),
    (Box[dt.date], Box(dt.date(2026, 1, 1))),
    (PointBox, PointBox(Point(1), [Point(2)], "l")),
    (Box, Box((1, {2}))),
    (Pair, Pair(1)),
    (Options, {"sizes": [1], "name": "n"}),
    (Options, {"sizes": []}),
    (Loose, {}),
    (Attrs, Attrs(1, "other")),
    (Struct, Struct(1, dt.date(2026, 1, 1))),
    (Struct, Struct(1, "x", 5)),
    (Model, Model(theSize=3, when=NOW)),
    (Optional[int], None),  # noqa: UP045
    (Union[int, str], "a"),  # noqa: UP007
    (str | dt.datetime, "2026-01-01T00:00:00"),
    (str | dt.datetime, NOW),
    (UUID | str, SOME_UUID),
    (UUID | str, str(SOME_UUID)),
    (bytes | str, b"x"),
    (int | float, 1.0),
    (Path | str | None, Path("x")),
    (Point | Spot, Spot(1)),
    (Point | Spot | None, None),
    (Point | dict[str, int], {"x": 1}),
    (Point | dict[str, int], Point(1)),
    (set[int] | list[int], {1, 2}),
    (set[int] | list[int], [1, 2]),
    (list[int] | list[str], ["a"]),
    (tuple[int, ...] | list[Point] | None, (1,)),
    (Color | str, "red"),
    (Color | str, Color.RED),
    (Level | int, 1),
    (Color | Level, Level.LOW),
    (Model | Point, Model(theSize=1)),
    (list[Point | Spot], [Point(1), Spot(2)]),
    (dict[str, Point | int | None], {"a": Point(1), "b": 2, "c": None}),
    (Literal[1, "a"] | None, "a"),
    (Literal[Color.RED, "red"], Color.RED),
    (Literal[Color.RED, "red"], "red"),
    (Literal[Color.RED] | str, Color.RED),
    (Literal[Color.RED] | str, "Color.RED"),
    (dt.date | dt.datetime, NOW),
    (Literal[1, True], True),
    (UserId, UserId(3)),
    (N, Point(1)),
    (AnyStr, b"x"),
    (Json, {"a": [1, {"b": None}], "c": 1.5}),
    (Annotated[int, "a note"], 1),
    (Annotated[int, msgspec.Meta(ge=0)], 1),
    (Any, {"a": (1, {2}, frozenset({3})), "b": [NOW, SOME_UUID, Path("x"), Decimal(1)]}),
    (object, {(1, 2): dt.timedelta(1), 2**70: b"x"}),
]


@pytest.mark.parametrize(("annotation", "value"), FITS, ids=names(FITS))
def test_it_comes_back_as_what_it_was(annotation: Any, value: Any) -> None:
    back = round_trip(annotation, value)
    assert back == value
    assert type(back) is type(value)


def test_a_float_that_is_no_number_travels() -> None:
    assert math.isnan(round_trip(float, math.nan))


def test_zones_and_the_second_run_of_an_hour_are_kept() -> None:
    back = round_trip(dt.datetime, dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=PARIS))
    assert back.tzinfo is PARIS
    assert back.fold == 1
    assert back.utcoffset() == dt.timedelta(hours=1)


def test_a_subclass_of_a_plain_type_arrives_as_the_plain_type() -> None:
    class Name(str):
        __slots__ = ()

    back = round_trip(str, Name("n"))
    assert type(back) is str
    assert type(round_trip(int, Level.LOW)) is int
    assert type(round_trip(list[int], collections.UserList([1]).data)) is list


def test_unions_keep_apart_classes_of_the_same_fields() -> None:
    back = round_trip(list[Point | Spot], [Spot(1), Point(1)])
    assert [type(item) for item in back] == [Spot, Point]


def test_unions_keep_apart_classes_of_the_same_name() -> None:
    def other() -> type:
        @dataclass
        class Point:
            x: int

        return Point

    twin = other()
    assert type(round_trip(Point | twin, twin(1))) is twin
    assert type(round_trip(Point | twin, Point(1))) is Point


def test_decoding_is_as_strict_as_encoding() -> None:
    text = shape_of(str).encode(("12",), {})
    with pytest.raises(NotDecodable, match=r"task 't': value: expected int, got str '12'"):
        shape_of(int).decode(text)
    with pytest.raises(NotDecodable, match=r"task 't': result: expected int, got str '12'"):
        shape_of(int).decode_result(shape_of(str).encode_result("12"))
    with pytest.raises(NotDecodable, match=r"expected Color \('red', 'blue'\), got str 'green'"):
        shape_of(Color).decode(shape_of(str).encode(("green",), {}))


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        (str, str | dt.datetime, "a"),
        (Point, Point | None, Point(1)),
        (Point, Point | Spot, Point(1)),
        (Point | Spot, Point, Point(1)),
        (Color, Color | str | None, "red"),
        (list[int], Sequence[int], [1]),
        (Any, tuple[int, ...], (1,)),
        (Any, set[int], {1}),
        (int, Any, 1),
    ],
    ids=str,
)
def test_jobs_survive_an_annotation_that_grows(before: Any, after: Any, value: Any) -> None:
    stored = shape_of(before).encode((Color(value) if before is Color else value,), {})
    _, kwargs = shape_of(after).decode(stored)
    assert kwargs == {"value": value}


def test_records_ignore_fields_they_do_not_know_and_default_those_they_miss() -> None:
    @dataclass
    class Old:
        x: int

    stored = shape_of(Point).encode((Point(1, 2),), {})
    assert shape_of(Old).decode(stored)[1] == {"value": Old(1)}
    stored = shape_of(Old).encode((Old(1),), {})
    assert shape_of(Point).decode(stored)[1] == {"value": Point(1, 0)}
    with pytest.raises(NotDecodable, match=r"value: Point lacks its field 'x'"):
        shape_of(Point).decode(shape_of(Loose).encode(({},), {}))


def test_a_constructor_that_refuses_makes_the_bytes_undecodable() -> None:
    @dataclass
    class Positive:
        x: int

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("negative")

    stored = shape_of(Point).encode((Point(-1),), {})
    with pytest.raises(NotDecodable, match=r"value: Positive refused its fields: ValueError"):
        shape_of(Positive).decode(stored)
