"""A driver that makes the cases of the suite short."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from treadle.ids import Ids
from treadle.ports import (
    Altered,
    Backend,
    Cancel,
    Change,
    Claim,
    Claimed,
    Gone,
    Held,
    Query,
    Settlement,
    placing,
)
from treadle.records import (
    After,
    In,
    JobRecord,
    JobState,
    Lease,
    NewJob,
    Note,
    Pushed,
    PushStatus,
    Renewal,
    Session,
    SessionInfo,
    Settled,
    Token,
)
from treadle.testing.clock import ManualClock
from treadle.verdicts import Again, Done, Failed, Released, Verdict

__all__ = ["Driver"]


class Driver:
    """A backend behind verbs that make a case read like the sentence it proves.

    Sessions are named by ``who``; each is opened when it is first used and numbers its own
    requests.
    """

    def __init__(self, backend: Backend, clock: ManualClock, ids: Ids) -> None:
        self.backend = backend
        self.clock = clock
        self.ids = ids
        self._sessions: dict[str, Session] = {}
        self._requests: dict[str, int] = {}

    # ------------------------------------------------------------- pushing

    def job(self, **overrides: Any) -> NewJob:
        """A job with a fresh id."""
        overrides.setdefault("task", "tests.task")
        overrides.setdefault("payload", b"payload")
        if "id" in overrides:
            return NewJob(**overrides)
        job = NewJob(id=self.ids.new(), **overrides)
        placed = placing(self.backend)
        return job if placed is None else msgspec.structs.replace(job, id=placed(job))

    async def push(self, *jobs: NewJob) -> list[Pushed]:
        """Push in one step."""
        return list(await self.backend.push(jobs))

    async def add(self, **overrides: Any) -> str:
        """Push one job, which must be created; its id."""
        job = self.job(**overrides)
        [pushed] = await self.push(job)
        assert pushed == Pushed(PushStatus.CREATED)
        return job.id

    async def add_many(self, number: int, **overrides: Any) -> list[str]:
        """Push so many alike in one step; their ids in order."""
        jobs = [self.job(**overrides) for _ in range(number)]
        assert await self.push(*jobs) == [Pushed(PushStatus.CREATED)] * number
        return [job.id for job in jobs]

    # ------------------------------------------------------------- claiming

    async def session(self, who: str = "one") -> Session:
        """The session of that name."""
        if who not in self._sessions:
            info = SessionInfo(name=who, host="host", pid=1, queues=("*",))
            self._sessions[who] = await self.backend.open_session(info)
        return self._sessions[who]

    async def ask(
        self, limit: int = 1, queues: Sequence[str] = ("*",), who: str = "one", **fields: Any
    ) -> Claimed:
        """Claim with the next request number of the session; the whole answer."""
        session = await self.session(who)
        self._requests[who] = fields.pop("request", self._requests.get(who, 0) + 1)
        ask = Claim(
            session=session,
            request=self._requests[who],
            limit=limit,
            queues=tuple(queues),
            **fields,
        )
        return await self.backend.claim(ask)

    async def claim(self, limit: int = 1, **fields: Any) -> tuple[Lease, ...]:
        """Claim; the leases."""
        return (await self.ask(limit, **fields)).leases

    async def claimed(self, limit: int = 1, **fields: Any) -> list[str]:
        """Claim; the ids that were granted."""
        return [lease.spec.id for lease in await self.claim(limit, **fields)]

    async def take(self, **fields: Any) -> Lease:
        """Claim one job, which must be there."""
        leases = await self.claim(**fields)
        assert len(leases) == 1, "nothing was granted"
        return leases[0]

    async def run(self, *, who: str = "one", **overrides: Any) -> Lease:
        """Push a job and claim it."""
        job_id = await self.add(**overrides)
        lease = await self.take(queues=(overrides.get("queue", "default"),), who=who)
        assert lease.spec.id == job_id, "another job was granted"
        return lease

    # ------------------------------------------------------------- holding

    async def extend(
        self,
        *leases: Lease,
        started: bool = False,
        note: Note | None = None,
        lease: float = 30.0,
        who: str = "one",
    ) -> list[Renewal]:
        """Renew leases."""
        held = [Held(token=item.token, started=started, note=note) for item in leases]
        return list(await self.backend.extend(await self.session(who), held, lease))

    async def start(self, lease: Lease, *, who: str = "one") -> None:
        """Report an attempt as started."""
        assert await self.extend(lease, started=True, who=who) == [Renewal.HELD]

    async def lapse(self, seconds: float = 31.0) -> None:
        """Let the leases of the default length run out, and the store see it.

        Who held them is taken for dead: the next verb of that name opens a new session.
        """
        self.clock.advance(seconds)
        await self.backend.find(Query(limit=1))
        self._sessions.clear()
        self._requests.clear()

    async def crash(self, lease: Lease) -> None:
        """Start an attempt and lose its lease."""
        await self.start(lease)
        await self.lapse()

    # ------------------------------------------------------------- settling

    async def settle(
        self,
        lease: Lease | Token,
        verdict: Verdict,
        *follow_ups: NewJob,
        note: Note | None = None,
    ) -> Settled:
        """End an attempt."""
        end = self.end(lease, verdict, *follow_ups, note=note)
        [answer] = await self.backend.settle([end])
        return answer

    def end(
        self,
        lease: Lease | Token,
        verdict: Verdict,
        *follow_ups: NewJob,
        note: Note | None = None,
    ) -> Settlement:
        """The end of an attempt, to be settled."""
        token = lease if isinstance(lease, Token) else lease.token
        return Settlement(token=token, verdict=verdict, follow_ups=follow_ups, note=note)

    async def done(self, lease: Lease, result: bytes | None = b"result") -> None:
        """End an attempt well."""
        assert await self.settle(lease, Done(result=result)) is Settled.OK

    async def again(self, lease: Lease, delay: float = 0.0, **fields: Any) -> None:
        """End an attempt that is to be followed by another."""
        assert await self.settle(lease, Again(delay=delay, **fields)) is Settled.OK

    async def fail(self, lease: Lease, **fields: Any) -> None:
        """End an attempt for good."""
        assert await self.settle(lease, Failed(**fields)) is Settled.OK

    async def release(self, lease: Lease, delay: float = 0.0, reason: str = "") -> None:
        """Give a job back."""
        assert await self.settle(lease, Released(delay=delay, reason=reason)) is Settled.OK

    # ------------------------------------------------------------- looking

    async def records(self, **query: Any) -> tuple[JobRecord, ...]:
        """The records that a query finds."""
        return (await self.backend.find(Query(**query))).records

    async def record(self, job_id: str) -> JobRecord:
        """The record of a job, which must be there."""
        records = await self.records(ids=(job_id,))
        assert len(records) == 1, f"the store has no job {job_id}"
        return records[0]

    async def state(self, job_id: str) -> JobState:
        """The effective state of a job."""
        return (await self.record(job_id)).state

    async def states(self, ids: Collection[str]) -> list[JobState]:
        """The effective states of jobs, in the order asked for."""
        return [await self.state(job_id) for job_id in ids]

    async def gone(self, job_id: str) -> Gone | None:
        """The tombstone of a job that is no longer there."""
        page = await self.backend.find(Query(ids=(job_id,)))
        assert page.records == (), f"job {job_id} is still there"
        return page.gone.get(job_id)

    # ------------------------------------------------------------- altering

    async def alter(self, job_id: str, change: Change) -> Altered:
        """Change one job."""
        return await self.backend.alter(Query(ids=(job_id,)), change)

    async def cancel(self, job_id: str) -> Altered:
        """Cancel one job."""
        return await self.alter(job_id, Cancel())

    async def put(self, state: JobState, **overrides: Any) -> str:
        """A job brought into a state: what waits waits for a job that does not end."""
        match state:
            case JobState.WAITING:
                blocker = self.job(queue="blockers", due=In(1e6))
                waiting = self.job(**overrides, after=After(ids=(blocker.id,)))
                await self.push(blocker, waiting)
                return waiting.id
            case JobState.SCHEDULED:
                return await self.add(**{"due": In(3600.0), **overrides})
            case JobState.QUEUED:
                return await self.add(**overrides)
            case JobState.CANCELLED:
                job_id = await self.add(**overrides)
                await self.cancel(job_id)
                return job_id
            case _:
                lease = await self.run(**overrides)
                if state is JobState.SUCCEEDED:
                    await self.done(lease)
                elif state is JobState.FAILED:
                    await self.fail(lease)
                return lease.spec.id
