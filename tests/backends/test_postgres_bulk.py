"""A push of many jobs takes as many statements as one of few, whatever the jobs ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from tests.backends.postgres_support import namespace, postgres_namespace, postgres_url
from treadle.backends.postgres import client, connect
from treadle.backends.postgres.address import Address
from treadle.ids import SystemIds
from treadle.ports import Query
from treadle.records import (
    After,
    Hold,
    In,
    JobState,
    NewJob,
    OnConflict,
    Pushed,
    PushStatus,
    Unique,
)
from treadle.testing import ManualClock
from treadle.testing.contract.driver import Driver

__all__ = ["namespace", "postgres_namespace", "postgres_url"]

MANY = 1000
FEW = 10
MOST = 30
"""Statements of a push, with a few that look after what has run out."""

# The log is told of a statement a moment after it, so the end of the step before may come late; and
# notices go on connections of their own.
BESIDE = ("BEGIN", "COMMIT", "SELECT nextval(")

Options = Callable[[int], dict[str, Any]]
CREATED, DUPLICATE = PushStatus.CREATED, PushStatus.DUPLICATE


class Place(Driver):
    """A store whose statements are written down."""

    statements: list[str]

    def jobs(self, numbers: Sequence[int], options: Options) -> list[NewJob]:
        """Jobs that ask for something, each by its number."""
        return [self.job(**options(number)) for number in numbers]

    async def cost(self, jobs: Sequence[NewJob]) -> tuple[int, list[Pushed]]:
        """How many statements the push of some jobs takes, and what it answers."""
        self.statements.clear()
        answers = await self.push(*jobs)
        return sum(not one.startswith(BESIDE) for one in self.statements), answers

    async def same(self, few: Sequence[NewJob], many: Sequence[NewJob]) -> list[Pushed]:
        """Push few jobs, then many, which may take no more statements."""
        cheap, _ = await self.cost(few)
        dear, answers = await self.cost(many)
        assert 0 < dear <= cheap <= MOST, self.statements[:50]
        return answers


@pytest.fixture
async def place(
    postgres_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    """An empty one."""
    statements: list[str] = []
    connected = client.connect

    async def listening(address: Address) -> client.Wire:
        wire = await connected(address)
        wire.add_query_logger(lambda record: statements.append(record.query))
        return wire

    monkeypatch.setattr(client, "connect", listening)
    clock = ManualClock()
    ids = SystemIds(clock)
    backend = connect(postgres_url, clock=clock, ids=ids, namespace=namespace)
    await backend.open()
    place = Place(backend, clock, ids)
    place.statements = statements
    yield place
    await backend.aclose()
    backend.close()


def _few() -> range:
    return range(FEW)


def _many() -> range:
    return range(FEW, FEW + MANY)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(lambda n: {"key": f"k{n}"}, id="keys"),
        pytest.param(lambda n: {"key": f"k{n // 5}"}, id="keys of several"),
        pytest.param(lambda n: {"key": f"k{n // 5}", "ordered": True}, id="ordered"),
        pytest.param(lambda n: {"unique": Unique(key=f"u{n}")}, id="unique"),
        pytest.param(
            lambda n: {"unique": Unique(key=f"u{n}"), "key": f"k{n}", "bound": 10_000}, id="all"
        ),
        pytest.param(lambda n: {"asks": (Hold(key=f"s{n}", slots=1),)}, id="slots"),
        pytest.param(lambda n: {"key": f"k{n}", "due": In(60.0), "expires": In(90.0)}, id="times"),
    ],
)
async def test_what_jobs_ask_for_takes_no_statement_of_its_own(
    place: Place, options: Options
) -> None:
    answers = await place.same(place.jobs(_few(), options), place.jobs(_many(), options))
    assert {answer.status for answer in answers} == {CREATED}


async def test_nor_do_lines_in_which_others_are_parked(place: Place) -> None:
    def options(n: int) -> dict[str, Any]:
        return {"key": f"k{n % FEW}"}

    await place.push(*place.jobs(_few(), options))
    leases = await place.claim(FEW)
    for jobs in (range(FEW), range(FEW)):
        # The first are parked because the keys are held, the second because of the first, too.
        await place.same(place.jobs(jobs, options), place.jobs(_many(), options))
    page = await place.backend.find(Query(limit=1, counts=True))
    assert page.counts["default"] == {
        JobState.RUNNING: len(leases),
        JobState.WAITING: 2 * (FEW + MANY),
    }


@pytest.mark.parametrize("conflict", list(OnConflict), ids=str)
async def test_nor_does_the_holder_of_a_unique_key(place: Place, conflict: OnConflict) -> None:
    def options(n: int) -> dict[str, Any]:
        return {"unique": Unique(key=f"u{n}", on_conflict=conflict), "due": In(60.0)}

    numbers = range(FEW + MANY)
    await place.push(*place.jobs(numbers, options))
    answers = await place.same(place.jobs(_few(), options), place.jobs(_many(), options))
    expected = {
        OnConflict.REPLACE: PushStatus.REPLACED,
        OnConflict.RESCHEDULE: PushStatus.RESCHEDULED,
    }
    assert {answer.status for answer in answers} == {expected.get(conflict, DUPLICATE)}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(lambda n: {"key": f"k{n}"}, id="keys"),
        pytest.param(lambda n: {"key": f"k{n // 5}", "ordered": True}, id="keys of several"),
        pytest.param(lambda n: {"asks": (Hold(key=f"s{n}", slots=1),)}, id="slots"),
        pytest.param(
            lambda n: {"key": f"k{n}", "asks": (Hold(key=f"s{n}", slots=1),), "bound": 10_000},
            id="all",
        ),
    ],
)
async def test_nor_do_lines_that_a_replaced_job_leaves(place: Place, options: Options) -> None:
    def replacing(n: int) -> dict[str, Any]:
        unique = Unique(key=f"u{n}", on_conflict=OnConflict.REPLACE)
        return {"unique": unique, **options(n)}

    await place.push(*place.jobs(range(FEW + MANY), replacing))
    answers = await place.same(place.jobs(_few(), replacing), place.jobs(_many(), replacing))
    assert {answer.status for answer in answers} == {PushStatus.REPLACED}
    page = await place.backend.find(Query(limit=1, counts=True))
    assert page.counts["default"] == {JobState.QUEUED: FEW + MANY}


async def test_nor_do_jobs_that_are_replaced_while_they_are_parked(place: Place) -> None:
    def replacing(n: int) -> dict[str, Any]:
        return {"unique": Unique(key=f"u{n}", on_conflict=OnConflict.REPLACE), "key": f"k{n % FEW}"}

    await place.push(*place.jobs(range(FEW), lambda n: {"key": f"k{n}"}))
    leases = await place.claim(FEW)
    await place.push(*place.jobs(range(FEW + MANY), replacing))
    answers = await place.same(place.jobs(_few(), replacing), place.jobs(_many(), replacing))
    assert {answer.status for answer in answers} == {PushStatus.REPLACED}
    counts = (await place.backend.find(Query(limit=1, counts=True))).counts["default"]
    assert counts == {JobState.RUNNING: FEW, JobState.WAITING: FEW + MANY}
    # Their lines are as they were: whoever ends lets the next one in.
    for lease in leases:
        await place.done(lease)
    assert len(await place.claim(2 * FEW)) == FEW


async def test_nor_does_another_number_of_slots(place: Place) -> None:
    def slots(number: int) -> Options:
        return lambda n: {"key": f"k{n}", "key_slots": number}

    await place.push(*place.jobs(range(FEW + MANY), slots(1)))
    for number in (3, 2, 5):
        few, many = place.jobs(_few(), slots(number)), place.jobs(_many(), slots(number))
        answers = await place.same(few, many)
        assert {answer.status for answer in answers} == {CREATED}
    page = await place.backend.find(Query(limit=1, counts=True))
    assert page.counts["default"] == {JobState.QUEUED: 4 * (FEW + MANY)}


async def test_nor_do_dependencies(place: Place) -> None:
    others = await place.add_many(FEW + MANY)
    [gone] = others[-1:]

    def options(n: int) -> dict[str, Any]:
        return {"after": After(ids=(others[n], others[n - 1], gone))}

    answers = await place.same(place.jobs(_few(), options), place.jobs(_many(), options))
    assert {answer.status for answer in answers} == {CREATED}


async def test_nor_do_dependencies_that_nobody_knows(place: Place) -> None:
    def options(n: int) -> dict[str, Any]:
        return {"after": After(ids=(f"nobody-{n}",))}

    await place.same(place.jobs(_few(), options), place.jobs(_many(), options))


async def test_nor_do_jobs_that_were_pushed_before(place: Place) -> None:
    def options(n: int) -> dict[str, Any]:
        return {"unique": Unique(key=f"u{n // 2}"), "key": f"k{n}"}

    few, many = place.jobs(_few(), options), place.jobs(_many(), options)
    first = [await place.push(*few), await place.push(*many)][1]
    answers = await place.same(few, many)
    again = {CREATED: PushStatus.EXISTS, DUPLICATE: DUPLICATE}
    assert [answer.status for answer in answers] == [again[answer.status] for answer in first]
    assert {answer.status for answer in first} == {CREATED, DUPLICATE}
