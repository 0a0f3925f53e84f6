"""The wall clock jumps: jobs start once more than they would at the most, and none is stuck."""

from __future__ import annotations

import random  # noqa: TID251  seeded below
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from treadle.backends import open as open_backend
from treadle.ids import SystemIds
from treadle.ports import Backend, Claim, Held, Query, Settlement
from treadle.records import (
    In,
    JobState,
    Keep,
    Lease,
    NewJob,
    Renewal,
    Session,
    SessionInfo,
    Settled,
)
from treadle.testing import ManualClock
from treadle.verdicts import Done

HOUR = 3600.0
LEASE = 30.0
_ids = SystemIds()


@pytest.fixture
def clock() -> ManualClock:
    """Of the store."""
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Backend]:
    """A store of each kind."""
    url = f"sqlite:///{tmp_path}/jobs.db?durability=normal"
    made = open_backend("memory://" if request.param == "memory" else url, clock=clock, ids=_ids)
    await made.open()
    yield made
    await made.aclose()
    made.close()


class Foreman:
    """Claims, renews in time, and ends what it was given."""

    def __init__(self, backend: Backend, who: Session) -> None:
        self.backend = backend
        self.who = who
        self.request = 0
        self.held: list[Lease] = []

    async def claim(self, limit: int) -> list[str]:
        self.request += 1
        claimed = await self.backend.claim(
            Claim(
                session=self.who,
                request=self.request,
                limit=limit,
                lease=LEASE,
                holding=len(self.held),
            )
        )
        self.held += claimed.leases
        return [lease.token.job_id for lease in claimed.leases]

    async def renew(self) -> None:
        if self.held:
            items = [Held(token=lease.token, started=True) for lease in self.held]
            answers = await self.backend.extend(self.who, items, LEASE)
            kept = zip(self.held, answers, strict=True)
            self.held = [lease for lease, answer in kept if answer is Renewal.HELD]

    async def end(self, number: int) -> list[Settled]:
        ended, self.held = self.held[:number], self.held[number:]
        return list(
            await self.backend.settle(
                [Settlement(token=lease.token, verdict=Done()) for lease in ended]
            )
        )


async def foreman(backend: Backend) -> Foreman:
    return Foreman(backend, await backend.open_session(SessionInfo(name="f")))


def jobs(number: int) -> list[NewJob]:
    return [
        NewJob(id=_ids.new(), task="t", payload=b"", keep=Keep(succeeded=None), max_crashes=1000)
        for _ in range(number)
    ]


@pytest.mark.parametrize("seed", range(6))
async def test_each_jump_costs_a_leased_job_one_start_at_the_most(
    backend: Backend, clock: ManualClock, seed: int
) -> None:
    """Back and forth by up to an hour, while two foremen work on."""
    chance = random.Random(seed)
    made = jobs(60)
    await backend.push(made)
    foremen = [await foreman(backend), await foreman(backend)]
    starts: Counter[str] = Counter()
    lapses: Counter[str] = Counter()
    ended = 0
    for step in range(400):
        one = foremen[step % 2]
        starts.update(await one.claim(4 - len(one.held) if len(one.held) < 4 else 0))
        ended += (await one.end(chance.randint(0, 2))).count(Settled.OK)
        for each in foremen:
            await each.renew()
        if ended < len(made) and step % 20 == 10:
            jump = chance.uniform(-HOUR, HOUR)
            clock.jump(jump)
            if jump > 0:
                lapses.update(lease.token.job_id for each in foremen for lease in each.held)
        clock.advance(LEASE / 3)
        for each in foremen:
            await each.renew()
    assert ended == len(made)
    assert all(starts[one.id] <= 1 + lapses[one.id] for one in made)
    page = await backend.find(Query(limit=1000))
    assert {record.state for record in page.records} == {JobState.SUCCEEDED}


async def test_a_jump_back_does_not_end_a_lease_that_is_renewed(
    backend: Backend, clock: ManualClock
) -> None:
    """Nor does it make one last: the next renewal counts from the new time."""
    [one] = jobs(1)
    await backend.push([one])
    alive, other = await foreman(backend), await foreman(backend)
    assert await alive.claim(1) == [one.id]
    clock.jump(-HOUR)
    await alive.renew()
    assert len(alive.held) == 1
    clock.advance(LEASE + 1.0)
    assert await other.claim(1) == [one.id]


async def test_after_a_jump_back_nothing_waits_for_longer_than_the_jump(
    backend: Backend, clock: ManualClock
) -> None:
    """Leases of the dead, and times that were counted before it."""
    leased, later = jobs(2)
    await backend.push([leased])
    dead, other = await foreman(backend), await foreman(backend)
    assert await dead.claim(1) == [leased.id]
    await dead.renew()
    later = NewJob(id=later.id, task="t", payload=b"", due=In(10.0))
    await backend.push([later])
    clock.jump(-HOUR)
    assert await other.claim(2) == []
    clock.advance(HOUR + LEASE + 1.0)
    # A suspect comes alone.
    assert await other.claim(2) == [leased.id]
    assert await other.end(1) == [Settled.OK]
    assert await other.claim(2) == [later.id]


async def test_a_jump_forth_takes_leases_for_lapsed_once(
    backend: Backend, clock: ManualClock
) -> None:
    """Who held them is told, and its verdicts count for nothing."""
    made = jobs(3)
    await backend.push(made)
    one, other = await foreman(backend), await foreman(backend)
    assert len(await one.claim(3)) == 3
    clock.jump(HOUR)
    again = [job_id for _ in range(3) for job_id in [*await other.claim(3), await other.end(3)]]
    assert sorted(each for each in again if isinstance(each, str)) == sorted(
        each.id for each in made
    )
    assert await one.end(3) == [Settled.LOST] * 3
