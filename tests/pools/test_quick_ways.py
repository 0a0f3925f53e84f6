"""The quick ways of calls: what they give is what the long ones do."""

from __future__ import annotations

import pickle
import socket
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle import Worker
from treadle.errors import CallCancelled
from treadle.pools.future import Future
from treadle.pools.places.process import wire
from treadle.pools.places.process.ends import may_rest
from treadle.pools.places.process.life import REST
from treadle.pools.places.process.plain import plain
from treadle.pools.places.process.wire import Receiver, frame
from treadle.pools.sites.account import Account, compact, expanded
from treadle.pools.sites.site import Call
from treadle.records import Lease, NewJob, Token

# -- values ---------------------------------------------------------------------------------------

SHARED = [1]


@pytest.mark.parametrize(
    "value",
    [
        None, True, 5, 2**90, -0.0, 1j, "text", "\ud800", b"bytes", bytearray(b"own"),
        (1, (2, [3])), {"a": {1, 2}, 2: frozenset({3})}, [SHARED, SHARED], Path.cwd, len,
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_pythons_own_comes_back_as_it_was(value: Any) -> None:
    for _ in range(2):  # the second time with what the first has used
        body = plain(value)
        if callable(value) and body is None:
            return  # a method of a class is not plain: packed by others
        assert body is not None
        back = pickle.loads(body)
        assert back == value
        assert type(back) is type(value)


def test_what_is_held_twice_is_still_one() -> None:
    body = plain([SHARED, SHARED])
    assert body is not None
    first, second = pickle.loads(body)
    assert first is second


class Number(int):
    """Looks like one of Python's own."""


@pytest.mark.parametrize(
    "value",
    [Number(1), [Number(1)], OrderedDict(a=1), int, lambda: None, pickle.PickleBuffer(b"x")],
    ids=["subclass", "inside", "ordered", "class", "lambda", "buffer"],
)
def test_what_is_more_than_its_value_is_left_to_others(value: Any) -> None:
    assert plain(value) is None
    assert plain([1, "after it"]) is not None


def test_what_is_too_deep_is_left_to_others() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert plain(deep) is None
    while deep:  # Python itself may not let go of it all at once
        deep = deep.pop()


# -- frames ---------------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_frames_that_come_in_pieces_are_put_together(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    near, far = ends
    receiver = Receiver(near)
    stream = b"".join(frame(wire.VALUE, number, bytes(number * 7)) for number in range(1, 9))
    found: list[wire.Frame] = []
    for at in range(0, len(stream), 5):
        far.send(stream[at : at + 5])
        found += receiver.receive() or []
    assert [(one.tag, one.number, one.body) for one in found] == [
        (wire.VALUE, number, bytes(number * 7)) for number in range(1, 9)
    ]


def test_a_child_rests_only_while_it_has_much_to_do_that_is_short() -> None:
    assert may_rest(REST / 50, 200)
    assert not may_rest(REST / 50, 50), "it would have nothing to do"
    assert not may_rest(REST, 200), "its calls are long: each is told at once"


# -- jobs in other processes ----------------------------------------------------------------------


def test_a_job_and_its_account_travel_as_stores_have_them() -> None:
    spec = NewJob(id="1", task="shop.heavy", payload=b"sealed", tags=("a",), meta={"n": 1})
    lease = Lease(token=Token("1", 2, 2**62), spec=spec, started=1.5)
    call = Call("shop.heavy", b"sealed", None, lease, float("inf"))
    account = Account(result=b"sealed", follow_ups=(spec,))
    packed, told = compact(call), compact(account)
    assert isinstance(packed, bytes)
    assert isinstance(told, bytes)
    assert expanded(Call, packed) == call
    assert expanded(Account, told) == account


def test_what_only_memory_can_hold_travels_as_it_is() -> None:
    spec = NewJob(id="1", task="shop.heavy", payload=b"", meta={"n": 2**70})
    call = Call("shop.heavy", b"", None, Lease(token=Token("1", 2, 3), spec=spec))
    assert compact(call) is call
    assert expanded(Call, call) is call


# -- futures --------------------------------------------------------------------------------------


def test_a_future_that_has_ended_when_it_is_made_is_one_like_all_others() -> None:
    future = Future.ended(5)
    told: list[Any] = []
    future.add_done_callback(told.append)
    assert future.done()
    assert future.result() == 5
    assert told == [future]
    assert not future.cancel()
    assert not future.begin()
    assert not future.end(6)
    failed = Future.ended(None, ValueError("no"))
    assert isinstance(failed.failure, ValueError)
    with pytest.raises(ValueError, match="no"):
        failed.result()


class Raises(Worker):
    def leave(self, error: BaseException) -> None:
        raise error


def test_a_call_at_once_that_raises_is_counted_and_ends_with_its_error() -> None:
    with Raises.options(mode="sync").init() as worker:
        assert isinstance(worker.leave(ValueError("no")).exception(), ValueError)
        assert isinstance(worker.leave(CallCancelled("enough")).failure, CallCancelled)
        with pytest.raises(KeyboardInterrupt):
            worker.leave(KeyboardInterrupt())
        assert [(one.total, one.failed, one.active) for one in worker.stats.workers] == [(3, 3, 0)]
