"""Several backends behind the ports of one pass the suite of all backends."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle import backends
from treadle.backends.routed import RoutedBackend
from treadle.backends.routed.routes import Routes
from treadle.ids import Ids, SystemIds
from treadle.ports import Held
from treadle.queuenames import Matcher
from treadle.records import JobState, Renewal, Session, SessionInfo
from treadle.testing import ManualClock
from treadle.testing.contract import (
    BackendContract,
    ClaimContract,
    Driver,
    FindContract,
    LeasesContract,
    Make,
    PushContract,
    SettleContract,
    WaitContract,
)

_stores = itertools.count()
# Queues of the suite that no case sets beside others in one job, or under one rule.
SOME = dict.fromkeys(("m", "bulk", "elsewhere", "sms.y"), "other")
# All of them, so that the first store stays empty, and is asked all the same.
ALL = dict.fromkeys(
    (
        *("default", "q", "qq", "a", "b", "c", "z", "m", "mail", "mailbox", "sms", "blockers"),
        *("other", "bulk", "full", "next", "later", "first", "second", "open", "unserved"),
        *("paused", "mine", "held", "chain", "elsewhere", "none"),
    ),
    "other",
)


def routed(
    urls: dict[str, str], routes: dict[str, str], clock: ManualClock, ids: Ids, **options: Any
) -> RoutedBackend:
    parts = {
        name: backends.open(url, clock=clock, ids=ids, **options) for name, url in urls.items()
    }
    return RoutedBackend(parts, routes, clock=clock, ids=ids)


class OverTwo(BackendContract):
    """The whole suite over two stores in memory."""

    routes: Mapping[str, str]

    @pytest.fixture
    def make(self, clock: ManualClock, ids: Ids) -> Make:
        number = next(_stores)
        urls = {"default": f"memory://first-{number}", "other": f"memory://second-{number}"}
        return lambda **options: routed(urls, dict(self.routes), clock, ids, **options)


class TestBeside(OverTwo):
    """Some queues live in another store."""

    routes = SOME


class TestAllInTheOther(OverTwo):
    """All queues live in the store that is not the default one."""

    routes = ALL

    # Permits are of the default backend: see test_limits_of_code_and_of_jobs_elsewhere.
    test_jobs_and_permits_share_the_rate = None  # type: ignore[assignment]
    test_jobs_and_permits_share_the_slots = None  # type: ignore[assignment]


class TestMemoryBesideSqlite(
    PushContract, ClaimContract, FindContract, LeasesContract, SettleContract, WaitContract
):
    """What goes on all the time, over stores of two kinds."""

    @pytest.fixture
    def make(self, clock: ManualClock, ids: Ids, tmp_path: Path) -> Make:
        urls = {"default": f"memory://first-{next(_stores)}", "other": f"sqlite:///{tmp_path}/a.db"}
        return lambda **options: routed(urls, ALL, clock, ids, **options)


# ------------------------------------------------------------ sessions


async def test_who_finds_a_foreman_dead_speaks_for_it_in_each() -> None:
    clock = ManualClock()
    ids = SystemIds(clock)
    urls = {"default": "memory://dead-first", "other": "memory://dead-second"}
    ours, theirs = (routed(urls, SOME, clock, ids) for _ in range(2))
    drive = Driver(theirs, clock, ids)
    begun, idle = await drive.add(queue="m"), await drive.add()
    leases = await drive.claim(2)
    far = next(one for one in leases if one.token.job_id == begun)
    # As the page of a dead process has it: a nonce, and the leases that had started.
    session = Session(nonce=far.token.nonce, info=SessionInfo(name=""))
    assert {one.token.nonce for one in leases} == {session.nonce}
    assert await ours.extend(session, [Held(token=far.token, started=True)], 0.0) == [Renewal.HELD]
    await ours.close_session(session)
    assert [(await drive.record(one)).crashes for one in (begun, idle)] == [1, 0]
    assert await drive.states([begun, idle]) == [JobState.QUEUED] * 2
    ours.close()
    theirs.close()


# ------------------------------------------------------------ what a claim asks of each

NAMES = st.sampled_from(("a", "b", "a.a", "a.b", "a.a.a", "a.a.b", "b.a"))
PATTERNS = st.lists(st.one_of(NAMES, st.just("*")), unique=True, max_size=4)


@given(
    st.lists(st.one_of(NAMES, st.just("*")), unique=True, min_size=1, max_size=4),
    PATTERNS,
    st.dictionaries(NAMES, st.integers(0, 2), max_size=4),
    st.sampled_from(("a", "b", "c", "a.a", "a.b", "a.c", "a.a.a", "a.a.c", "b.a", "b.c")),
)
def test_each_queue_is_claimed_from_its_backend_and_from_no_other(
    queues: list[str], exclude: list[str], routes: dict[str, int], queue: str
) -> None:
    table = Routes(routes)
    place = Matcher(queues, exclude).place(queue)
    plan = table.plan(queues, exclude)
    serving = {to for to, names in plan.names.items() if Matcher(*names).place(queue) is not None}
    assert serving == (set() if place is None else {table.of(queue)})
    in_tiers = [
        (number, to)
        for number, tier in enumerate(plan.tiers)
        for to, groups in tier.asks.items()
        if Matcher([one for group in groups for one in group], tier.excludes[to]).place(queue)
        is not None
    ]
    assert [to for _, to in in_tiers] == sorted(serving)


@given(
    st.lists(st.one_of(NAMES, st.just("*")), unique=True, min_size=1, max_size=4),
    st.dictionaries(NAMES, st.integers(0, 2), max_size=4),
)
def test_what_is_preferred_is_asked_for_first(queues: list[str], routes: dict[str, int]) -> None:
    asked = [
        place
        for tier in Routes(routes).plan(queues).tiers
        for places in [
            [
                {Matcher(queues).place(name) for name in group}
                for groups in tier.asks.values()
                for group in groups
            ]
        ]
        for place in [min(min(one, default=0) or 0 for one in places)]
    ]
    assert asked == sorted(asked)
