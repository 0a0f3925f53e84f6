"""Why a job is not running: each reason, found over the ports, with what would help."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from treadle import backends
from treadle.errors import JobNotFound
from treadle.faults import Fault
from treadle.ids import SystemIds
from treadle.ports import (
    QUEUE_CELL,
    Backend,
    Cancel,
    Claim,
    Held,
    Query,
    QueueRule,
    Settlement,
    Write,
)
from treadle.records import (
    After,
    Hold,
    In,
    JobState,
    Keep,
    Lease,
    NewJob,
    Note,
    Session,
    SessionInfo,
    Spend,
)
from treadle.testing import ManualClock
from treadle.verdicts import Again, Done, Failed, Released, Verdict
from treadle.why import Kind, Why, why


class Yard:
    """A store with foremen that do what a test says."""

    def __init__(self, backend: Backend, clock: ManualClock) -> None:
        self.backend = backend
        self.clock = clock
        self._requests = 0

    async def push(self, job_id: str, **fields: Any) -> None:
        fields = {"task": "mail.send", "queue": "mail", "payload": b"", **fields}
        await self.backend.push([NewJob(id=job_id, **fields)])

    async def foreman(self, **fields: Any) -> Session:
        info = {"name": "ann", "queues": ("*",), "tasks": ("mail.send",), "concurrency": 4}
        return await self.backend.open_session(SessionInfo(**{**info, **fields}))

    async def claim(self, session: Session, limit: int = 1) -> tuple[Lease, ...]:
        self._requests += 1
        ask = Claim(session=session, request=self._requests, limit=limit)
        return (await self.backend.claim(ask)).leases

    async def end(self, lease: Lease, verdict: Verdict) -> None:
        await self.backend.settle([Settlement(token=lease.token, verdict=verdict)])

    async def rule(self, queue: str, **fields: Any) -> None:
        value = msgspec.msgpack.encode(QueueRule(**fields))
        await self.backend.write([Write(key=QUEUE_CELL + queue, value=value)])

    async def ask(self, job_id: str = "a") -> Why:
        return await why(self.backend, job_id, self.clock)

    async def kinds(self, job_id: str = "a") -> list[Kind]:
        return [one.kind for one in (await self.ask(job_id)).blockers]


@pytest.fixture(params=["memory", "sqlite"])
async def yard(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[Yard]:
    clock = ManualClock()
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    backend = backends.open(url, clock=clock, ids=SystemIds(clock))
    await backend.open()
    yield Yard(backend, clock)
    await backend.aclose()
    backend.close()


async def test_no_foreman_at_all(yard: Yard) -> None:
    await yard.push("a")
    (blocker,) = (await yard.ask()).blockers
    assert blocker.kind is Kind.NO_FOREMAN
    assert blocker.says == "no foreman serves queue 'mail': none is running"
    assert "treadle run APP -q mail" in blocker.action


async def test_no_foreman_for_its_queue(yard: Yard) -> None:
    await yard.push("a")
    await yard.foreman(queues=("reports",))
    await yard.foreman(name="bob", exclude=("mail",))
    (blocker,) = (await yard.ask()).blockers
    assert blocker.kind is Kind.NO_FOREMAN
    assert "ann serves reports" in blocker.says


async def test_no_foreman_for_its_task(yard: Yard) -> None:
    await yard.push("a", task="mail.sort")
    await yard.foreman()
    (blocker,) = (await yard.ask()).blockers
    assert blocker.kind is Kind.UNKNOWN_TASK
    assert "knows the task 'mail.sort' (there: ann)" in blocker.says


async def test_nothing_but_other_jobs(yard: Yard) -> None:
    await yard.push("a")
    await yard.push("b")
    await yard.foreman()
    found = await yard.ask()
    assert [one.kind for one in found.blockers] == [Kind.IN_LINE]
    assert "2 are queued in 'mail', served by ann with 4 places" in found.summary


async def test_a_pause_of_its_queue_or_one_above(yard: Yard) -> None:
    await yard.push("a", queue="mail.acme")
    await yard.foreman()
    now = yard.clock.now()
    await yard.rule("mail", paused=True, by="eve", reason="full inbox", since=now, until=now + 60)
    (blocker,) = (await yard.ask()).blockers
    assert blocker.kind is Kind.PAUSED
    assert blocker.says == "queue 'mail' was paused just now by eve: full inbox; ends in 60 s"
    assert blocker.command == ("queues", "resume", "mail")
    assert blocker.until == now + 60
    yard.clock.advance(61)
    assert Kind.PAUSED not in await yard.kinds()


async def test_a_queue_that_runs_all_it_may(yard: Yard) -> None:
    await yard.rule("mail", max_running=1)
    await yard.push("first")
    session = await yard.foreman()
    await yard.claim(session)
    await yard.push("a")
    (blocker,) = (await yard.ask()).blockers
    assert blocker.kind is Kind.FULL
    assert "runs 1 jobs, and may run 1" in blocker.says


async def test_a_key_and_who_holds_it(yard: Yard) -> None:
    await yard.push("first", key="customer-7")
    session = await yard.foreman()
    await yard.claim(session)
    await yard.push("a", key="customer-7")
    (blocker,) = (await yard.ask()).blockers
    assert blocker.kind is Kind.KEY
    assert blocker.jobs == ("first",)
    assert "its key 'customer-7' is held by first (mail.send, on ann" in blocker.says


async def test_a_limit_and_who_holds_it(yard: Yard) -> None:
    limit = Hold(key="api", slots=1)
    await yard.push("first", asks=(limit,))
    await yard.push("other")
    session = await yard.foreman()
    await yard.claim(session, 2)
    await yard.push("a", asks=(limit,))
    await yard.claim(session)
    (blocker,) = (await yard.ask()).blockers
    assert blocker.kind is Kind.LIMIT
    assert blocker.jobs == ("first",)
    assert "all slots of the limit 'api' are taken by first" in blocker.says


async def test_a_rate_and_until_when(yard: Yard) -> None:
    rate = Spend(key="api", count=1, per=60, burst=1)
    await yard.push("first", asks=(rate,))
    await yard.push("a", asks=(rate,))
    session = await yard.foreman()
    await yard.claim(session, 2)
    (blocker,) = (await yard.ask()).blockers
    assert blocker.kind is Kind.RATE
    assert blocker.says == "the rate 'api' has a place for it in 60 s"
    assert blocker.until == yard.clock.now() + 60


async def test_a_time_that_has_not_come(yard: Yard) -> None:
    await yard.push("a", due=In(3 * 3600), asks=(Spend(key="api", count=1, per=60),))
    await yard.foreman()
    (blocker,) = (await yard.ask()).blockers
    assert blocker.kind is Kind.SCHEDULED
    assert blocker.says == "is scheduled for a time in 3 h"


async def test_a_retry_and_the_error_before(yard: Yard) -> None:
    await yard.push("a")
    session = await yard.foreman()
    (lease,) = await yard.claim(session)
    await yard.end(lease, Again(delay=300, fault=Fault(type="OSError", message="no route")))
    (blocker,) = (await yard.ask()).blockers
    assert blocker.kind is Kind.RETRY
    assert blocker.says == "attempt 1 ended with error (OSError: no route); the next is in 5 min"


async def test_a_release_with_its_reason(yard: Yard) -> None:
    await yard.push("a")
    session = await yard.foreman()
    (lease,) = await yard.claim(session)
    await yard.end(lease, Released(delay=10, reason="no task 'mail.send' here"))
    (blocker,) = (await yard.ask()).blockers
    assert blocker.kind is Kind.ASIDE
    assert "no task 'mail.send' here; looked at again in 10 s" in blocker.says


async def test_jobs_that_must_end_first(yard: Yard) -> None:
    await yard.push("b")
    await yard.push("c")
    await yard.push("a", after=After(ids=("b", "c")))
    await yard.foreman()
    (blocker,) = (await yard.ask()).blockers
    assert blocker.kind is Kind.DEPENDENCY
    assert blocker.says == "waits for 2 jobs to end: b (queued), c (queued)"
    assert blocker.command == ("why", "b")


async def test_a_suspect_runs_alone(yard: Yard) -> None:
    await yard.push("a")
    session = await yard.foreman()
    (lease,) = await yard.claim(session)
    await yard.backend.extend(session, [Held(token=lease.token)], 0.0)
    await yard.foreman()
    assert await yard.kinds() == [Kind.SUSPECT]


async def test_several_reasons_come_in_the_order_they_must_be_cleared(yard: Yard) -> None:
    await yard.rule("mail", paused=True)
    await yard.push("b")
    await yard.push("a", after=After(ids=("b",)))
    assert await yard.kinds() == [Kind.DEPENDENCY, Kind.PAUSED, Kind.NO_FOREMAN]


async def test_a_running_job_tells_where_it_runs(yard: Yard) -> None:
    await yard.push("a")
    session = await yard.foreman()
    (lease,) = await yard.claim(session)
    note = Note(current=3, total=10, message="pages")
    await yard.backend.extend(session, [Held(token=lease.token, started=True, note=note)], 30.0)
    await yard.backend.alter(Query(ids=("a",)), Cancel())
    found = await yard.ask()
    (blocker,) = found.blockers
    assert (found.state, blocker.kind) == (JobState.RUNNING, Kind.RUNNING)
    assert blocker.says.startswith("attempt 1 runs on ann since ")
    assert "lease ends in 30 s; it was asked to stop; progress 3 of 10 pages" in blocker.says


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Done(), "succeeded just now"),
        (Done(skipped="holiday"), "succeeded just now, skipped: holiday"),
        (
            Failed(fault=Fault(type="OSError", message="no route")),
            "failed just now, cause error (OSError: no route), after 1 try",
        ),
    ],
)
async def test_a_job_that_has_ended_tells_how(yard: Yard, verdict: Verdict, says: str) -> None:
    await yard.push("a")
    (lease,) = await yard.claim(await yard.foreman())
    await yard.end(lease, verdict)
    found = await yard.ask()
    (blocker,) = found.blockers
    assert (blocker.kind, blocker.says) == (Kind.ENDED, says)
    assert blocker.command == (() if found.state is JobState.SUCCEEDED else ("jobs", "retry", "a"))


async def test_a_job_that_failed_with_another_names_it(yard: Yard) -> None:
    await yard.push("b")
    await yard.push("a", after=After(ids=("b",)))
    await yard.backend.alter(Query(ids=("b",)), Cancel())
    assert "cause dependency, because job b did not succeed" in (await yard.ask()).summary


async def test_a_job_that_is_not_there(yard: Yard) -> None:
    with pytest.raises(JobNotFound, match="never here, or is no longer kept"):
        await yard.ask("nobody")


async def test_a_job_that_is_no_longer_kept(yard: Yard) -> None:
    await yard.push("a", keep=Keep(succeeded=0))
    (lease,) = await yard.claim(await yard.foreman())
    await yard.end(lease, Done())
    with pytest.raises(JobNotFound, match="job a ended succeeded and is no longer kept"):
        await yard.ask()
