"""What travels to child processes and back, and what is said of what cannot."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pools.processes import CLOCK
from treadle import Pool, Worker
from treadle.errors import NotDecodable, NotEncodable, RetryLater, WorkerNotStarted
from treadle.pools.places.process.parcel import LARGE


@pytest.fixture(scope="module")
def shared() -> Iterator[Pool]:
    """One process for the tests of this module, which shows that it lives on."""
    with Pool("process", max_workers=1, preload=__name__) as pool:
        yield pool


# A pool outlives the single test.
pytestmark = pytest.mark.leaves("threads", "children", "files")


def same(value: Any) -> Any:
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


class Unreadable:
    """Pickles, and cannot be made again."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> Any:
    raise LookupError("not here")


class Reluctant:
    """Raises when it is pickled."""

    def __reduce__(self) -> Any:
        raise ZeroDivisionError("not me")


class OneWay:
    """Can be made again in a child only."""

    def __reduce__(self) -> Any:
        return _only_there, (os.getpid(),)


def _only_there(pid: int) -> Any:
    if os.getpid() != pid:
        raise LookupError("another process")
    return OneWay()


@pytest.mark.parametrize(
    "value",
    [
        None, -(2**70), 10**5000, "\ud800", b"\0" * 10, {1: [2, (3,)]}, {4}, 1j, Path("x"), len,
        range(3), ValueError, b"x" * (LARGE + 1), ["y" * LARGE, b"z" * LARGE],
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_come_back_as_they_were(shared: Pool, value: Any) -> None:
    assert shared.submit(same, value).result(20) == value


def test_what_is_no_number_comes_back(shared: Pool) -> None:
    assert math.isnan(shared.submit(same, math.nan).result(20))


def test_functions_without_a_name_travel(shared: Pool) -> None:
    factor = 3

    def times(number: int) -> int:
        return number * factor

    assert shared.submit(times, 5).result(20) == 15
    assert shared.submit(lambda number: times(number) + 1, 5).result(20) == 16
    assert shared.submit(same, times).result(20)(2) == 6


@pytest.mark.parametrize(
    ("value", "named", "why"),
    [
        (threading.Lock(), "a lock", "cannot pickle"),
        ((1 for _ in ()), "a generator", "cannot pickle"),
        (Reluctant(), "a Reluctant", "not me"),
    ],
    ids=["lock", "generator", "reluctant"],
)
def test_an_argument_that_cannot_travel_is_named(
    shared: Pool, value: Any, named: str, why: str
) -> None:
    error = shared.submit(same, 1, [2, value]).exception(20)
    assert isinstance(error, NotEncodable)
    assert str(error).startswith(f"argument 2 of same[1] is {named} that cannot travel")
    assert why in str(error)
    error = shared.submit(same, value=value).exception(20)
    assert str(error).startswith(f"value= of same is {named}")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (threading.Lock, "cannot pickle"),
        (Reluctant, "not me"),
        (Unreadable, "not here"),
        (deep, "recursion"),
        (lambda: (n for n in ()), "cannot pickle"),
        (socket.socket, "cannot pickle"),
    ],
    ids=["lock", "reluctant", "unreadable", "deep", "generator", "socket"],
)
def test_a_result_that_cannot_travel_is_an_error_and_the_pool_lives_on(
    shared: Pool, make: Callable[[], Any], why: str
) -> None:
    pid = shared.submit(os.getpid).result(20)
    error = shared.submit(make).exception(20)
    assert isinstance(error, NotEncodable)
    assert str(error).startswith("the result of ")
    assert why in str(error)
    assert shared.submit(os.getpid).result(20) == pid


def test_a_result_that_cannot_be_made_here_is_an_error(shared: Pool) -> None:
    error = shared.submit(OneWay).exception(20)
    assert isinstance(error, NotDecodable)
    assert "another process" in str(error)
    assert shared.submit(len, "four").result(20) == 4


def test_an_argument_that_cannot_be_made_there_is_an_error(shared: Pool) -> None:
    error = shared.submit(same, Unreadable()).exception(20)
    assert isinstance(error, NotDecodable)
    assert shared.submit(len, "four").result(20) == 4


# -- errors --------------------------------------------------------------------------------------


class TwoArguments(Exception):
    """Cannot be called with its own arguments, and carries what does not pickle."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number
        self.lock = threading.Lock()


class Local(Exception):
    """Refuses to be pickled, as a whole or in parts."""

    def __reduce__(self) -> Any:
        raise TypeError("no")


def raises(make: Callable[[], BaseException]) -> None:
    raise make()


def raises_from() -> None:
    try:
        {}["key"]
    except KeyError as error:
        raise RuntimeError("outer") from error


def test_an_error_comes_back_as_itself_with_its_traceback(shared: Pool) -> None:
    error = shared.submit(raises, lambda: RetryLater("busy", delay=3)).exception(20)
    assert isinstance(error, RetryLater)
    assert (error.reason, error.delay) == ("busy", 3)
    assert "raised in pool-0" in error.__notes__[0]
    assert "in raises" in error.__notes__[0]


def test_an_error_brings_its_cause(shared: Pool) -> None:
    error = shared.submit(raises_from).exception(20)
    assert isinstance(error, RuntimeError)
    assert isinstance(error.__cause__, KeyError)
    assert error.__cause__.args == ("key",)


def test_an_error_whose_constructor_needs_more_comes_back(shared: Pool) -> None:
    error = shared.submit(raises, lambda: TwoArguments("full", 5)).exception(20)
    assert isinstance(error, TwoArguments)
    assert (error.args, error.number, hasattr(error, "lock")) == (("full",), 5, False)


def test_an_error_of_a_class_without_a_name_comes_back_as_its_class(shared: Pool) -> None:
    class Odd(Exception):
        pass

    error = shared.submit(raises, lambda: Odd("strange")).exception(20)
    assert type(error) is Odd
    assert error.args == ("strange",)


def test_an_error_that_refuses_to_travel_comes_back_in_parts(shared: Pool) -> None:
    error = shared.submit(raises, lambda: Local("mine")).exception(20)
    assert isinstance(error, Local)
    assert error.args == ("mine",)


def test_an_error_that_cannot_travel_at_all_is_told(shared: Pool) -> None:
    error = shared.submit(raises, lambda: ValueError(threading.Lock())).exception(20)
    assert isinstance(error, NotEncodable)
    assert "ValueError was raised" in str(error)
    assert "in raises" in error.__notes__[0]


@pytest.mark.parametrize("leaving", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_what_leaves_the_interpreter_is_an_error_of_the_call(
    shared: Pool, leaving: BaseException
) -> None:
    pid = shared.submit(os.getpid).result(20)
    error = shared.submit(raises, lambda: leaving).exception(20)
    assert type(error) is type(leaving)
    assert error.args == leaving.args
    assert shared.submit(os.getpid).result(20) == pid


left: list[str] = []


async def interrupted_while_it_waits() -> None:
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
    try:
        await asyncio.Event().wait()
    finally:
        left.append("the block")


async def what_was_left() -> tuple[int, list[str]]:
    return os.getpid(), left


def test_an_interrupt_that_somebody_sends_ends_the_coroutine_that_runs(shared: Pool) -> None:
    pid = shared.submit(os.getpid).result(20)
    error = shared.submit(interrupted_while_it_waits).exception(20)
    assert type(error) is KeyboardInterrupt
    assert shared.submit(what_was_left).result(20) == (pid, ["the block"])


# -- large values --------------------------------------------------------------------------------


class Block:
    """Large memory that travels out of band, as arrays do."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (pickle.PickleBuffer(self.memory),)


def incremented(block: Block) -> Block:
    """In place: the memory belongs to who got it."""
    memory = memoryview(block.memory)
    memory[0] += 1
    return block


def test_large_memory_travels_and_is_not_shared(shared: Pool) -> None:
    mine = Block(bytearray(4 * LARGE))
    assert memoryview(shared.submit(incremented, mine).result(20).memory)[0] == 1
    assert mine.memory[0] == 0


def test_memory_that_waits_is_sent_as_it_was_when_it_was_submitted(shared: Pool) -> None:
    mine = Block(bytearray(8 * LARGE))
    futures = []
    for number in range(5):
        mine.memory[0] = number
        futures.append(shared.submit(incremented, mine))
    assert [memoryview(one.result(20).memory)[0] for one in futures] == [1, 2, 3, 4, 5]


def test_large_values_leave_no_descriptor_and_no_file_behind(shared: Pool) -> None:
    descriptors, files = Path("/proc/self/fd"), Path("/dev/shm")

    def held() -> tuple[int, set[str]]:
        return len(list(descriptors.iterdir())), {one.name for one in files.iterdir()}

    shared.submit(same, Block(bytearray(LARGE))).result(20)
    before = held()
    kept = [shared.submit(same, Block(bytearray(LARGE))).result(20) for _ in range(20)]
    assert held()[0] <= before[0]
    assert held()[1] <= before[1]
    assert len(kept) == 20


# -- scripts, logs -------------------------------------------------------------------------------

SCRIPT = """
import treadle
from treadle import Pool, Worker

class Point:
    def __init__(self, x):
        self.x = x

class Keeper(Worker):
    def add(self, point):
        return Point(point.x + 1)

def twice(point):
    return Point(point.x * 2)

with Pool("process", max_workers=1) as pool, Keeper.options(mode="process").init() as keeper:
    doubled = pool.submit(twice, Point(4)).result(20)
    assert type(doubled) is Point
    assert type(keeper.add(doubled).result(20)) is Point
    print(keeper.add(doubled).result(20).x, treadle.__name__)
"""


def test_classes_and_functions_of_a_script_travel_without_a_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.stdout, ended.stderr) == ("9 treadle\n", "")


def test_scripts_that_are_read_from_standard_input_work_as_well() -> None:
    ended = subprocess.run(
        [sys.executable, "-"],
        input=SCRIPT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("9 treadle\n", "")


def test_what_was_made_in_a_module_that_nobody_can_import_travels_whole(
    shared: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("made_up")
    monkeypatch.setitem(sys.modules, "made_up", module)
    code = "class Point:\n    def twice(self): return Point()\ndef make(): return Point()"
    exec(code, vars(module))
    made = shared.submit(module.make).result(20)
    assert type(made) is module.Point
    assert type(shared.submit(module.Point.twice, made).result(20)) is module.Point


def log() -> None:
    logging.getLogger("shop").warning("stock of %s is low", "tea")
    try:
        raises_from()
    except RuntimeError:
        logging.getLogger("shop").exception("no tea")
    logging.getLogger("shop").debug("not of interest")
    warnings.warn("old leaves", stacklevel=1)


def test_logs_and_warnings_are_passed_on_with_the_name_of_the_place(
    shared: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    shared.submit(log).result(20)
    told = {record.getMessage().split("\n")[0]: record for record in caplog.records}
    assert "stock of tea is low" in told
    assert told["stock of tea is low"].processName == "pool-0"
    assert "KeyError" in (told["no tea"].exc_text or "")
    assert "not of interest" not in told
    assert any("old leaves" in message for message in told)


class Fussy(Worker):
    """Is made of what cannot travel."""

    def __init__(self, thing: Any) -> None: ...


def test_a_worker_made_of_what_cannot_travel_is_refused_by_name() -> None:
    with pytest.raises((NotEncodable, WorkerNotStarted), match="lock"):
        Fussy.options(mode="process").init(threading.Lock())


def test_the_first_call_of_a_fresh_pool_is_quick() -> None:
    began = CLOCK.monotonic()
    with Pool("process", max_workers=1) as pool:
        pool.submit(int).result(20)
    assert CLOCK.monotonic() - began < 5


# --------------------------------------------------------------------- groups


def raises_together() -> None:
    try:
        raise KeyError("behind")
    except KeyError as behind:
        one = Reserved("one", 2)
        one.__cause__ = behind
        together = ExceptionGroup("several", [ValueError("two"), one, ExceptionGroup("in", [one])])
        raise together from behind


class Reserved(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what} {number}")
        self.number = number


class Several(ExceptionGroup[Exception]):
    """A group of a user."""

    said = "nothing"


def raises_a_group_of_a_user() -> None:
    group = Several("mine", [Reserved("three", 4)])
    group.said = "much"
    raise group


def test_a_group_of_errors_comes_back_with_each_of_them(shared: Pool) -> None:
    group = shared.submit(raises_together).exception(20)
    assert isinstance(group, ExceptionGroup)
    assert group.message == "several"
    assert isinstance(group.__cause__, KeyError)
    two, one, inner = group.exceptions
    assert (type(two), two.args) == (ValueError, ("two",))
    assert isinstance(one, Reserved)
    assert (str(one), one.number, type(one.__cause__)) == ("one 2", 2, KeyError)
    assert isinstance(inner, ExceptionGroup)
    assert isinstance(inner.exceptions[0], Reserved)
    mine = shared.submit(raises_a_group_of_a_user).exception(20)
    assert isinstance(mine, Several)
    assert (mine.message, mine.said, str(mine.exceptions[0])) == ("mine", "much", "three 4")
