from __future__ import annotations

import asyncio
import itertools
import os
import threading

import pytest

from treadle import backends
from treadle.clock import SystemClock
from treadle.errors import InvalidOption, LeaseLost, NotOpen, UnknownOption
from treadle.events import Event
from treadle.ids import SystemIds
from treadle.ports import Claim, Feature, Held, Query, Settlement
from treadle.records import In, Lease, NewJob, PushStatus, Renewal, SessionInfo, Settled
from treadle.testing import ManualClock
from treadle.testing.clock import settle as at_rest
from treadle.testing.contract import BackendContract
from treadle.verdicts import Done

_stores = itertools.count()


class TestMemory(BackendContract):
    @pytest.fixture
    def make(self, clock, ids):
        url = f"memory://contract-{next(_stores)}"
        return lambda **options: backends.open(url, clock=clock, ids=ids, **options)


def connect(url="memory://", clock=None, **options):
    clock = clock or SystemClock()
    return backends.open(url, clock=clock, ids=SystemIds(clock), **options)


def new_job(number: int = 1, **fields) -> NewJob:
    return NewJob(id=f"job-{number}", task="tests.task", payload=b"", **fields)


async def claim_one(backend) -> Lease:
    session = await backend.open_session(SessionInfo(name="tests"))
    claimed = await backend.claim(Claim(session=session, request=1, limit=1))
    [lease] = claimed.leases
    return lease


# ------------------------------------------------------------ which store


async def test_a_store_without_a_name_is_private():
    one, other = connect(), connect()
    await one.push([new_job()])
    assert (await one.find(Query())).records
    assert not (await other.find(Query())).records
    one.close()
    other.close()


async def test_a_named_store_is_shared():
    one, other = connect("memory://shared"), connect("memory://shared")
    await one.push([new_job()])
    lease = await claim_one(other)
    assert await one.settle([Settlement(token=lease.token, verdict=Done())]) == [Settled.OK]
    one.close()
    assert len((await other.find(Query())).records) == 1
    other.close()


async def test_namespaces_keep_apart_what_shares_a_name():
    one = connect("memory://shared", namespace="one")
    two = connect("memory://shared", namespace="two")
    await one.push([new_job()])
    assert not (await two.find(Query())).records
    one.close()
    two.close()


async def test_the_last_one_out_takes_a_named_store_with_it():
    one = connect("memory://shared")
    await one.push([new_job()])
    one.close()
    one.close()
    again = connect("memory://shared")
    assert not (await again.find(Query())).records
    again.close()


async def test_a_closed_backend_says_so():
    backend = connect("memory://closed")
    backend.close()
    with pytest.raises(NotOpen, match="memory://closed is closed"):
        await backend.push([new_job()])
    with pytest.raises(NotOpen):
        backend.subscribe("*")


async def test_it_says_what_can_be_lost():
    backend = connect()
    await backend.open()
    await backend.push([new_job()])
    facts = await backend.probe()
    assert facts["durability"] == "memory"
    assert facts["may_lose"] == "all jobs when this process ends"
    assert facts["jobs"] == 1
    assert Feature.CROSS_PROCESS not in backend.features
    await backend.aclose()
    backend.close()


# ------------------------------------------------------------ the url


def test_an_unknown_scheme_is_refused_with_the_known_ones():
    with pytest.raises(InvalidOption) as refused:
        connect("kafka://:secret@host/topic")
    assert "memory://, sqlite://" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["memory://name/path", "memory://user@name"])
def test_a_url_with_more_than_a_name_is_refused(url):
    with pytest.raises(InvalidOption, match="more than a name"):
        connect(url)


def test_an_unknown_option_is_refused_with_the_nearest():
    with pytest.raises(UnknownOption, match="did you mean 'max_failed'"):
        connect(max_fail=3)
    with pytest.raises(UnknownOption, match="no option 'shards'"):
        connect("memory://?shards=3")


@pytest.mark.parametrize("value", ["many", -1])
def test_a_number_that_is_none_is_refused(value):
    with pytest.raises(InvalidOption, match="max_failed="):
        connect(max_failed=value)


async def test_an_option_in_the_url():
    backend = connect("memory://?max_failed=0")
    await backend.push([new_job(expires=In(-1.0))])
    page = await backend.find(Query(ids=("job-1",)))
    assert not page.records
    assert page.gone["job-1"].state == "failed"
    backend.close()


# ------------------------------------------------------------ loops, threads, forks


def test_two_loops_one_after_the_other():
    backend = connect()

    async def push():
        await backend.open()
        await backend.push([new_job()])
        await backend.aclose()

    async def take():
        await backend.open()
        lease = await claim_one(backend)
        await backend.aclose()
        return lease.spec.id

    asyncio.run(push())
    assert asyncio.run(take()) == "job-1"
    backend.close()


def test_a_push_of_another_thread_wakes():
    backend = connect()
    waits = threading.Event()

    async def serve():
        asyncio.get_running_loop().call_soon(waits.set)
        await backend.wait(["*"], 60.0)
        return (await claim_one(backend)).spec.id

    async def push():
        return await backend.push([new_job()])

    served: list[str] = []
    thread = threading.Thread(target=lambda: served.append(asyncio.run(serve())))
    thread.start()
    assert waits.wait(60)
    asyncio.run(push())
    thread.join(60)
    assert served == ["job-1"]
    backend.close()


async def test_a_waiter_of_a_closed_loop_hurts_nobody():
    backend = connect()

    async def leave_waiting():
        waiting = asyncio.ensure_future(backend.wait(["*"], 60.0))
        for _ in range(3):
            await SystemClock().sleep(0)
        return waiting

    def abandon():
        loop = asyncio.new_event_loop()
        waiting = loop.run_until_complete(leave_waiting())
        waiting._log_destroy_pending = False
        loop.close()

    await asyncio.to_thread(abandon)
    pushed = await backend.push([new_job()])
    assert pushed[0].status is PushStatus.CREATED
    backend.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_begins_with_nothing():
    backend = connect("memory://forked")

    async def before():
        await backend.push([new_job()])
        return await backend.open_session(SessionInfo(name="parent"))

    session = asyncio.run(before())

    async def in_child() -> str:
        if (await backend.find(Query())).records:
            return "it has the jobs of its parent"
        try:
            await backend.claim(Claim(session=session, request=1, limit=1))
        except LeaseLost:
            pass
        else:
            return "it has the session of its parent"
        await backend.push([new_job(2)])
        return "" if (await claim_one(backend)).spec.id == "job-2" else "it cannot be used"

    # The lock is held, as it may be by another thread at the moment of a fork.
    with backend._shared:
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            said = "it failed"
            try:
                said = asyncio.run(in_child())
            finally:
                os.write(writes, said.encode())
                os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        assert pipe.read() == ""
    os.waitpid(pid, 0)
    assert asyncio.run(claim_one_id(backend)) == "job-1"
    backend.close()


async def claim_one_id(backend) -> str:
    return (await claim_one(backend)).spec.id


# ------------------------------------------------------------ waiting


async def test_as_many_waiters_wake_as_there_are_jobs():
    clock = ManualClock()
    backend = connect(clock=clock)
    waiting = [asyncio.create_task(backend.wait(["*"], 1e6)) for _ in range(5)]
    await at_rest()
    await backend.push([new_job(1), new_job(2)])
    await at_rest()
    assert [one.done() for one in waiting] == [True, True, False, False, False]
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    backend.close()


async def test_a_cancelled_waiter_passes_on_what_it_was_woken_for():
    clock = ManualClock()
    backend = connect(clock=clock)
    first = asyncio.create_task(backend.wait(["*"], 1e6))
    await at_rest()
    second = asyncio.create_task(backend.wait(["*"], 1e6))
    await at_rest()
    await backend.push([new_job()])
    first.cancel()
    await at_rest()
    assert first.cancelled()
    assert second.done()
    backend.close()


async def test_waiting_arms_for_an_earlier_job():
    clock = ManualClock()
    backend = connect(clock=clock)
    await backend.push([new_job(1, due=In(100.0))])
    waiting = asyncio.create_task(backend.wait(["*"], 1e6))
    await at_rest()
    await backend.push([new_job(2, due=In(10.0))])
    await at_rest()
    clock.advance(9.0)
    await at_rest()
    assert not waiting.done()
    clock.advance(1.0)
    await at_rest()
    assert waiting.done()
    backend.close()


async def test_a_suspect_that_was_passed_over_makes_nobody_spin():
    clock = ManualClock()
    backend = connect(clock=clock)
    await backend.push([new_job()])
    session = await backend.open_session(SessionInfo(name="tests"))
    first = await backend.claim(Claim(session=session, request=1, limit=1))
    held = [Held(token=first.leases[0].token)]
    assert await backend.extend(session, held, 0.0) == [Renewal.HELD]
    await backend.wait(["*"], 1e6)
    passed = await backend.claim(Claim(session=session, request=2, limit=1, holding=1))
    assert passed.suspects_wait
    assert not passed.leases
    waiting = asyncio.create_task(backend.wait(["*"], 1e6))
    await at_rest()
    assert not waiting.done()
    clock.advance(1.0)
    await at_rest()
    assert waiting.done()
    backend.close()


# ------------------------------------------------------------ memory is given back


async def test_nothing_is_left_of_jobs_that_are_gone():
    clock = ManualClock()
    backend = connect(clock=clock)
    store = backend._shared
    jobs = [
        new_job(number, queue=f"tenant.{number}", key=f"k{number}", flow=f"f{number}")
        for number in range(200)
    ]
    await backend.push(jobs)
    session = await backend.open_session(SessionInfo(name="tests"))
    claimed = await backend.claim(Claim(session=session, request=1, limit=200))
    await backend.settle([Settlement(token=one.token, verdict=Done()) for one in claimed.leases])
    assert len(claimed.leases) == len(store.jobs) == 200
    clock.advance(3600.0)
    await backend.find(Query())
    clock.advance(600.0)
    await backend.find(Query())
    left = (store.jobs, store.queues, store.names, store.lines, store.of_flow, store.tombs)
    assert [len(one) for one in left] == [0] * 6
    assert not store.leases.batches
    backend.close()


# ------------------------------------------------------------ events


async def test_events_reach_readers_of_other_loops():
    backend = connect()
    reader = backend.subscribe("job.*")
    event = Event(name="job.started", at=1.0)

    async def publish():
        await backend.publish([event, Event(name="queue.paused", at=1.0)])

    await asyncio.to_thread(asyncio.run, publish())
    assert await anext(reader) == event
    backend.close()
    assert [one async for one in reader] == []
