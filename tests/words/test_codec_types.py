"""Every kind of type travels as what it is, and what does not fit is refused by its path."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import (
    Annotated,
    Any,
    AnyStr,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Self,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest

from treadle.codec import Shape
from treadle.errors import NotDecodable, NotEncodable

T = TypeVar("T")
N = TypeVar("N", bound="Point")
UserId = NewType("UserId", int)
Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Odd(enum.Enum):
    PAIR = (1, 2)
    TEXT = "t"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True)
class Spot:
    x: int


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)
    parent: Optional[Tree] = None  # noqa: UP045
    size: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.size = len(self.children)


@dataclass
class Linked:
    value: int
    next: Self | None = None


@dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = field(default_factory=list)


@dataclass
class PointBox(Box[Point]):
    label: str = ""


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Options(TypedDict):
    sizes: list[int]
    name: NotRequired[str]


class Loose(TypedDict, total=False):
    a: int


@attrs.define
class Attrs:
    x: int
    _hidden: str = "h"


class Struct(msgspec.Struct, rename="camel"):
    some_value: int
    when: dt.date | str = ""
    maybe: int | msgspec.UnsetType = msgspec.UNSET


class Model(pydantic.BaseModel):
    size: int = pydantic.Field(alias="theSize", gt=0)
    when: dt.datetime | None = None
    model_config = pydantic.ConfigDict(populate_by_name=True)


class Nowhere(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None, /) -> None:
        return None


NOW = dt.datetime(2026, 11, 22, 10, 30, 15, 123456)  # noqa: DTZ001  naive ones travel too
PARIS = ZoneInfo("Europe/Paris")
SOME_UUID = UUID("12345678-1234-5678-1234-567812345678")


def names(rows: list[Any]) -> list[str]:
    return [f"{number}-{str(row[0]).removeprefix(__name__):.30}" for number, row in enumerate(rows)]


def shape_of(annotation: Any) -> Shape:
    def task(value: Any) -> Any: ...

    task.__annotations__ = {"value": annotation, "return": annotation}
    return Shape.of(task, name="t")


def round_trip(annotation: Any, value: Any) -> Any:
    shape = shape_of(annotation)
    args, kwargs = shape.decode(shape.encode((value,), {}))
    assert args == ()
    back = kwargs["value"]
    result = shape.decode_result(shape.encode_result(value))
    assert repr(result) == repr(back)
    return back


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


REFUSED: list[tuple[Any, Any, str]] = [
    (int, "12", "value: expected int, got str '12'"),
    (int, 1.0, "value: expected int, got float 1.0"),
    (int, None, "value: expected int, got None"),
    (float, "1", "value: expected float, got str '1'"),
    (bool, 1, "value: expected bool, got int 1"),
    (str, b"x", "value: expected str, got bytes b'x'"),
    (str, SOME_UUID, "value: expected str, got uuid.UUID"),
    (bytes, "x", "value: expected bytes, got str 'x'"),
    (dt.datetime, "2026-01-01", "value: expected datetime, got str '2026-01-01'"),
    (dt.datetime, dt.date(2026, 1, 1), "value: expected datetime, got datetime.date"),
    (Path, "x", "value: expected Path, got str 'x'"),
    (Color, "red", "value: expected Color, got str 'red'"),
    (list[int], (1,), "value: expected list, got tuple"),
    (list[int], [1, "a"], "value[1]: expected int, got str 'a'"),
    (Sequence[str], "abc", "value: expected list | tuple, got str 'abc'"),
    (tuple[int, str], (1,), "value: expected a tuple of 2, got one of 1"),
    (tuple[int, str], (1, 2), "value[1]: expected str, got int 2"),
    (set[int], {"a"}, "value['a']: expected int, got str 'a'"),
    (dict[str, int], {"a": "b"}, "value['a']: expected int, got str 'b'"),
    (dict[str, int], {1: 1}, "value[1]: expected str, got int 1"),
    (Point, {"x": 1}, "value: expected Point, got dict"),
    (Point, Point("1"), "value.x: expected int, got str '1'"),  # type: ignore[arg-type]
    (Options, {"sizes": [1, 2, 3, "4"]}, "value.sizes[3]: expected int, got str '4'"),
    (Options, {}, "value: Options lacks its field 'sizes'"),
    (Options, {"sizes": [], "x": 1}, "value: Options has no key str 'x'; it has sizes, name"),
    (Pair, (1, "a"), "value: expected Pair, got tuple"),
    (Attrs, Attrs("1"), "value.x: expected int, got str '1'"),  # type: ignore[arg-type]
    (Struct, Struct("1"), "value.some_value: expected int, got str '1'"),  # type: ignore[arg-type]
    (Tree, Tree("a", [Tree("b", [Point(1)])]), "value.children[0].children[0]: expected Tree"),  # type: ignore[list-item]
    (Box[int], Box("a"), "value.item: expected int, got str 'a'"),
    (PointBox, PointBox(1), "value.item: expected Point, got int 1"),  # type: ignore[arg-type]
    (N, 1, "value: expected Point, got int 1"),
    (int | str, 1.5, "value: expected int | str, got float 1.5"),
    (Point | Spot, Pair(1), "value: expected Point | Spot, got "),
    (Point | Spot, Spot("1"), "value.x: expected int, got str '1'"),  # type: ignore[arg-type]
    (list[int] | None, ["a"], "value[0]: expected int, got str 'a'"),
    (Literal[1, "a"], 2, "value: expected Literal[1, 'a'], got int 2"),
    (Literal[1], True, "value: expected Literal[1], got bool True"),
    (Literal[1], [], "value: expected Literal[1], got list"),
    (Annotated[int, msgspec.Meta(ge=0)], -1, "value: expected `int` >= 0"),
    (int, 1 << 15_000, "value: an int of 15,001 bits; at most 14,280 can travel"),
    (Any, lambda: 1, "value: no encoding for function; annotate it"),
    (Any, [{"a": object()}], "value[0]['a']: no encoding for object; annotate it"),
    (Any, Color.RED, "Color; annotate it"),
    (Any, Level.LOW, "Level; annotate it"),
    (Any, Point(1), "Point; annotate it"),
    (Any, Pair(1), "Pair; annotate it"),
    (Any, 1j, "value: no encoding for complex"),
    (Any, (x for x in ()), "value: no encoding for generator"),
    (Any, {1: {(1, 1j): 2}}, "value[1][tuple][1]: no encoding for complex"),
    (Callable[[], int], lambda: 1, "no encoding for collections.abc.Callable"),
    (memoryview, b"x", "no encoding for memoryview"),
    (list[complex], [1j], "value[0]: no encoding for complex; use a dataclass"),
    (dt.time, dt.time(1, tzinfo=Nowhere()), "value: a time in a zone without an offset"),
]


@pytest.mark.parametrize(("annotation", "value", "says"), REFUSED, ids=names(REFUSED))
def test_what_does_not_fit_is_refused_with_its_path(annotation: Any, value: Any, says: str) -> None:
    shape = shape_of(annotation)
    with pytest.raises(NotEncodable) as caught:
        shape.encode((value,), {})
    assert str(caught.value).startswith("task 't': value")
    assert says in str(caught.value)
    assert caught.value.path.startswith("value")
    with pytest.raises(NotEncodable, match=r"^task 't': result"):
        shape.encode_result(value)


def test_a_subclass_of_a_record_would_lose_fields() -> None:
    @dataclass
    class Point3(Point):
        z: int = 0

    with pytest.raises(NotEncodable, match=r"got its subclass .*Point3; name the subclass"):
        shape_of(Point).encode((Point3(1),), {})


def test_a_model_that_broke_its_own_rules_is_refused() -> None:
    broken = Model.model_construct(size="x")
    with pytest.raises(NotEncodable, match=r"value: pydantic: .*int"):
        shape_of(Model).encode((broken,), {})


def test_classes_that_raise_when_looked_at_are_refused_and_not_raised_through() -> None:
    @dataclass
    class Trap:
        x: int

        def __getattribute__(self, name: str) -> Any:
            raise ZeroDivisionError("trap")

    with pytest.raises(NotEncodable, match=r"value: ZeroDivisionError\('trap'\)"):
        shape_of(Trap).encode((Trap(1),), {})


def test_an_open_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as file, pytest.raises(NotEncodable, match="TextIOWrapper"):
        shape_of(Any).encode((file,), {})


def test_the_path_of_a_mistake_in_the_users_words() -> None:
    def thumb(path: Path, options: Options, width: int = 256) -> None: ...

    shape = Shape.of(thumb, name="thumb")
    with pytest.raises(NotEncodable) as caught:
        shape.encode((Path("x"), {"sizes": [1, 2, 3, None]}), {})
    assert str(caught.value) == "task 'thumb': options.sizes[3]: expected int, got None"
    assert caught.value.path == "options.sizes[3]"
    with pytest.raises(NotEncodable, match=r"^task 'thumb': width: expected int, got str '12'$"):
        shape.encode((Path("x"), {"sizes": []}), {"width": "12"})


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
