"""What a script makes and nobody can import, on its way to child processes and back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
from __future__ import annotations

import contextvars
import functools
import threading
from dataclasses import dataclass
from typing import NamedTuple

from treadle import Pool, Worker
from treadle.errors import NotEncodable

lock = threading.Lock()
seen = contextvars.ContextVar("seen")


@functools.cache
def fib(number):
    return number if number < 2 else fib(number - 1) + fib(number - 2)


@functools.singledispatch
def kind(value):
    return "something"


@kind.register
def _(value: int):
    return "whole"


class Slotted:
    __slots__ = ("__hidden", "size")

    def __init__(self, size):
        self.size = self.__hidden = size

    def hidden(self):
        return self.__hidden


class More(Slotted):
    __slots__ = ()


@dataclass(slots=True)
class Point:
    x: int = 0


class Pair(NamedTuple):
    one: int


class Shapes:
    @functools.cached_property
    def area(self):
        return 9

    @functools.lru_cache(maxsize=2)
    def times(self, number):
        return 9 * number

    @functools.singledispatchmethod
    def of(self, value):
        return "something"

    @of.register
    def _(self, value: int):
        return "whole"


class Model(Shapes, Worker):
    def all(self):
        return self.area, self.times(2), self.of(2), self.of("2"), fib(20)

    def locked(self):
        return lock


class Honest(Worker):
    def __init__(self, thing, other=None):
        self.thing = thing


def same(value):
    return value


def locks():
    with lock:
        return seen.get()


def refused(act):
    try:
        act()
    except NotEncodable as error:
        return str(error).partition(" that cannot")[0]


if __name__ == "__main__":
    with Pool("process", max_workers=1) as pool:
        def come_back(value):
            return pool.submit(same, value).result(20)

        assert pool.submit(fib, 20).result(20) == 6765
        assert pool.submit(kind, 3).result(20) == "whole"
        assert come_back(kind)("3") == "something"
        for cls in (Slotted, More):
            back = come_back(cls(3))
            assert (type(back), back.size, back.hidden()) == (cls, 3, 3)
        assert come_back(Point(4)) == Point(4)
        assert pool.submit(Point, 5).result(20) == Point(5)
        assert come_back(Pair(1)) == Pair(1)
        assert come_back(Shapes()).area == 9
        shape = come_back(Shapes)()
        assert (shape.area, shape.times(2), shape.of(2)) == (9, 18, "whole")
        assert come_back(functools.cached_property(len)).func is len
        said = refused(lambda: pool.submit(locks).result(20))
        assert said == "'lock', which locks uses, is a lock"
        held = Shapes()
        held.lock = lock
        assert refused(lambda: come_back([held])) == "'lock' of argument 1 of same[0] is a lock"
        assert refused(lambda: come_back(pool)) == "argument 1 of same is a Pool"
        assert refused(lambda: come_back(threading.Event())) == "argument 1 of same is a Event"
        assert refused(lambda: come_back(functools.partial(len, lock))) == (
            "what argument 1 of same was given[1] is a lock")
    options = {"mode": "process"}
    assert refused(lambda: Model.options(**options).init()) == (
        "'lock', which 'locked' of the class Model uses, is a lock")
    del Model.locked
    with Model.options(**options).init() as model:
        assert model.all().result(20) == (9, 18, "whole", "something", 6765)
    honest = Honest.options(**options)
    assert refused(lambda: honest.init(lock)) == "argument 1 of Honest is a lock"
    assert refused(lambda: honest.init(1, other=[lock])) == "other= of Honest[0] is a lock"
    assert refused(lambda: honest.adopt(Honest(lock))) == "'thing' of the worker Honest is a lock"
    around = honest.options(around=lambda: lock)
    assert refused(lambda: around.init(1)) == "'lock', which around= of Honest[0] uses, is a lock"
    print("all of it")
"""


def test_what_a_script_makes_with_the_standard_library_travels(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "all of it\n", done.stderr
