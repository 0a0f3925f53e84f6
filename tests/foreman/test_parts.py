"""The small parts of a foreman, each alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.clock import SystemClock
from treadle.durations import local_deadline
from treadle.errors import InvalidOption
from treadle.foreman.page import Page
from treadle.foreman.recycle import Recycling
from treadle.foreman.running import Noticed, Running
from treadle.foreman.turns import Turns
from treadle.policies.breaker import Pass
from treadle.pools.footprint import resident_bytes
from treadle.records import Lease, NewJob, Token
from treadle.testing import ManualClock


def test_without_weights_the_order_is_the_one_given() -> None:
    turns = Turns(["a", "b"])
    assert [turns.next() for _ in range(3)] == [("a", "b")] * 3


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=2))
def test_weights_give_each_queue_its_share_of_first_turns(weights: dict[str, int]) -> None:
    turns = Turns([f"{name}:{weight}" for name, weight in weights.items()])
    total = sum(weights.values())
    orders = [turns.next() for _ in range(total)]
    assert Counter(order[0] for order in orders) == weights
    assert all(set(order) == set(weights) for order in orders)


def test_a_queue_name_may_have_colons() -> None:
    assert Turns(["a:b"]).names == ("a:b",)
    assert Turns(["a:b:3", "c"]).names == ("a:b", "c")


def test_a_weight_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidOption, match="weight"):
        Turns(["a:0"])


@given(st.floats(0, 1e6), st.floats(0.1, 3600))
def test_a_lease_is_trusted_for_less_than_it_lasts(sent: float, lease: float) -> None:
    until = local_deadline(sent, lease)
    assert sent < until
    assert sent + lease - until == pytest.approx(min(max(1.0, lease / 10), lease / 2), abs=1e-6)


def test_a_page_tells_what_was_leased_and_what_had_started(tmp_path: Path) -> None:
    path = tmp_path / "page"
    Page.create(path, 2)
    page = Page(path)
    page.open(77)
    one, two, three = (
        Token(name, fence, 77) for name, fence in [("one", 1), ("zwei", 9), ("3", 2)]
    )
    page.lease(one)
    page.lease(two)
    page.lease(three)  # no slot is left for it: then it is simply not known
    page.started(two)
    page.started(three)
    page.ended(three)
    assert Page(path).read() == (77, [(two, True), (one, False)])
    page.ended(two)
    page.lease(three)
    assert Page.take(path) == (77, [(three, False), (one, False)])
    assert not path.exists()
    page.close()


def test_a_page_of_a_process_that_never_opened_a_session(tmp_path: Path) -> None:
    Page.create(tmp_path / "page", 1)
    assert Page.take(tmp_path / "page") == (0, [])


class Deaf(Noticed):
    """Hears how often a job was asked to end."""

    def __init__(self) -> None:
        self.asked = 0

    def on_ending(self, running: Running) -> None:
        self.asked += 1


async def test_the_first_reason_to_end_stands() -> None:
    deaf = Deaf()
    job = Running(
        Lease(token=Token("one", 1, 1), spec=NewJob(id="one", task="t", payload=b"")),
        10.0,
        Pass(period=0),
        deaf,
    )
    job.task = asyncio.ensure_future(asyncio.Event().wait())  # type: ignore[assignment]
    first, second = ValueError("first"), ValueError("second")
    job.end(first)
    job.end(second)
    assert (job.ending, deaf.asked) == (first, 1)
    assert job.task.cancelling() == 2  # asked again all the same
    await asyncio.wait({job.task})
    other = Running(job.lease, 10.0, job.leave, deaf)
    other.settled = True
    other.end(first)  # an answer that came after its end
    assert (other.ending, deaf.asked) == (None, 1)


def test_recycling_by_jobs_age_and_memory() -> None:
    clock = ManualClock()

    def after(
        jobs: int | None = None, rss: int | None = None, age: float | None = None
    ) -> Recycling:
        return Recycling(clock, max_jobs=jobs, max_rss=rss, max_age=age)

    assert after().reason(10**9) is None
    assert after(jobs=5).reason(4) is None
    assert after(jobs=5).reason(5) == "5 jobs"
    aged, fat, slim = after(age=10.0), after(rss=1), after(rss=1 << 50)
    assert aged.reason(0) is None
    clock.advance(11.0)
    assert aged.reason(0) == "age"
    assert "resident" in str(fat.reason(0))
    assert slim.reason(0) is None


def test_resident_memory_is_known() -> None:
    assert resident_bytes() > 1 << 20
    assert SystemClock().now() > 0
