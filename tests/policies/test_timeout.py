"""Timeouts: of an attempt, and of a call with all its attempts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from treadle.errors import InvalidOption
from treadle.policies import Timeout


def test_an_attempt_has_its_own_time() -> None:
    timeout = Timeout("30s")
    assert [timeout.next(elapsed) for elapsed in (0, 1000)] == [30, 30]
    assert timeout.allows(1e9)


def test_the_total_bounds_every_attempt() -> None:
    timeout = Timeout("30s", total="1m")
    assert [timeout.next(elapsed) for elapsed in (0, 40, 60, 90)] == [30, 20, 0, 0]
    assert timeout.allows(59.9)
    assert not timeout.allows(60)
    assert Timeout(total=10).next(4) == 6


def test_without_bounds() -> None:
    assert Timeout().next(5) is None
    assert Timeout().allows(1e9)


def test_what_an_option_holds() -> None:
    assert Timeout.of(None) == Timeout()
    assert Timeout.of("5m") == Timeout(300)
    assert Timeout.of(timedelta(seconds=3)) == Timeout(3)
    timeout = Timeout(1, total=2)
    assert Timeout.of(timeout) is timeout
    with pytest.raises(InvalidOption, match="timeout: 0 is not above 0; None means"):
        Timeout.of(0)
