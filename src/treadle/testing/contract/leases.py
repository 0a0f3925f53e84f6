"""Leases: renewal, loss, cancel answers, notes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from treadle.ports import Feature, Held
from treadle.records import Cause, In, JobState, Note, Renewal, Settled, Token
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Done, Released

__all__ = ["LeasesContract"]


class LeasesContract(Contract):
    """A lease is held until it is given back, renewed, or lapses."""

    async def test_a_lease_lasts_as_long_as_it_says(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Claim 6: ``lease_until`` = now + lease, and not a moment less."""
        lease = await store.run()
        clock.advance(29)
        assert await store.state(lease.spec.id) is JobState.RUNNING
        assert await store.claimed(who="two") == []
        clock.advance(2)
        assert await store.state(lease.spec.id) is JobState.QUEUED

    async def test_extend_renews(self, store: Driver, clock: ManualClock) -> None:
        """3.4. ``held``: the lease is as long as asked for from now."""
        lease = await store.run()
        clock.advance(20)
        assert await store.extend(lease, lease=40.0) == [Renewal.HELD]
        assert (await store.record(lease.spec.id)).lease_until == clock.now() + 40
        clock.advance(39)
        assert await store.state(lease.spec.id) is JobState.RUNNING
        clock.advance(2)
        assert await store.state(lease.spec.id) is JobState.QUEUED

    async def test_only_what_is_listed_is_renewed(self, store: Driver, clock: ManualClock) -> None:
        """3.4. Leases stand on their own."""
        renewed, forgotten = await store.run(), await store.run()
        clock.advance(20)
        await store.extend(renewed)
        clock.advance(15)
        assert await store.state(renewed.spec.id) is JobState.RUNNING
        assert await store.state(forgotten.spec.id) is JobState.QUEUED

    async def test_renewals_are_answered_in_order(self, store: Driver) -> None:
        """Extend: "answers in order"; each token is judged alone."""
        settled, held = await store.run(), await store.run()
        await store.done(settled)
        answers = await store.extend(settled, held, settled)
        assert answers == [Renewal.LOST, Renewal.HELD, Renewal.LOST]

    @pytest.mark.parametrize("wrong", ["fence", "nonce", "job"])
    async def test_a_stale_token_is_told_so(self, store: Driver, wrong: str) -> None:
        """Fencing: ``lost`` for any token that is not the present one, and nothing changes."""
        lease = await store.run()
        token = lease.token
        match wrong:
            case "fence":
                token = replace(token, fence=token.fence - 1)
            case "nonce":
                token = replace(token, nonce=token.nonce ^ 1)
            case _:
                token = replace(token, job_id=store.ids.new())
        before = await store.record(lease.spec.id)
        held = Held(token=token, started=True, note=Note(message="forged"))
        assert await store.backend.extend(await store.session(), [held], 99.0) == [Renewal.LOST]
        assert await store.record(lease.spec.id) == before

    async def test_a_lease_that_moved_on_is_lost(self, store: Driver) -> None:
        """3.4. ``lost`` after the lease lapsed, also when another session has the job now."""
        lease = await store.run()
        await store.lapse()
        assert await store.extend(lease) == [Renewal.LOST]
        other = await store.take(who="two")
        assert await store.extend(lease) == [Renewal.LOST]
        assert await store.extend(other, who="two") == [Renewal.HELD]

    async def test_a_cancel_reaches_the_holder(self, store: Driver) -> None:
        """3.4, 3.8. ``cancel`` for a held job that was asked to stop; it stays held."""
        lease = await store.run()
        await store.cancel(lease.spec.id)
        assert await store.extend(lease) == [Renewal.CANCEL]
        assert await store.extend(lease) == [Renewal.CANCEL]
        assert await store.state(lease.spec.id) is JobState.RUNNING

    async def test_a_lapse_before_the_start_blames_nobody(self, store: Driver) -> None:
        """Lapse: not started → ``queued`` as a suspect, unblamed."""
        lease = await store.run(max_crashes=1)
        await store.lapse()
        record = await store.record(lease.spec.id)
        assert (record.state, record.suspect) == (JobState.QUEUED, True)
        assert (record.crashes, record.tries, record.attempts) == (0, 0, ())
        assert record.lease_until is None

    async def test_a_lapse_after_the_start_is_a_crash(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Lapse: started → ``crashes += 1``, an ``Attempt`` with cause ``crashed``."""
        lease = await store.run(who="one")
        await store.crash(lease)
        record = await store.record(lease.spec.id)
        assert (record.state, record.suspect) == (JobState.QUEUED, True)
        assert (record.crashes, record.tries) == (1, 0)
        [attempt] = record.attempts
        assert (attempt.number, attempt.cause, attempt.holder) == (1, Cause.CRASHED, "one")
        assert attempt.started == lease.started
        assert attempt.ended == clock.now()

    async def test_started_is_sticky(self, store: Driver) -> None:
        """Leases: ``started`` is sticky for the lease."""
        lease = await store.run()
        await store.start(lease)
        await store.extend(lease, started=False)
        await store.lapse()
        assert (await store.record(lease.spec.id)).crashes == 1

    async def test_a_start_is_a_change(self, store: Driver) -> None:
        """JobRecord: the version goes up with every change, here of what expires no more."""
        lease = await store.run(expires=In(60.0))
        before = await store.record(lease.spec.id)
        await store.start(lease)
        record = await store.record(lease.spec.id)
        assert record.expires is None
        assert record.version > before.version

    async def test_started_belongs_to_the_lease(self, store: Driver) -> None:
        """Leases: the next lease begins as not started."""
        lease = await store.run()
        await store.start(lease)
        await store.release(lease)
        await store.take()
        await store.lapse()
        assert (await store.record(lease.spec.id)).crashes == 0

    async def test_the_last_allowed_crash_fails_the_job(self, store: Driver) -> None:
        """Lapse: at ``max_crashes`` → ``failed``, cause ``crashed``."""
        await store.add(max_crashes=2)
        for number in (1, 2):
            lease = await store.take()
            assert lease.attempt == number
            await store.crash(lease)
        record = await store.record(lease.spec.id)
        assert (record.state, record.cause) == (JobState.FAILED, Cause.CRASHED)
        assert (record.crashes, record.suspect) == (2, False)
        assert [attempt.cause for attempt in record.attempts] == [Cause.CRASHED] * 2
        assert await store.claimed() == []

    @pytest.mark.parametrize("started", [True, False])
    async def test_at_most_once_ends_with_its_lease(self, store: Driver, started: bool) -> None:
        """3.7. A lease that lapses ends the job ``failed(crashed)``; it never goes back."""
        lease = await store.run(at_most_once=True)
        if started:
            await store.start(lease)
        await store.lapse()
        record = await store.record(lease.spec.id)
        assert (record.state, record.cause) == (JobState.FAILED, Cause.CRASHED)
        assert await store.claimed() == []

    async def test_at_most_once_does_not_go_back_with_its_session(self, store: Driver) -> None:
        """Lapse: ``close_session`` too: ``at_most_once`` → ``failed``, cause ``crashed``."""
        lease = await store.run(at_most_once=True)
        await store.start(lease)
        await store.backend.close_session(await store.session())
        record = await store.record(lease.spec.id)
        assert (record.state, record.cause) == (JobState.FAILED, Cause.CRASHED)

    async def test_at_most_once_comes_before_a_cancel(self, store: Driver) -> None:
        """Lapse: in order: at most once, then cancel, then started."""
        lease = await store.run(at_most_once=True)
        await store.cancel(lease.spec.id)
        await store.lapse()
        assert await store.state(lease.spec.id) is JobState.FAILED

    async def test_at_most_once_may_be_released_before_its_start(self, store: Driver) -> None:
        """3.7. Except when it had not started and is released on stop."""
        lease = await store.run(at_most_once=True)
        assert await store.settle(lease, Released()) is Settled.OK
        assert await store.claimed() == [lease.spec.id]

    @pytest.mark.parametrize("started", [True, False])
    async def test_a_lapse_of_a_job_asked_to_stop_cancels_it(
        self, store: Driver, started: bool
    ) -> None:
        """3.8. A lease that lapses with the flag set ends ``cancelled``."""
        lease = await store.run()
        if started:
            await store.start(lease)
        await store.cancel(lease.spec.id)
        await store.lapse()
        assert await store.state(lease.spec.id) is JobState.CANCELLED

    @pytest.mark.parametrize(("started", "crashes"), [(True, 1), (False, 0)])
    async def test_giving_up_is_a_lapse_at_once(
        self, store: Driver, started: bool, crashes: int
    ) -> None:
        """Extend with lease 0: started ones as crashed, others as suspects."""
        lease, kept = await store.run(), await store.run()
        if started:
            await store.start(lease)
        await store.extend(lease, lease=0.0)
        record = await store.record(lease.spec.id)
        assert (record.state, record.suspect) == (JobState.QUEUED, True)
        assert record.crashes == crashes
        assert await store.state(kept.spec.id) is JobState.RUNNING
        assert await store.settle(lease, Done()) is Settled.LOST

    async def test_giving_up_can_report_the_start(self, store: Driver) -> None:
        """3.5. A known death is reported with what had started."""
        lease = await store.run()
        await store.extend(lease, started=True, lease=0.0)
        assert (await store.record(lease.spec.id)).crashes == 1

    async def test_the_last_note_is_stored(self, store: Driver) -> None:
        """3.4, Leases: a note replaces the note before; none leaves it."""
        lease = await store.run()
        await store.extend(lease, note=Note(current=1.0, total=9.0, meta={"a": 1}))
        last = Note(current=2.0, message="two", checkpoint=b"\x00two")
        await store.extend(lease, note=last)
        await store.extend(lease)
        assert (await store.record(lease.spec.id)).note == last

    @pytest.mark.parametrize("end", ["crash", "again", "release"])
    async def test_the_next_attempt_gets_the_last_note(self, store: Driver, end: str) -> None:
        """Lease: the last note of the attempt before, with its checkpoint."""
        lease = await store.run()
        note = Note(checkpoint=b"half way")
        await store.extend(lease, note=note)
        match end:
            case "crash":
                await store.crash(lease)
            case "again":
                await store.again(lease)
            case _:
                await store.release(lease)
        assert (await store.take(who="two")).note == note

    @needs(Feature.ORDER)
    async def test_a_lapse_keeps_the_place(self, store: Driver) -> None:
        """Order: ``seq`` is kept, so a job that comes back is before those that came later."""
        lease = await store.run()
        later = await store.add()
        await store.lapse()
        assert await store.claimed() == [lease.spec.id]
        assert await store.claimed(holding=1) == [later]

    async def test_extend_of_nothing(self, store: Driver) -> None:
        """3.4. An empty list is the heartbeat of presence."""
        assert await store.extend() == []

    async def test_tokens_of_unknown_jobs(self, store: Driver) -> None:
        """Extend: a job that the store does not know is lost."""
        session = await store.session()
        held = Held(token=Token(store.ids.new(), 1, session.nonce))
        assert await store.backend.extend(session, [held], 30.0) == [Renewal.LOST]
