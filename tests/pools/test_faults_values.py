"""Values whose own code ends the interpreter, or what runs it, in the worst place."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pools.processes import place_of
from treadle import Pool
from treadle.errors import NotDecodable, NotEncodable


class Ended(BaseException):
    """What nobody catches who catches errors."""


class LeavesWhenPacked:
    def __reduce__(self) -> Any:
        sys.exit("packed")


class LeavesWhenMade:
    def __reduce__(self) -> Any:
        return sys.exit, ("made",)


class LeavesElsewhere:
    """Made again without trouble in the process that it comes from, and in no other."""

    def __init__(self, end: type[BaseException]) -> None:
        self.end = end

    def __reduce__(self) -> Any:
        return made, (os.getpid(), self.end)


class ErrorLeavesWhenMade(Exception):
    def __reduce__(self) -> Any:
        return sys.exit, ("made",)


class ErrorLeavesElsewhere(Exception):
    def __reduce__(self) -> Any:
        return made_error, (os.getpid(),)


def made(pid: int, end: type[BaseException]) -> LeavesElsewhere:
    if pid != os.getpid():
        raise end("made elsewhere")
    return LeavesElsewhere(end)


def made_error(pid: int) -> ErrorLeavesElsewhere:
    if pid != os.getpid():
        raise Ended("made elsewhere")
    return ErrorLeavesElsewhere()


def raised(error: type[Exception]) -> None:
    raise error("in the call")


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool that has to be the same after what is tried with it."""
    with Pool("process", max_workers=1) as one:
        pid = one.submit(os.getpid).result(20)
        yield one
        assert one.submit(os.getpid).result(20) == pid
        place = place_of(one)
        assert place.active == 0
        assert place._nursery.hub.thread.is_alive()


@pytest.mark.parametrize("make", [LeavesWhenPacked, LeavesWhenMade])
def test_a_result_that_would_end_the_interpreter_is_an_error_of_its_call(
    pool: Pool, make: Callable[[], Any]
) -> None:
    assert isinstance(pool.submit(make).exception(20), NotEncodable)


def test_a_result_that_would_end_its_receiver_is_an_error_of_its_call(pool: Pool) -> None:
    assert isinstance(pool.submit(LeavesElsewhere, SystemExit).exception(20), NotDecodable)
    assert isinstance(pool.submit(LeavesElsewhere, Ended).exception(20), Ended)


@pytest.mark.parametrize("error", [ErrorLeavesWhenMade, ErrorLeavesElsewhere])
def test_an_error_that_would_end_who_hears_of_it_is_told_in_words(
    pool: Pool, error: type[Exception]
) -> None:
    told = pool.submit(raised, error).exception(20)
    # Made of its parts, or told with the name of its class.
    assert isinstance(told, error | NotEncodable)
    assert "in the call" in str(told)


def test_an_argument_that_would_end_the_interpreter_is_an_error_of_its_call(pool: Pool) -> None:
    assert isinstance(pool.submit(repr, LeavesWhenPacked()).exception(20), NotEncodable)
    assert isinstance(pool.submit(repr, LeavesWhenMade()).exception(20), NotDecodable)
