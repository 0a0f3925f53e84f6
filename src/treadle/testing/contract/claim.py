"""Claim: who gets what, once, and what the answer says."""

from __future__ import annotations

import pytest

from treadle.errors import LeaseLost
from treadle.ports import ADVANCE, Claim, Feature
from treadle.records import Cause, In, JobState, Session, SessionInfo, Settled, Token
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Done

__all__ = ["ClaimContract"]

QUEUES = ("mail", "mail.a", "mail.a.b", "mail.b", "mailbox", "sms")
COVERED: list[tuple[tuple[str, ...], tuple[str, ...], set[str]]] = [
    (("*",), (), set(QUEUES)),
    (("mail",), (), {"mail", "mail.a", "mail.a.b", "mail.b"}),
    (("mail.a",), (), {"mail.a", "mail.a.b"}),
    (("mailbox", "sms"), (), {"mailbox", "sms"}),
    (("*",), ("mail",), {"mailbox", "sms"}),
    (("*", "mail.a"), ("mail",), {"mail.a", "mail.a.b", "mailbox", "sms"}),
    (("mail",), ("mail.a",), {"mail", "mail.b"}),
    (("mail", "mail.a.b"), ("mail.a",), {"mail", "mail.b", "mail.a.b"}),
    (("mail",), ("mail",), set()),
    (("mail.a",), ("mail", "mail.a.b"), {"mail.a"}),
    (("nothing",), (), set()),
    (("*",), ("*",), set()),
    (("sms",), ("*",), {"sms"}),
]


class ClaimContract(Contract):
    """Leases are granted to one session each."""

    async def test_an_empty_store_answers_at_once(self, store: Driver) -> None:
        """3.2. Claim never waits."""
        answer = await store.ask(10)
        assert (answer.leases, answer.more, answer.suspects_wait) == ((), False, False)
        assert answer.next_due is None

    async def test_a_grant(self, store: Driver, clock: ManualClock) -> None:
        """Claim 6. Running, ``fence += 1``, the session's nonce, started now, a lease."""
        job = store.job()
        await store.push(job)
        clock.advance(4)
        lease = await store.take(who="w", lease=45.0)
        session = await store.session("w")
        assert lease.token == Token(job.id, 1, session.nonce)
        assert (lease.spec, lease.tries, lease.crashes, lease.attempt) == (job, 0, 0, 1)
        assert (lease.started, lease.created) == (clock.now(), clock.now() - 4)
        assert (lease.suspect, lease.releases, lease.note) == (False, 0, None)
        record = await store.record(job.id)
        assert (record.state, record.fence, record.holder) == (JobState.RUNNING, 1, "w")
        assert (record.started, record.lease_until) == (clock.now(), clock.now() + 45)

    async def test_a_job_is_granted_once(self, store: Driver) -> None:
        """Two sessions never hold the same job."""
        ids = await store.add_many(10)
        one = await store.claimed(6, who="one")
        two = await store.claimed(6, who="two")
        assert sorted(one + two) == sorted(ids)
        assert (len(one), len(two)) == (6, 4)

    async def test_the_fence_goes_up_with_every_grant(self, store: Driver) -> None:
        """1. ``fence`` +1 at each claim, never reset, not by a release nor by a retry."""
        lease = await store.run()
        fences = [lease.token.fence]
        await store.release(lease)
        fences.append((lease := await store.take(who="two")).token.fence)
        await store.again(lease)
        fences.append((await store.take()).token.fence)
        assert fences == [1, 2, 3]

    async def test_more_says_that_jobs_were_left(self, store: Driver) -> None:
        """Claimed: ``more`` when jobs were left."""
        await store.add_many(3)
        answer = await store.ask(2)
        assert (len(answer.leases), answer.more) == (2, True)
        assert len(await store.claim(2)) == 1
        assert (await store.ask(2)).more is False

    async def test_a_request_is_answered_again(self, store: Driver) -> None:
        """3.2, Claim 1. The store keeps its last answer and repeats it."""
        await store.add_many(5)
        first = await store.ask(2, request=1)
        again = await store.ask(2, request=1)
        assert again == first
        other = await store.ask(2, request=2)
        assert {lease.spec.id for lease in other.leases}.isdisjoint(
            lease.spec.id for lease in first.leases
        )
        # Also a number below the last one gets the last answer.
        assert await store.ask(2, request=1) == other

    async def test_an_empty_answer_is_repeated_too(self, store: Driver) -> None:
        """Claim 1. "gets the last answer again, unchanged"."""
        assert await store.claimed(request=1) == []
        job_id = await store.add()
        assert await store.claimed(request=1) == []
        assert await store.claimed(request=2) == [job_id]

    async def test_a_repeated_answer_keeps_what_is_lost(self, store: Driver) -> None:
        """Claim 1. Jobs no longer held are left in; the token will be refused."""
        await store.add_many(2)
        first = await store.claim(2, request=1)
        await store.done(first[0])
        assert await store.claim(2, request=1) == first
        assert await store.settle(first[0], Done()) is Settled.ALREADY

    async def test_request_numbers_belong_to_a_session(self, store: Driver) -> None:
        """3.2. Request id = (session, n)."""
        ids = await store.add_many(2)
        granted = await store.claimed(who="one", request=1)
        granted += await store.claimed(who="two", request=1)
        assert sorted(granted) == sorted(ids)

    async def test_an_unknown_session_is_refused(self, store: Driver) -> None:
        """Claim 1. A claim for an unknown session raises ``LeaseLost``."""
        session = Session(nonce=12345, info=SessionInfo(name="ghost"))
        with pytest.raises(LeaseLost):
            await store.backend.claim(Claim(session=session, request=1, limit=1))

    @pytest.mark.parametrize(("queues", "exclude", "expected"), COVERED)
    async def test_which_queues_a_name_covers(
        self, store: Driver, queues: tuple[str, ...], exclude: tuple[str, ...], expected: set[str]
    ) -> None:
        """Names: ``mail`` covers ``mail.*``; of queues and exclude the longest name decides."""
        await store.push(*(store.job(queue=queue) for queue in QUEUES))
        granted: set[str] = set()
        for _ in range(3):
            leases = await store.claim(20, queues=queues, exclude=exclude)
            granted |= {lease.spec.queue for lease in leases}
        assert granted == expected

    @needs(Feature.DELAY)
    async def test_next_due_is_the_next_scheduled_job(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Claim 7. Seconds until the earliest scheduled job, of any queue."""
        await store.add(due=In(60.0))
        await store.add(due=In(20.0), queue="other")
        assert (await store.ask(queues=["default"])).next_due == pytest.approx(20.0)
        clock.advance(5)
        assert (await store.ask()).next_due == pytest.approx(15.0)

    async def test_next_due_is_the_next_lapse(self, store: Driver, clock: ManualClock) -> None:
        """Claim 7. Or until a running lease may lapse."""
        await store.run()
        clock.advance(12)
        assert (await store.ask(who="two")).next_due == pytest.approx(18.0)

    @needs(Feature.DELAY)
    @needs(Feature.BOUNDS)
    async def test_many_due_at_once_all_come(self, store: Driver, clock: ManualClock) -> None:
        """Claim 2. At most ``ADVANCE`` a claim; ``more`` says that it is not the end."""
        ids = await store.add_many(3 * ADVANCE, due=In(5.0))
        clock.advance(5)
        granted: list[str] = []
        for _ in range(20):
            answer = await store.ask(3 * ADVANCE)
            assert len(answer.leases) <= ADVANCE
            granted += [lease.spec.id for lease in answer.leases]
            if not answer.more:
                break
        assert sorted(granted) == sorted(ids)

    @pytest.mark.parametrize("state", [JobState.QUEUED, JobState.SCHEDULED, JobState.WAITING])
    async def test_expires(self, store: Driver, clock: ManualClock, state: JobState) -> None:
        """States: ``expires`` passes → ``failed``, cause ``expired``."""
        job_id = await store.put(state, expires=In(10.0))
        clock.advance(9)
        assert await store.state(job_id) is state
        clock.advance(2)
        record = await store.record(job_id)
        assert (record.state, record.cause) == (JobState.FAILED, Cause.EXPIRED)
        assert (record.tries, record.fence) == (0, 0)
        assert await store.claimed() == []

    async def test_expires_is_about_the_start(self, store: Driver, clock: ManualClock) -> None:
        """NewJob: it fails as ``expired`` when no attempt has started by then."""
        lease = await store.run(expires=In(10.0))
        await store.start(lease)
        clock.advance(11)
        assert await store.state(lease.spec.id) is JobState.RUNNING
        await store.again(lease, delay=20.0)
        clock.advance(21)
        assert await store.claimed() == [lease.spec.id]

    @pytest.mark.parametrize("end", ["release", "lapse"])
    async def test_expires_holds_until_the_start(
        self, store: Driver, clock: ManualClock, end: str
    ) -> None:
        """Alter: it stops to hold when an attempt has started, and no earlier."""
        lease = await store.run(expires=In(40.0))
        if end == "release":
            await store.release(lease)
        else:
            await store.lapse()
        clock.advance(41)
        record = await store.record(lease.spec.id)
        assert (record.state, record.cause) == (JobState.FAILED, Cause.EXPIRED)

    @pytest.mark.parametrize("end", ["crash", "again"])
    async def test_expires_ends_with_the_start(
        self, store: Driver, clock: ManualClock, end: str
    ) -> None:
        """Alter: reported started, lapsed as started, or ended other than ``Released``."""
        lease = await store.run(expires=In(40.0))
        if end == "again":
            await store.again(lease)
        else:
            await store.crash(lease)
        clock.advance(41)
        assert await store.state(lease.spec.id) is JobState.QUEUED

    async def test_an_expired_job_is_not_granted(self, store: Driver, clock: ManualClock) -> None:
        """Claim 2. Time moves on before anything is granted."""
        late = await store.add(expires=In(5.0))
        good = await store.add()
        clock.advance(6)
        assert await store.claimed(5) == [good]
        assert await store.state(late) is JobState.FAILED

    async def test_what_comes_back_may_have_expired(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Claim 2. A lease that lapses after the job has expired gives it to nobody."""
        lease = await store.run(expires=In(5.0))
        clock.advance(31)
        assert await store.claimed(5) == []
        assert await store.state(lease.spec.id) is JobState.FAILED

    async def test_time_moves_for_the_whole_namespace(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """3.2. Whatever queues are asked for, so that unserved queues expire and lapse too."""
        await store.run(queue="unserved")
        await store.add(queue="unserved2", expires=In(5.0))
        clock.advance(31)
        answer = await store.ask(queues=["served"], who="two")
        assert answer.leases == ()
        assert answer.next_due is None

    async def test_many_lapsed_at_once_are_all_given_back(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Claim 2. At most ``ADVANCE`` lapsed a step, the rest with the next."""
        ids = await store.add_many(3 * ADVANCE)
        assert len(await store.claim(3 * ADVANCE)) == 3 * ADVANCE
        clock.advance(31)
        granted: list[str] = []
        for _ in range(3 * ADVANCE + 10):
            leases = await store.claim(who="two")
            granted += [lease.spec.id for lease in leases]
            for lease in leases:
                await store.done(lease)
        assert sorted(granted) == sorted(ids)
