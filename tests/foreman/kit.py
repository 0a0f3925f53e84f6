"""What the tests of the foreman have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.foreman.flaky import FlakyBackend
from treadle import Event, JobState, Treadle
from treadle.clock import SystemClock
from treadle.foreman import Foreman
from treadle.ports import Claim, Held, Query
from treadle.records import JobRecord, Lease, Session, SessionInfo, Token
from treadle.testing import ManualClock


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
    token = Token(job_id, record.fence, foreman._presence.session.nonce)
    await backend.extend(foreman._presence.session, [Held(token=token)], 0.0)
    thief = await backend.open_session(SessionInfo(name="thief"))
    claimed = await backend.claim(Claim(session=thief, request=1, limit=1))
    assert [lease.token.job_id for lease in claimed.leases] == [job_id]
    return thief, claimed.leases[0]


async def advance_until(
    clock: ManualClock, condition: Callable[[], bool], step: float = 0.5
) -> None:
    """Move time on until something holds. Other threads get real time to follow."""
    for _ in range(2000):
        if condition():
            return
        await clock.aadvance(step)
        await SystemClock().sleep(0.005)
    raise AssertionError(f"{condition} did not become true in {clock.monotonic():g} s")
