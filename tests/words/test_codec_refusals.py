"""What does not fit its annotation is refused, by its path in the user's words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from tests.words.kinds import (
    SOME_UUID,
    Attrs,
    Box,
    Color,
    Level,
    Model,
    N,
    Nowhere,
    Options,
    Pair,
    Point,
    PointBox,
    Spot,
    Struct,
    Tree,
    names,
    shape_of,
)
from treadle.codec import Shape
from treadle.errors import NotEncodable

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
