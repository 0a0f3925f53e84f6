"""Types of every kind that travels, and how one is sent and read again."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, field
from typing import (
    Any,
    Generic,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Self,
    TypedDict,
    TypeVar,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic

from treadle.codec import Shape

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
