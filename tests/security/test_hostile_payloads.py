"""What a megabyte of hostile bytes costs: a fraction of a second, and no flood of memory."""

from __future__ import annotations

import random  # noqa: TID251  seeded: the seed is in the name of the test
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from tests.security.cost import cost_of
from treadle.codec import Codec, Shape, natural_decode, natural_encode
from treadle.codec.exts import pack
from treadle.codec.outline import MAX_CONTAINERS, MAX_EXTENSIONS, weigh
from treadle.errors import NotDecodable, NotEncodable

SIZE = (1 << 20) - 64
PRIME = 2**61 - 1
"""Python's hash of a number is its rest by this one."""


def flood(unit: bytes) -> bytes:
    """A list of as many copies as a megabyte holds."""
    count = SIZE // len(unit)
    return b"\xdd" + count.to_bytes(4, "big") + unit * count


def nested(unit: bytes) -> bytes:
    """The same in tuples of 45 KB, none of which is large."""
    count = 45_000 // len(unit)
    inner = b"\xdd" + count.to_bytes(4, "big") + unit * count
    part = b"\xc9" + len(inner).to_bytes(4, "big") + b"\x01" + inner
    parts = SIZE // len(part)
    return b"\xdd" + parts.to_bytes(4, "big") + part * parts


def extension(code: int, data: bytes) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(code, data))


def zoned(zone: str) -> bytes:
    return extension(4, f"2020-01-01T00:00:00+00:00[{zone}]".encode())


def zones() -> bytes:
    units = [zoned(f"Etc/Q{number:05d}") for number in range(SIZE // 40)]
    return b"\xdd" + len(units).to_bytes(4, "big") + b"".join(units)


def colliding(count: int, key: Callable[[int], bytes]) -> bytes:
    """A map of which all keys have the same hash."""
    return b"\xdf" + count.to_bytes(4, "big") + b"".join(key(n) + b"\x01" for n in range(count))


def big_number(n: int) -> bytes:
    return extension(11, (n * PRIME).to_bytes(16, "big", signed=True))


def identifier(n: int) -> bytes:
    return extension(8, UUID(int=n * PRIME).bytes)


FLOODS: dict[str, bytes] = {
    "empty maps": flood(b"\x80"),
    "empty lists": flood(b"\x90"),
    "small maps": flood(b"\x81\xc0\xc0"),
    "texts of two letters": flood(b"\xa2ab"),
    "numbers": flood(b"\xcd\x90\x90"),
    "small numbers": flood(b"\x01"),
    "floats": flood(b"\xca\x3f\x80\x00\x01"),
    "empty tuples": flood(extension(1, b"\x90")),
    "spans of time": flood(extension(7, b"\x01")),
    "decimals": flood(extension(9, b"1")),
    "paths": flood(extension(10, b"pa")),
    "big numbers": flood(extension(11, b"\x01")),
    "odd texts": flood(extension(12, b"a")),
    "dates": flood(extension(5, b"2020-01-01")),
    "identifiers": flood(identifier(1)),
    "times in one zone": flood(zoned("Etc/UTC")),
    "times in zones that do not exist": zones(),
    "maps inside of tuples": nested(b"\x80"),
    "tuples inside of tuples": nested(extension(1, b"\x90")),
    "keys that are big numbers of one hash": colliding(60_000, big_number),
    "keys that are identifiers of one hash": colliding(52_000, identifier),
    "keys that are lists": colliding(100_000, lambda n: b"\x92\xce" + n.to_bytes(4, "big") + b"\1"),
    "keys of one hash, few enough not to be looked at": colliding(2_500, identifier),
    "a long number": extension(9, b"9" * SIZE),
    "a long date": extension(4, b"2" * SIZE),
    "a path of many parts": extension(10, b"p" + b"a/" * (SIZE // 2)),
    "a claim of four thousand million": b"\xdd\xff\xff\xff\xff" + b"\x80" * SIZE,
}


def untyped(x: Any) -> None: ...
def typed(x: list[dict[str, int]]) -> None: ...


UNTYPED, TYPED = Shape.of(untyped, name="untyped"), Shape.of(typed, name="typed")


@pytest.mark.parametrize("kind", FLOODS)
def test_a_megabyte_of_anything_is_read_or_refused_at_once(kind: str) -> None:
    body = FLOODS[kind]
    argument = b"\x81\xa1x" + body

    def first() -> Any:
        return natural_decode(body)

    for read in (
        first,
        lambda: UNTYPED.decode(argument),
        lambda: TYPED.decode(argument),
        lambda: UNTYPED.decode_result(body),
    ):
        cost = cost_of(read, memory=read is first)
        cost.check()
        assert cost.error is None or isinstance(cost.error, NotDecodable), cost.error


@pytest.mark.parametrize("code", [2, 3])
def test_members_of_one_hash_are_refused_in_sets(code: int) -> None:
    members = [Decimal(n * PRIME) for n in range(1, 3000)]
    array = b"\xdc" + len(members).to_bytes(2, "big") + b"".join(map(natural_encode, members))
    cost = cost_of(lambda: natural_decode(extension(code, array)))
    assert isinstance(cost.error, NotDecodable)
    assert "same hash" in str(cost.error)
    cost.check()


def test_keys_of_one_hash_are_refused_where_pairs_are_annotated() -> None:
    def task(x: dict[UUID, int], y: set[Decimal]) -> None: ...

    shape = Shape.of(task, name="t")
    pairs = [[UUID(int=n * PRIME), n] for n in range(3000)]
    members = [Decimal(n * PRIME) for n in range(3000)]
    for x, y in ((pairs, []), ([], members)):
        body = pack({"x": natural(x), "y": natural(y)})
        cost = cost_of(lambda body=body: shape.decode(body))
        assert isinstance(cost.error, NotDecodable)
        cost.check()


def natural(value: list[Any]) -> Any:
    return msgspec.Raw(natural_encode(value))


@pytest.mark.parametrize(
    "value",
    [
        {UUID(int=n * PRIME) for n in range(200)},
        {Decimal(n * PRIME): 1 for n in range(200)},
        {(UUID(int=n * PRIME),): 1 for n in range(200)},
    ],
    ids=["set", "dict", "tuples"],
)
def test_what_could_not_be_read_again_is_not_accepted(value: Any) -> None:
    def task(a: Any, b: set[UUID] | dict[Decimal, int] | dict[tuple[UUID], int]) -> None: ...

    with pytest.raises(NotEncodable, match="same hash"):
        natural_encode(value)
    for arguments in ({"a": value, "b": set()}, {"a": 1, "b": value}):
        with pytest.raises(NotEncodable, match="same hash"):
            Shape.of(task, name="t").encode((), arguments)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([Path("a")] * (MAX_EXTENSIONS + 1), "more than 50,000 dates, paths and the like"),
        ({(n,): [] for n in range(MAX_CONTAINERS // 3)}, "more than 150,000 lists and maps"),
    ],
    ids=["extensions", "containers"],
)
def test_more_parts_than_are_read_are_not_accepted(value: Any, says: str) -> None:
    codec = Codec(max_payload=1 << 22)
    body = UNTYPED.encode((value,), {})
    with pytest.raises(NotEncodable, match=says):
        codec.seal(body)
    with pytest.raises(NotDecodable, match=says):
        UNTYPED.decode(body)


def test_all_that_is_allowed_comes_back() -> None:
    codec = Codec(max_payload=1 << 22)
    for value in (
        [Path("a")] * MAX_EXTENSIONS,
        [()] * 50_000,
        [{"id": n, "share": n / 7} for n in range(30_000)],
        {f"key {n}": [n, -n] for n in range(20_000)},
        {(n, "a"): n for n in range(10_000)},
        {UUID(int=n) for n in range(30_000)},
        "ж" * 400_000,
        bytes(range(256)) * 3000,
    ):
        body = UNTYPED.encode((value,), {})
        opened = codec.open(codec.seal(body)).body
        assert UNTYPED.decode(opened) == ((), {"x": value})


@pytest.mark.parametrize("seed", range(5))
def test_random_data_of_honest_kinds_are_never_refused(seed: int) -> None:
    chance = random.Random(seed)
    value = {
        f"{chance.getrandbits(64):x}": [
            chance.random(),
            chance.getrandbits(63),
            Decimal(chance.getrandbits(90)),
            chance.randbytes(20),
            {str(n): float(Fraction(n, 10)) for n in range(chance.randrange(20))},
        ]
        for _ in range(4000)
    }
    body = natural_encode(value)
    weigh(body)
    assert natural_decode(body) == value
