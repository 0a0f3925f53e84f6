"""Settle: what each verdict does, once, for the holder of the lease only."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from treadle.faults import Fault
from treadle.ports import Feature, Query, Settlement
from treadle.records import Cause, JobState, Keep, Note, Settled, Token
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Again, Cancelled, Done, Failed, Released, Verdict

__all__ = ["SettleContract"]

FAULT = Fault(
    type="builtins.ValueError",
    message="no",
    traceback="Traceback …",
    causes=(Fault(type="builtins.KeyError", message="'x'"),),
    notes=("a note",),
)
ENDS: list[tuple[Verdict, JobState]] = [
    (Done(result=b"r"), JobState.SUCCEEDED),
    (Failed(fault=FAULT), JobState.FAILED),
    (Cancelled(fault=FAULT), JobState.CANCELLED),
]
VERDICTS: list[Verdict] = [Done(), Again(), Failed(), Released(), Cancelled()]


class SettleContract(Contract):
    """An attempt ends in one atomic step."""

    async def test_done(self, store: Driver, clock: ManualClock) -> None:
        """States: ``Done`` → ``succeeded``, with the result."""
        lease = await store.run()
        clock.advance(3)
        assert await store.settle(lease, Done(result=b"\x00result")) is Settled.OK
        record = await store.record(lease.spec.id)
        assert (record.state, record.result) == (JobState.SUCCEEDED, b"\x00result")
        assert (record.finished, record.started) == (clock.now(), clock.now() - 3)
        assert (record.tries, record.cause, record.skipped) == (0, None, None)
        assert record.lease_until is None

    async def test_skipped(self, store: Driver) -> None:
        """``Skip`` → ``Done(skipped)``: succeeded without a result, with the reason."""
        lease = await store.run()
        await store.settle(lease, Done(skipped="nothing new"))
        record = await store.record(lease.spec.id)
        assert (record.state, record.result) == (JobState.SUCCEEDED, None)
        assert record.skipped == "nothing new"

    async def test_again_after_a_crash(self, store: Driver) -> None:
        """Settle: ``Again`` with the cause ``crashed``: ``crashes += 1`` and not ``tries``."""
        lease = await store.run()
        await store.again(lease, cause=Cause.CRASHED, fault=FAULT)
        record = await store.record(lease.spec.id)
        assert (record.state, record.tries, record.crashes) == (JobState.QUEUED, 0, 1)
        assert record.attempts[-1].cause is Cause.CRASHED
        # It is no suspect: who runs it next need not run it alone.
        again = await store.take()
        assert (again.crashes, again.suspect, again.attempt) == (1, False, 2)

    async def test_again_with_a_delay(self, store: Driver, clock: ManualClock) -> None:
        """Settle: ``Again``: ``tries += 1``, an attempt is recorded, due = now + delay."""
        lease = await store.run(who="w")
        clock.advance(2)
        await store.again(lease, delay=10.0, cause=Cause.TIMEOUT, fault=FAULT)
        record = await store.record(lease.spec.id)
        assert (record.state, record.tries) == (JobState.SCHEDULED, 1)
        assert record.due == clock.now() + 10
        [attempt] = record.attempts
        assert (attempt.number, attempt.cause, attempt.fault) == (1, Cause.TIMEOUT, FAULT)
        assert (attempt.started, attempt.ended) == (clock.now() - 2, clock.now())
        assert attempt.holder == "w"
        assert await store.claimed() == []
        clock.advance(10)
        lease = await store.take()
        assert (lease.tries, lease.attempt) == (1, 2)

    async def test_again_at_once(self, store: Driver) -> None:
        """States: ``Again`` with delay 0 → ``queued``."""
        lease = await store.run()
        await store.again(lease)
        assert await store.state(lease.spec.id) is JobState.QUEUED

    async def test_again_uncounted(self, store: Driver) -> None:
        """Settle: ``tries`` goes up only if it counts; the attempt is recorded all the same."""
        lease = await store.run()
        await store.again(lease, counts=False)
        record = await store.record(lease.spec.id)
        assert (record.tries, len(record.attempts)) == (0, 1)

    async def test_failed(self, store: Driver, clock: ManualClock) -> None:
        """States: ``Failed`` → ``failed``, with cause and fault."""
        lease = await store.run()
        clock.advance(1)
        await store.fail(lease, fault=FAULT)
        record = await store.record(lease.spec.id)
        assert (record.state, record.cause) == (JobState.FAILED, Cause.ERROR)
        assert (record.fault, record.finished, record.tries) == (FAULT, clock.now(), 1)
        [attempt] = record.attempts
        assert (attempt.number, attempt.cause, attempt.fault) == (1, Cause.ERROR, FAULT)

    @pytest.mark.parametrize("cause", Cause)
    async def test_which_failures_count_as_tries(self, store: Driver, cause: Cause) -> None:
        """Settle: ``tries += 1`` for the causes ``error``, ``timeout``, ``result``."""
        lease = await store.run()
        await store.fail(lease, cause=cause)
        record = await store.record(lease.spec.id)
        counted = cause in {Cause.ERROR, Cause.TIMEOUT, Cause.RESULT}
        assert (record.cause, record.tries) == (cause, int(counted))

    async def test_cancelled(self, store: Driver, clock: ManualClock) -> None:
        """States: ``Cancelled`` → ``cancelled``."""
        lease = await store.run()
        assert await store.settle(lease, Cancelled(fault=FAULT)) is Settled.OK
        record = await store.record(lease.spec.id)
        assert (record.state, record.finished) == (JobState.CANCELLED, clock.now())
        assert (record.fault, record.tries) == (FAULT, 0)

    @needs(Feature.ORDER)
    async def test_released(self, store: Driver) -> None:
        """States: ``Released`` → ``queued``, in its old place, no counter changed."""
        lease = await store.run()
        later = await store.add()
        await store.release(lease)
        record = await store.record(lease.spec.id)
        assert (record.state, record.tries, record.crashes) == (JobState.QUEUED, 0, 0)
        assert record.attempts == ()
        assert await store.claimed(2) == [lease.spec.id, later]

    async def test_released_with_a_delay(self, store: Driver, clock: ManualClock) -> None:
        """States: ``Released`` → ``scheduled`` with its delay."""
        lease = await store.run()
        await store.release(lease, delay=5.0)
        record = await store.record(lease.spec.id)
        assert (record.state, record.due) == (JobState.SCHEDULED, clock.now() + 5)
        clock.advance(5)
        assert await store.claimed() == [lease.spec.id]

    async def test_set_aside(self, store: Driver, clock: ManualClock) -> None:
        """3.9. With a reason: ``releases += 1``, since when, and the reason is shown."""
        lease = await store.run()
        first = clock.now()
        await store.release(lease, delay=10.0, reason="unknown task")
        assert (await store.record(lease.spec.id)).reason == "unknown task"
        clock.advance(10)
        lease = await store.take()
        assert (lease.releases, lease.aside_since) == (1, first)
        await store.release(lease, delay=5.0, reason="unknown task")
        clock.advance(5)
        lease = await store.take()
        assert (lease.releases, lease.aside_since) == (2, first)

    async def test_a_release_without_reason_is_not_counted(self, store: Driver) -> None:
        """Settle: an orderly stop gives none, and ``releases`` stays."""
        lease = await store.run()
        await store.release(lease)
        lease = await store.take()
        assert (lease.releases, lease.aside_since) == (0, None)

    async def test_any_other_verdict_takes_it_back_in(self, store: Driver) -> None:
        """Settle: any other verdict resets ``releases`` and ``aside_since``."""
        lease = await store.run()
        await store.release(lease, reason="later")
        await store.again(await store.take())
        lease = await store.take()
        assert (lease.releases, lease.aside_since) == (0, None)

    async def test_the_last_twenty_attempts_are_kept(self, store: Driver) -> None:
        """Settle: an ``Attempt`` is recorded (last 20), oldest first."""
        lease = await store.run()
        for number in range(25):
            await store.again(lease, fault=Fault(type="E", message=str(number)))
            lease = await store.take()
        record = await store.record(lease.spec.id)
        assert record.tries == 25
        messages = [attempt.fault.message for attempt in record.attempts if attempt.fault]
        assert messages == [str(number) for number in range(5, 25)]
        assert [attempt.number for attempt in record.attempts] == list(range(6, 26))

    async def test_the_last_word_is_stored(self, store: Driver) -> None:
        """Settlement: the last word of the attempt, progress and checkpoint."""
        lease = await store.run()
        await store.extend(lease, note=Note(current=1.0))
        note = Note(current=5.0, total=5.0, checkpoint=b"end")
        await store.settle(lease, Done(), note=note)
        assert (await store.record(lease.spec.id)).note == note

    @pytest.mark.parametrize("verdict", VERDICTS, ids=lambda verdict: type(verdict).__name__)
    async def test_a_repeat_is_answered_already(self, store: Driver, verdict: Verdict) -> None:
        """3.6. Settle by token is idempotent: ``already``, and nothing changes."""
        lease = await store.run()
        assert await store.settle(lease, verdict) is Settled.OK
        before = await store.record(lease.spec.id)
        assert await store.settle(lease, verdict) is Settled.ALREADY
        assert await store.settle(lease, Failed()) is Settled.ALREADY
        assert await store.record(lease.spec.id) == before

    async def test_a_repeat_after_the_next_claim(self, store: Driver) -> None:
        """Settle: the job's last settled token equals it → ``already``, also while it runs."""
        first = await store.run()
        await store.again(first)
        second = await store.take()
        assert await store.settle(first, Again()) is Settled.ALREADY
        await store.done(second)
        assert await store.settle(second, Done()) is Settled.ALREADY
        assert await store.settle(first, Again()) is Settled.LOST

    @pytest.mark.parametrize("verdict", VERDICTS, ids=lambda verdict: type(verdict).__name__)
    async def test_a_lost_lease_changes_nothing(self, store: Driver, verdict: Verdict) -> None:
        """Fencing: who lost the lease is told so, and the new holder is not disturbed."""
        lost = await store.run()
        await store.lapse()
        assert await store.settle(lost, verdict) is Settled.LOST
        present = await store.take(who="two")
        before = await store.record(lost.spec.id)
        assert await store.settle(lost, verdict) is Settled.LOST
        assert await store.record(lost.spec.id) == before
        await store.done(present)

    @pytest.mark.parametrize("wrong", ["fence", "nonce"])
    async def test_a_forged_token_is_lost(self, store: Driver, wrong: str) -> None:
        """1. A token is (job id, fence, nonce); each part counts."""
        lease = await store.run()
        token = lease.token
        if wrong == "fence":
            token = replace(token, fence=token.fence + 1)
        else:
            token = replace(token, nonce=token.nonce ^ 1)
        assert await store.settle(token, Done()) is Settled.LOST
        assert await store.state(lease.spec.id) is JobState.RUNNING

    async def test_a_job_never_claimed_is_lost(self, store: Driver) -> None:
        """Settle: known otherwise → ``lost``; a made-up token ends nothing."""
        job_id = await store.add()
        session = await store.session()
        assert await store.settle(Token(job_id, 0, session.nonce), Done()) is Settled.LOST
        assert await store.settle(Token(job_id, 1, session.nonce), Done()) is Settled.LOST
        assert await store.state(job_id) is JobState.QUEUED

    async def test_an_unknown_job(self, store: Driver) -> None:
        """Settle: no job and no tombstone → ``unknown``."""
        session = await store.session()
        token = Token(store.ids.new(), 1, session.nonce)
        assert await store.settle(token, Done()) is Settled.UNKNOWN

    async def test_a_repeat_after_the_job_is_gone(self, store: Driver) -> None:
        """Settle: the tombstone's token equals it → ``already``, else ``unknown``."""
        lease = await store.run(keep=Keep(succeeded=0.0))
        await store.done(lease)
        gone = await store.gone(lease.spec.id)
        assert gone is not None
        assert gone.token == lease.token
        assert await store.settle(lease, Done()) is Settled.ALREADY
        other = replace(lease.token, fence=7)
        assert await store.settle(other, Done()) is Settled.UNKNOWN

    async def test_a_finished_job_never_runs_again(self, store: Driver) -> None:
        """Fencing: a finished job never runs again, and no verdict changes it."""
        for verdict, state in ENDS:
            lease = await store.run()
            await store.settle(lease, verdict)
            assert await store.settle(lease, Again()) is Settled.ALREADY
            assert await store.state(lease.spec.id) is state
        assert await store.claimed(10) == []

    async def test_settlements_are_answered_in_order(self, store: Driver) -> None:
        """Settle: "answers in order", each judged alone, also twice the same."""
        one, two = await store.run(), await store.run()
        ghost = Token(store.ids.new(), 1, one.token.nonce)
        tokens = [two.token, ghost, one.token, one.token]
        ends = [Settlement(token=token, verdict=Done()) for token in tokens]
        answers = list(await store.backend.settle(ends))
        assert answers == [Settled.OK, Settled.UNKNOWN, Settled.OK, Settled.ALREADY]

    async def test_settling_nothing(self, store: Driver) -> None:
        """An empty settle is answered with nothing."""
        assert list(await store.backend.settle([])) == []

    async def test_many_at_once(self, store: Driver) -> None:
        """3.6. What ended together is settled together."""
        ids = await store.add_many(500)
        leases = await store.claim(500)
        ends = [Settlement(token=lease.token, verdict=Done(result=b"x")) for lease in leases]
        assert list(await store.backend.settle(ends)) == [Settled.OK] * 500
        counts = (await store.backend.find(Query(counts=True, limit=1))).counts["default"]
        assert counts.get(JobState.SUCCEEDED) == len(ids)
