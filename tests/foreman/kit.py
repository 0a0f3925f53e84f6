"""What the tests of the foreman have in common."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.foreman.flaky import FlakyBackend
from treadle import Event, JobState, Treadle
from treadle.foreman import Foreman
from treadle.ports import Claim, Held, Query
from treadle.records import JobRecord, Lease, Session, SessionInfo, Token
from treadle.testing import ManualClock, eventually


class Manual(NamedTuple):
    """An app and the clock that it goes by."""

    app: Treadle
    clock: ManualClock

    @property
    def backend(self) -> FlakyBackend:
        backend: Any = self.app.core.backend()
        return backend


def listen(app: Treadle, pattern: str) -> list[Event]:
    """What the app tells from now on."""
    heard: list[Event] = []
    app.on(pattern, heard.append)
    return heard


def names(heard: list[Event]) -> list[str]:
    return [event.name for event in heard]


async def record_of(app: Treadle, job_id: str) -> JobRecord:
    backend = await app.core.ready()
    return (await backend.find(Query(ids=(job_id,)))).records[0]


async def steal(app: Treadle, foreman: Foreman, job_id: str) -> tuple[Session, Lease]:
    """Take a running job away from a foreman, as if it had been silent for too long."""
    backend = await app.core.ready()
    record = await record_of(app, job_id)
    assert record.state is JobState.RUNNING
    token = Token(job_id, record.fence, foreman._session.nonce)
    await backend.extend(foreman._session, [Held(token=token)], 0.0)
    thief = await backend.open_session(SessionInfo(name="thief"))
    claimed = await backend.claim(Claim(session=thief, request=1, limit=1))
    assert [lease.token.job_id for lease in claimed.leases] == [job_id]
    return thief, claimed.leases[0]


async def until_state(app: Treadle, job_id: str, state: JobState) -> JobRecord:
    """The record once it has the state; for what the foreman does by itself."""
    found: list[JobRecord] = []

    async def look() -> bool:
        found[:] = [await record_of(app, job_id)]
        return found[0].state is state

    for _ in range(2000):
        if await look():
            return found[0]
        await eventually(lambda: True)
        await app.core.clock.sleep(0)
    raise AssertionError(f"{found[0].state} has not become {state}")
