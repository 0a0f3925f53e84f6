"""Structs of msgspec that no other process can import: those of scripts and of functions."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from treadle import Pool
from treadle.pools.places.process.parcel import pack, unpack

_SCRIPT = """
import msgspec
from treadle import Pool, Worker

class Base(Worker, msgspec.Struct, kw_only=True):
    step: int = 1

class Counter(Base):
    value: int
    seen: list[int] = []

    def add(self, number: int) -> int:
        self.value += number * self.step
        self.seen.append(self.value)
        return self.value

    def copied(self) -> "Counter":
        return Counter(self.value, self.seen, step=self.step)

class Frozen(Counter, frozen=True):
    def add(self, number: int) -> int:
        return self.value + number

def value_of(counter: Counter) -> int:
    assert isinstance(counter, Counter)
    return msgspec.convert(msgspec.to_builtins(counter), Counter).value

if __name__ == "__main__":
    with Counter.options(mode="process").init(10, step=2) as counter:
        assert [counter.add(1).result(), counter.add(1).result()] == [12, 14]
        copy = counter.copied().result()
        assert isinstance(copy, Counter) and copy == Counter(14, [12, 14], step=2), copy
    with Frozen.options(mode="process").init(1) as frozen:
        assert frozen.add(1).result() == 2
    with Pool("process", max_workers=1) as pool:
        assert pool.submit(value_of, Counter(3)).result() == 3
    print("done")
"""


def test_a_script_has_workers_and_values_that_are_structs() -> None:
    ran = subprocess.run(
        [sys.executable, "-"],
        check=False, input=_SCRIPT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ran.stdout, ran.returncode) == ("done\n", 0), ran.stderr


def _travelled(value: Any) -> Any:
    """What another process makes of it, where it has not met its class before."""
    parcel = pack(value, "it")
    code = "import sys\nfrom treadle.pools.places.process.parcel import pack, unpack\n"
    code += "sys.stdout.buffer.write(pack(unpack(sys.stdin.buffer.read(), 'it')(), 'it').body)"
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, input=parcel.body, stdout=subprocess.PIPE
    )
    return unpack(ran.stdout, "it")


def test_fields_options_and_names_stay() -> None:
    class Kept(
        msgspec.Struct, tag="kept", tag_field="kind", rename="camel", kw_only=True, order=True,
        forbid_unknown_fields=True, weakref=True, dict=True,
    ):  # fmt: skip
        first_one: int = 1
        other: str = msgspec.field(default="x", name="zed")
        made: dict[str, int] = msgspec.field(default_factory=dict)
        needed: float

    def look() -> Any:
        made = Kept(needed=2.0)
        assert made < Kept(first_one=2, needed=1.0)
        with pytest.raises(TypeError):
            Kept(3)  # type: ignore[call-arg, misc]
        assert made.made is not Kept(needed=2.0).made
        made.more = 1  # type: ignore[attr-defined]
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            msgspec.json.decode(b'{"kind":"kept","needed":1,"what":1}', type=Kept)
        with pytest.raises(msgspec.ValidationError, match=r"`float`.*needed"):
            msgspec.json.decode(b'{"kind":"kept","needed":"1"}', type=Kept)
        return msgspec.json.encode(made)

    assert _travelled(look) == (b'{"kind":"kept","firstOne":1,"zed":"x","made":{},"needed":2.0}')


def test_what_runs_after_the_fields_runs() -> None:
    class Whole(msgspec.Struct):
        width: int
        area: int = 0

        def __post_init__(self) -> None:
            self.area = self.width**2

        def doubled(self) -> Whole:
            return Whole(self.width * 2)

    class Part(Whole):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.area += 1

    assert _travelled(lambda: (Whole(3).area, Part(3).area, Whole(3).doubled().area)) == (9, 10, 36)


def test_a_struct_that_names_itself_and_one_without_its_names_travel() -> None:
    class Node(msgspec.Struct):
        value: int
        after: Node | None = None  # a name of this function, which typing does not find

        def total(self) -> int:
            return self.value + (self.after.total() if self.after else 0)

    assert _travelled(lambda: Node(1, Node(2)).total()) == 3


def test_it_is_the_same_class_when_it_comes_back() -> None:
    class Point(msgspec.Struct, frozen=True):
        x: int

    def moved(point: Point) -> Point:
        return Point(point.x + 1)

    with Pool("process", max_workers=1) as pool:
        assert pool.submit(moved, pool.submit(moved, Point(1)).result()).result() == Point(3)
