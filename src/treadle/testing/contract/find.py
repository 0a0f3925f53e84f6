"""Find: filters, pages, effective states, counts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from treadle.errors import InvalidOption
from treadle.faults import Fault
from treadle.ports import EXAMINE_MAX, Feature, Query
from treadle.records import In, JobState, Unique
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs

__all__ = ["FindContract"]

FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "abcde"),
    ({"queue": "mail"}, "ab"),
    ({"queue": "mail.x"}, "b"),
    ({"states": (JobState.SCHEDULED,)}, "c"),
    ({"states": (JobState.SCHEDULED, JobState.FAILED)}, "ce"),
    ({"queue": "sms", "states": (JobState.QUEUED,)}, "d"),
    ({"task": "pkg.one"}, "ad"),
    ({"task": "pkg.*"}, "abd"),
    ({"task": "pkg.on"}, ""),
    ({"tags": ("x",)}, "ab"),
    ({"tags": ("x", "y")}, "b"),
    ({"unique": "f#u"}, "c"),
    ({"key": "k"}, "d"),
    ({"flow": "f"}, "ac"),
    ({"error": "ValueError"}, "e"),
    ({"error": "no such thing"}, "e"),
    ({"error": "KeyError"}, ""),
    ({"queue": "mail", "tags": ("y",), "task": "pkg.*"}, "b"),
    ({"ids": ("a", "c", "nobody")}, "ac"),
    ({"ids": ("a", "c"), "queue": "mail"}, "a"),
    # What is named twice is found once.
    ({"ids": ("a", "c", "a")}, "ac"),
    ({"states": (JobState.QUEUED, JobState.QUEUED)}, "abd"),
    ({"queue": "sms", "states": (JobState.FAILED, JobState.QUEUED, JobState.FAILED)}, "de"),
    ({"task": "other", "states": (JobState.FAILED, JobState.FAILED)}, "e"),
    ({"tags": ("x", "x")}, "ab"),
]


@needs(Feature.RECORDS)
class FindContract(Contract):
    """Looking at jobs."""

    async def five(self, store: Driver) -> dict[str, str]:
        """The ids of the jobs that ``FILTERS`` is about, by their letters."""
        fault = Fault(type="builtins.ValueError", message="there is no such thing")
        lease = await store.run(queue="sms.y", task="other")
        await store.fail(lease, fault=fault)
        jobs = {
            "a": store.job(queue="mail", task="pkg.one", tags=("x",), flow="f"),
            "b": store.job(queue="mail.x", task="pkg.two", tags=("x", "y")),
            "c": store.job(
                queue="mailbox", task="t", due=In(60.0), unique=Unique(key="f#u"), flow="f"
            ),
            "d": store.job(queue="sms", task="pkg.one", key="k"),
        }
        await store.push(*jobs.values())
        return {letter: job.id for letter, job in jobs.items()} | {"e": lease.spec.id}

    @pytest.mark.parametrize(("filters", "expected"), FILTERS, ids=repr)
    async def test_a_filter(self, store: Driver, filters: dict[str, Any], expected: str) -> None:
        """Query: all conditions must hold."""
        ids = await self.five(store)
        letters = {job_id: letter for letter, job_id in ids.items()}
        if "ids" in filters:
            filters = filters | {"ids": tuple(ids.get(one, one) for one in filters["ids"])}
        found = sorted(letters[record.id] for record in await store.records(**filters))
        assert "".join(found) == expected

    async def test_by_time(self, store: Driver, clock: ManualClock) -> None:
        """Query: bounds on ``created``."""
        ids: list[str] = []
        for _ in range(4):
            ids.append(await store.add())
            clock.advance(10)
        since, until = clock.now() - 35, clock.now() - 15
        found = await store.records(since=since, until=until, oldest_first=True)
        assert [record.id for record in found] == ids[1:3]

    async def test_bounds_of_time_are_included(self, store: Driver, clock: ManualClock) -> None:
        """Find: ``since`` and ``until`` are both included."""
        job_id = await store.add()
        now = clock.now()
        assert [record.id for record in await store.records(since=now, until=now)] == [job_id]
        assert await store.records(since=now + 1e-3) == ()
        assert await store.records(until=now - 1e-3) == ()

    @needs(Feature.ORDER)
    async def test_ids_are_paged_too(self, store: Driver) -> None:
        """Find: ``ids`` are paged like everything else, by arrival."""
        ids = await store.add_many(5)
        query = Query(ids=tuple(reversed(ids)), limit=3, oldest_first=True)
        page = await store.backend.find(query)
        assert [record.id for record in page.records] == ids[:3]
        assert page.cursor is not None
        page = await store.backend.find(msgspec.structs.replace(query, cursor=page.cursor))
        assert ([record.id for record in page.records], page.cursor) == (ids[3:], None)

    @pytest.mark.parametrize("cursor", ["", "-1", "1_0", "\u00b2", "9" * 19], ids=ascii)
    async def test_a_cursor_that_is_none(self, store: Driver, cursor: str) -> None:
        """3.12. A cursor that no page gave is refused."""
        await store.add()
        with pytest.raises(InvalidOption, match="cursor="):
            await store.backend.find(Query(cursor=cursor))

    @needs(Feature.ORDER)
    async def test_newest_first_by_default(self, store: Driver) -> None:
        """Query: by arrival, newest first by default."""
        ids = await store.add_many(5)
        assert [record.id for record in await store.records()] == ids[::-1]
        assert [record.id for record in await store.records(oldest_first=True)] == ids

    @pytest.mark.parametrize("oldest_first", [True, False])
    @pytest.mark.parametrize("filters", [{}, {"queue": "q"}, {"flow": "f"}], ids=repr)
    async def test_pages(self, store: Driver, filters: dict[str, Any], oldest_first: bool) -> None:
        """3.12. A page says where to go on, also while jobs are added and change."""
        ids = await store.add_many(25, queue="q", flow="f")
        seen: list[str] = []
        pages, cursor = 0, None
        while pages == 0 or cursor is not None:
            query = Query(limit=10, oldest_first=oldest_first, cursor=cursor, **filters)
            page = await store.backend.find(query)
            seen += [record.id for record in page.records]
            pages, cursor = pages + 1, page.cursor
            await store.claim(4)
            assert pages < 5
        assert seen == (ids if oldest_first else ids[::-1])

    async def test_little_is_looked_at(self, store: Driver) -> None:
        """3.12. At most 1,000 examined a call, and ``Page.examined`` says so."""
        ids = await store.add_many(2500, tags=("x",))
        wanted = ids[0]
        await store.add(tags=("y",))
        await store.cancel(wanted)
        found: list[str] = []
        examined, calls, cursor = 0, 0, None
        while True:
            query = Query(tags=("x",), states=(JobState.CANCELLED,), cursor=cursor)
            page = await store.backend.find(query)
            assert page.examined <= EXAMINE_MAX
            found += [record.id for record in page.records]
            examined, calls, cursor = examined + page.examined, calls + 1, page.cursor
            assert calls < 10
            if cursor is None:
                break
        assert found == [wanted]
        none = await store.backend.find(Query(task="no.such.task", limit=10))
        assert none.records == ()
        assert 0 <= none.examined <= EXAMINE_MAX

    async def test_states_are_effective(self, store: Driver, clock: ManualClock) -> None:
        """3.2. ``find`` reports the effective state: what is due shows as queued."""
        ids = await store.add_many(120, due=In(10.0), queue="unserved")
        clock.advance(10)
        states = {record.state for record in await store.records(limit=200)}
        assert states == {JobState.QUEUED}
        assert await store.state(ids[-1]) is JobState.QUEUED

    @needs(Feature.ORDER)
    async def test_what_is_due_is_found_as_queued(self, store: Driver, clock: ManualClock) -> None:
        """3.2. A filter on states goes by the effective ones."""
        ids = await store.add_many(3, due=In(10.0))
        clock.advance(10)
        found = await store.records(states=(JobState.QUEUED,), oldest_first=True)
        assert [record.id for record in found] == ids
        assert await store.records(states=(JobState.SCHEDULED,)) == ()

    async def test_an_unknown_id(self, store: Driver) -> None:
        """Page: what is not known is neither a record nor gone."""
        page = await store.backend.find(Query(ids=(store.ids.new(),)))
        assert (page.records, dict(page.gone), page.cursor) == ((), {}, None)

    # ------------------------------------------------------------- counts

    async def test_counts_follow_every_step(self, store: Driver) -> None:
        """3.12. Exact counts for (queue, state)."""
        await store.add_many(3, queue="a")
        await store.add_many(2, queue="a.b", due=In(60.0))
        one, two, three = await store.claim(3, queues=["a"])
        await self.counted(store, {"a": {"running": 3}, "a.b": {"scheduled": 2}})
        await store.done(one)
        await store.fail(two)
        await store.again(three, delay=5.0)
        expected = {"succeeded": 1, "failed": 1, "scheduled": 1}
        await self.counted(store, {"a": expected, "a.b": {"scheduled": 2}})

    async def counted(self, store: Driver, expected: dict[str, dict[str, int]]) -> None:
        """Check the counts of all queues, leaving out what is zero."""
        page = await store.backend.find(Query(counts=True, limit=1))
        counts = {
            queue: {str(state): number for state, number in row.items() if number}
            for queue, row in page.counts.items()
        }
        assert {queue: row for queue, row in counts.items() if row} == expected

    @pytest.mark.parametrize("state", JobState)
    async def test_every_state_is_counted(self, store: Driver, state: JobState) -> None:
        """3.12. Each job is counted once, in its state."""
        for _ in range(2):
            await store.put(state, queue="q")
        page = await store.backend.find(Query(counts=True, limit=1))
        row = {key: number for key, number in page.counts["q"].items() if number}
        assert row == {state: 2}

    async def test_failures_by_task(self, store: Driver) -> None:
        """3.12. Exact counts for (task, failed)."""
        for task in ("t.one", "t.one", "t.two"):
            await store.fail(await store.run(task=task))
        await store.done(await store.run(task="t.three"))
        page = await store.backend.find(Query(counts=True, limit=1))
        failures = {task: number for task, number in page.failures.items() if number}
        assert failures == {"t.one": 2, "t.two": 1}

    async def test_counts_only_where_asked_for(self, store: Driver) -> None:
        """Page: counts are filled where asked for."""
        await store.add()
        page = await store.backend.find(Query())
        assert (dict(page.counts), dict(page.failures)) == ({}, {})

    async def test_counts_survive_a_lapse(self, store: Driver, clock: ManualClock) -> None:
        """3.12. Exact also after time has moved jobs on."""
        await store.add_many(3, queue="q", max_crashes=1)
        for lease in await store.claim(2):
            await store.start(lease)
        clock.advance(31)
        await self.counted(store, {"q": {"failed": 2, "queued": 1}})
