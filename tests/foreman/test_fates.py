"""What ends inside of a store is told: to observers, in the log, in the numbers of the foreman."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tests.foreman.kit import Manual, advance_until, listen, record_of, steal
from treadle import CONTEXT, Context, Event, JobState, Treadle
from treadle.ports import Cancel, Claim, Feature, Held, Query, Settlement
from treadle.records import After, NewJob, SessionInfo
from treadle.testing import eventually
from treadle.transactions import Transaction
from treadle.verdicts import Done, Failed


class Ends:
    """What an app tells of the ends of its jobs, and what it logs of them."""

    def __init__(self, app: Treadle, caplog: pytest.LogCaptureFixture) -> None:
        self.heard = [listen(app, name) for name in ("job.failed", "job.cancelled", "job.retrying")]
        self._caplog = caplog

    def of(self, job_id: str) -> list[Event]:
        return [event for heard in self.heard for event in heard if event.job_id == job_id]

    def logged(self, job_id: str) -> list[dict[str, Any]]:
        fields = [record.__dict__.get("treadle", {}) for record in self._caplog.records]
        return [one for one in fields if one.get("job") == job_id]


@pytest.fixture
def ends(app: Treadle, caplog: pytest.LogCaptureFixture) -> Ends:
    return Ends(app, caplog)


async def dies(app: Treadle, *, started: bool = True) -> None:
    """A foreman takes a job and is never heard of again, as its supervisor finds out."""
    backend = await app.core.ready()
    session = await backend.open_session(SessionInfo(name="dying"))
    claimed = await backend.claim(Claim(session=session, request=1, limit=1))
    held = [Held(token=one.token, started=started) for one in claimed.leases]
    assert held, "nothing to die with"
    await backend.extend(session, held, 0.0)
    await backend.close_session(session)


async def test_a_job_whose_dependency_failed(app: Treadle, ends: Ends) -> None:
    @app.task(name="fails")
    async def fails() -> None:
        raise ValueError("no luck")

    @app.task(name="waits", queue="later")
    async def waits() -> None: ...

    first = await fails.aenqueue()
    second = await waits.options(after=[first]).aenqueue()
    third = await waits.options(after=[second], on_failure="cancel").aenqueue()
    async with app.foreman() as foreman:
        await eventually(lambda: len(ends.of(third.id)) == 1)
        assert foreman.stats["job.failed"] == 2
        assert foreman.stats["job.cancelled"] == 1
    [told] = ends.of(second.id)
    assert (told.name, told.task, told.queue, told.attempt) == (
        "job.failed", "waits", "later", None,
    )  # fmt: skip
    assert told.data == {"cause": "dependency", "error": None, "reason": f"after:{first.id}"}
    [line] = ends.logged(second.id)
    assert line == {"event": "job.failed", "job": second.id, "task": "waits", **told.data}
    [told] = ends.of(third.id)
    assert (told.name, told.data) == ("job.cancelled", {"reason": f"after:{second.id}"})


async def test_a_job_that_expired(app: Treadle, ends: Ends) -> None:
    @app.task(name="late", queue="nobody")
    async def late() -> None: ...

    job = await late.options(expires=0.05).aenqueue()
    async with app.foreman(queues=["default"]) as foreman:
        await eventually(lambda: len(ends.of(job.id)) == 1)
        assert foreman.stats["job.failed"] == 1
    [told] = ends.of(job.id)
    assert (told.name, told.task, told.data) == (
        "job.failed", "late", {"cause": "expired", "error": None},
    )  # fmt: skip
    assert [line["cause"] for line in ends.logged(job.id)] == ["expired"]


async def test_a_job_that_crashed_and_crashed_for_the_last_time(app: Treadle, ends: Ends) -> None:
    @app.task(name="pill", max_crashes=2)
    async def pill() -> None: ...

    job = await pill.aenqueue()
    await dies(app)
    await dies(app)
    told = ends.of(job.id)
    assert sorted((one.name, one.attempt) for one in told) == [
        ("job.failed", 2), ("job.retrying", 1),
    ]  # fmt: skip
    assert [line["event"] for line in ends.logged(job.id)] == ["job.retrying", "job.failed"]
    retrying, failed = ends.logged(job.id)
    assert (retrying["cause"], retrying["crashes"], retrying["delay"]) == ("crashed", 1, 0.0)
    assert (failed["cause"], failed["crashes"]) == ("crashed", 2)


async def test_a_job_that_runs_at_most_once_and_whose_lease_lapsed(
    manual: Manual, caplog: pytest.LogCaptureFixture
) -> None:
    app, clock = manual
    ends = Ends(app, caplog)

    @app.task(name="once", delivery="at_most_once")
    async def once() -> None: ...

    job = await once.aenqueue()
    backend = await app.core.ready()
    session = await backend.open_session(SessionInfo(name="gone"))
    await backend.claim(Claim(session=session, request=1, limit=1, lease=5.0))
    async with app.foreman() as foreman:
        await advance_until(clock, lambda: len(ends.of(job.id)) == 1)
        assert foreman.stats["job.failed"] == 1
    [told] = ends.of(job.id)
    assert (told.name, told.attempt, told.data) == (
        "job.failed", 1, {"cause": "crashed", "error": None},
    )  # fmt: skip
    assert [line["cause"] for line in ends.logged(job.id)] == ["crashed"]


async def test_a_lease_that_a_thief_has_tells_of_no_end(app: Treadle, ends: Ends) -> None:
    started = asyncio.Event()

    @app.task(name="hang")
    async def hang(ctx: Context = CONTEXT) -> None:
        started.set()
        await asyncio.Event().wait()

    async with app.foreman(grace=0.1) as foreman:
        job = await hang.aenqueue()
        await started.wait()
        await steal(app, foreman, job.id)
        assert ends.of(job.id) == []


async def test_what_a_change_brings_with_it(app: Treadle, ends: Ends) -> None:
    @app.task(name="work")
    async def work() -> None: ...

    first = await work.options(delay=60).aenqueue()
    second = await work.options(after=[first]).aenqueue()
    assert await first.acancel()
    assert [one.name for one in ends.of(first.id)] == ["job.cancelled"]
    assert [one.name for one in ends.of(second.id)] == ["job.failed"]
    third = await work.options(after=[second]).aenqueue()
    assert [one.data["reason"] for one in ends.of(third.id)] == [f"after:{second.id}"]


async def test_a_retry_of_a_job_that_was_to_be_cancelled_is_none(app: Treadle, ends: Ends) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @app.task(name="stubborn", retry=3)
    async def stubborn() -> None:
        started.set()
        await go_on.wait()
        raise ValueError("again")

    async with app.foreman() as foreman:
        job = await stubborn.aenqueue()
        await started.wait()
        backend: Any = app.core.store.made
        # Not through the app: the foreman is not to hear of it.
        altered = await backend.alter(Query(ids=(job.id,)), Cancel())
        assert altered.asked == (job.id,)
        go_on.set()
        await eventually(lambda: len(ends.of(job.id)) == 1)
        assert foreman.stats["job.retrying"] == 0
        assert foreman.stats["job.cancelled"] == 1
    [told] = ends.of(job.id)
    assert (told.name, told.attempt) == ("job.cancelled", 1)
    assert (await record_of(app, job.id)).state is JobState.CANCELLED


async def test_what_the_commit_of_a_transaction_brings_with_it(app: Treadle) -> None:
    backend = await app.core.ready()
    if Feature.TRANSACTIONS not in backend.features:
        pytest.skip("no transactions")
    failed = listen(app, "job.failed")
    session = await backend.open_session(SessionInfo(name="one"))
    jobs = [NewJob(id=app.core.ids.new(), task="t", payload=b"") for _ in range(2)]
    await backend.push(jobs)
    after = After(ids=(jobs[0].id,))
    # More than the end of the first one passes its failure on to.
    dependant = msgspec.structs.replace(jobs[0], after=after)
    waiting = [msgspec.structs.replace(dependant, id=app.core.ids.new()) for _ in range(120)]
    await backend.push(waiting)
    first, second = (await backend.claim(Claim(session=session, request=1, limit=2))).leases
    await backend.settle([Settlement(token=first.token, verdict=Failed())])
    before = len(failed)
    assert 0 < before < len(waiting)
    end = Settlement(token=second.token, verdict=Done())
    async with Transaction(
        app.core, 10.0, "the transaction", ending=lambda unit: unit.ends.append(end)
    ):
        assert len(failed) == before
    assert len(failed) > before
    await backend.close_session(session)
