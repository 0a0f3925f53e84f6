"""Values without annotations, their bounds, and the bytes that somebody else wrote."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.codec import Codec, Shape, natural_decode, natural_encode
from treadle.codec.misfit import MAX_DEPTH, MAX_INT_BITS, MAX_ITEMS
from treadle.errors import NotDecodable, NotEncodable, PayloadError

ZONES = (dt.UTC, dt.timezone(dt.timedelta(hours=-3, seconds=1)), ZoneInfo("Europe/Paris"))
SCALARS = (
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    st.text(),
    st.sampled_from(["\udcff", "a\ud800b", ""]),
    st.binary(),
    st.dates(),
    st.times(),
    st.datetimes(),
    st.datetimes(timezones=st.sampled_from(ZONES), allow_imaginary=False),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
)


@st.composite
def values(draw: st.DrawFn, depth: int = 4, *, hashed: bool = False) -> Any:
    kind = draw(st.integers(0, (4 if hashed else 6) if depth else 0))
    if kind <= 1:
        return draw(draw(st.sampled_from(SCALARS)))
    size = draw(st.integers(0, 3))
    hashed = hashed or kind >= 4
    inner = [draw(values(depth=depth - 1, hashed=hashed)) for _ in range(size)]
    if kind == 2 and not hashed:
        return inner
    if kind == 4:
        return frozenset(inner)
    if kind == 5:
        return set(inner)
    if kind == 6:
        return {key: draw(values(depth=depth - 1)) for key in inner}
    return tuple(inner)


def untyped(value, *rest, **more):  # type: ignore[no-untyped-def]
    return value


UNTYPED = Shape.of(untyped, name="t")


def kinds(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value), [kinds(item) for item in value]
    if isinstance(value, dict):
        return dict, [(kinds(key), kinds(item)) for key, item in value.items()]
    return type(value)


@settings(deadline=None)
@given(values())
def test_natural_values_come_back_as_what_they_were(value: Any) -> None:
    back = natural_decode(natural_encode(value))
    assert back == value
    assert kinds(back) == kinds(value)
    args, kwargs = UNTYPED.decode(UNTYPED.encode((value, value), {"key": value}))
    assert (*args, kwargs) == (value, value, {"key": value})
    assert UNTYPED.decode_result(UNTYPED.encode_result(value)) == value


def test_a_time_that_its_zone_has_left_out_comes_back_as_the_same_instant() -> None:
    """By a clock that was put forward: no clock there has shown it."""
    value = dt.datetime(1925, 4, 4, 23, tzinfo=ZoneInfo("Europe/Paris"))
    back = natural_decode(natural_encode(value))
    assert back.astimezone(dt.UTC) == value.astimezone(dt.UTC)
    assert (back.day, back.hour, back.tzinfo) == (5, 0, value.tzinfo)


def deep(levels: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = wrap(1)
    for _ in range(levels - 1):
        value = wrap(value)
    return value


WRAPS: list[Callable[[Any], Any]] = [
    lambda inner: [inner],
    lambda inner: (inner,),
    lambda inner: {"a": inner},
    lambda inner: {(inner,): 1} if isinstance(inner, int) else {"a": inner},
    lambda inner: [[inner]][0],
]


@pytest.mark.parametrize("wrap", WRAPS)
def test_depth_is_bounded(wrap: Callable[[Any], Any]) -> None:
    natural_decode(natural_encode(deep(MAX_DEPTH - 1, wrap)))
    with pytest.raises(NotEncodable, match=f"nested more than {MAX_DEPTH} levels deep"):
        natural_encode(deep(MAX_DEPTH + 1, wrap))
    with pytest.raises(NotEncodable, match=f"nested more than {MAX_DEPTH} levels deep"):
        natural_encode(deep(sys.getrecursionlimit() * 3, wrap))


def test_what_contains_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    table: dict[str, Any] = {}
    table["self"] = table
    for value in (ring, table):
        with pytest.raises(NotEncodable, match="or it contains itself") as caught:
            natural_encode(value)
        assert len(str(caught.value)) < 400

    def typed(value: list[Any]) -> None: ...

    with pytest.raises(NotEncodable, match="or it contains itself"):
        Shape.of(typed, name="t").encode((ring,), {})


def test_the_number_of_items_is_bounded() -> None:
    assert len(natural_decode(natural_encode([0] * MAX_ITEMS))) == MAX_ITEMS
    with pytest.raises(NotEncodable, match="more than 100,000 items"):
        natural_encode([0] * (MAX_ITEMS + 1))
    with pytest.raises(NotEncodable, match="more than 100,000 items"):
        natural_encode([[0] * (MAX_ITEMS // 2)] * 3)
    with pytest.raises(NotDecodable, match="more than 100,000 items"):
        natural_decode(msgspec.msgpack.encode([0] * (MAX_ITEMS + 1)))


def test_the_items_of_annotated_containers_are_bounded_too() -> None:
    def task(value: list[int] | dict[str, int]) -> None: ...

    typed = Shape.of(task, name="t")
    assert typed.decode(typed.encode(([0] * MAX_ITEMS,), {}))
    with pytest.raises(NotEncodable, match="value: more than 100,000 items"):
        typed.encode(([0] * (MAX_ITEMS + 1),), {})
    with pytest.raises(NotDecodable, match="value: more than 100,000 items"):
        typed.decode(msgspec.msgpack.encode({"value": [0] * (MAX_ITEMS + 1)}))


def test_the_size_of_numbers_is_bounded() -> None:
    largest = 2**MAX_INT_BITS - 1
    assert natural_decode(natural_encode(largest)) == largest
    assert natural_decode(natural_encode([-largest])) == [-largest]
    assert str(largest)  # Python prints it
    for value in (largest + 1, [largest + 1], {largest + 1: 1}):
        with pytest.raises(NotEncodable, match="bits; at most"):
            natural_encode(value)


def test_what_has_no_encoding_is_named_with_its_path() -> None:
    with pytest.raises(NotEncodable) as caught:
        natural_encode({"jobs": [1, {"when": (1, 1j)}]})
    assert caught.value.path.startswith("['jobs'][1]['when'][1]")
    assert str(caught.value).startswith(f"{caught.value.path}: no encoding for complex")


def packed(code: int, data: bytes) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(code, data))


def in_extensions(levels: int, inside: bytes) -> bytes:
    for _ in range(levels):
        inside = packed(1, b"\x91" + inside)
    return inside


HOSTILE: list[bytes] = [
    b"",
    b"\xc1",
    b"\x01\x01",
    b"\x91",
    b"\x91" * 100_000,
    b"\x91" * 900 + b"\x01",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xa1\xff",
    b"\x81\x80\x01",  # a map as a key
    in_extensions(5000, b"\x01"),
    in_extensions(MAX_DEPTH + 2, b"\x01"),
    packed(99, b""),
    packed(-5, b""),
    packed(-1, b"123"),
    packed(1, b""),
    packed(1, b"\x80"),
    packed(2, b"\x91\x90"),  # a list inside of a set
    packed(2, packed(2, b"\x90")),
    packed(4, b"yesterday"),
    packed(4, b"2026-01-01T00:00:00+00:00[../../etc/passwd]"),
    packed(4, b"\xff"),
    packed(5, b"2026-13-01"),
    packed(6, b"25:00"),
    packed(7, b"\x7f" * 20),
    packed(7, b"\x7f" * 1800),
    packed(8, b"short"),
    packed(9, b"1e"),
    packed(9, b"\xff"),
    packed(10, b""),
    packed(10, b"zpath"),
    packed(11, b"\x7f" * 2000),
    packed(12, b"\xff\xff"),
    packed(13, b"\x91\x01"),
    packed(13, b"\x92\x01\x01"),
    packed(13, b"\x92\xa1A\x01"),
    packed(14, b"\x91\x93\x01\x01\x01"),
    packed(14, b"\x91\x92\x90\x01"),
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_bytes_are_not_decodable(body: bytes) -> None:
    with pytest.raises(NotDecodable):
        natural_decode(body)
    with pytest.raises(NotDecodable):
        UNTYPED.decode(body)
    with pytest.raises(NotDecodable):
        UNTYPED.decode(b"\x81\xa5value" + body)
    with pytest.raises(NotDecodable):
        UNTYPED.decode_result(body)


def test_a_zone_that_cannot_be_one_is_refused_however_many_were_sought() -> None:
    for number in range(300):
        natural_decode(packed(4, f"2026-01-01T00:00:00+00:00[Mars/Base_{number}]".encode()))
    with pytest.raises(NotDecodable):
        natural_decode(packed(4, b"2026-01-01T00:00:00+00:00[../../etc/passwd]"))


def test_a_zone_that_this_machine_lacks_leaves_the_offset() -> None:
    back = natural_decode(packed(4, b"2026-01-01T00:00:00+05:00[Mars/Base]"))
    assert back.utcoffset() == dt.timedelta(hours=5)


def annotated(
    a: int | None = None,
    b: list[dict[str, Decimal | str]] | set[int] = [],  # noqa: B006
    c: tuple[int, dt.date] | None = None,
    **more: dt.datetime | bytes,
) -> None: ...


ANNOTATED = Shape.of(annotated, name="t")


@st.composite
def wires(draw: st.DrawFn, depth: int = 4) -> Any:
    kind = draw(st.integers(0, 6 if depth else 2))
    if kind == 0:
        return msgspec.msgpack.Ext(draw(st.integers(-128, 127)), draw(st.binary()))
    if kind <= 2:
        return draw(st.sampled_from([None, True, -1, 2**63, 1.5, "a", "é", b"b", "2026-01-01"]))
    inner = [draw(wires(depth=depth - 1)) for _ in range(draw(st.integers(0, 3)))]
    if kind == 3:
        return msgspec.msgpack.Ext(draw(st.integers(1, 14)), msgspec.msgpack.encode(inner))
    if kind == 4:
        return inner
    keys = st.sampled_from(["a", "b", "c", "more", "value", 1])
    return {draw(keys): item for item in inner}


@settings(deadline=None, max_examples=150)
@given(st.binary() | wires().map(msgspec.msgpack.encode))
def test_any_bytes_give_a_value_or_not_decodable(body: bytes) -> None:
    codec = Codec()
    for read in (
        natural_decode,
        UNTYPED.decode,
        UNTYPED.decode_result,
        ANNOTATED.decode,
        ANNOTATED.decode_result,
        codec.open,
        lambda data: codec.open(b"\xc1\x01" + data),
    ):
        try:
            read(body)
        except NotDecodable:
            pass
        except PayloadError:
            assert getattr(read, "__name__", "") in {"open", "<lambda>"}


@settings(deadline=None, max_examples=100)
@given(values(), st.data())
def test_damaged_bytes_give_a_value_or_not_decodable(value: Any, data: st.DataObject) -> None:
    body = bytearray(UNTYPED.encode((value,), {}))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    for shape in (UNTYPED, ANNOTATED):
        with contextlib.suppress(NotDecodable):
            shape.decode(bytes(body))


@settings(deadline=None)
@given(
    st.lists(values(depth=2), max_size=3),
    st.dictionaries(st.sampled_from(["a", "b", "c", "é"]), values(depth=2), max_size=3),
)
def test_any_natural_arguments_are_encoded_or_refused(args: list[Any], kwargs: Any) -> None:
    for shape in (UNTYPED, ANNOTATED):
        try:
            body = shape.encode(tuple(args), kwargs)
        except (PayloadError, TypeError):
            continue
        shape.decode(body)
