"""Permits: holds and spends that are acquired outside of claims."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from treadle.ports import Feature, Granted, Permit, Ticket, Wait
from treadle.records import Ask, Hold, Spend
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs

__all__ = ["SharedContract"]


def hold(slots: int = 1, units: int = 1, key: str = "s") -> Hold:
    """Units of a bounded number of slots."""
    return Hold(key=key, slots=slots, units=units)


def spend(count: float = 1.0, cost: float = 1.0, key: str = "r") -> Spend:
    """Units of a rate, per ten seconds."""
    return Spend(key=key, count=count, per=10.0, cost=cost)


@needs(Feature.SHARED)
class SharedContract(Contract):
    """``acquire``: all asks or none, first come first served per key."""

    async def granted(self, store: Driver, *asks: Ask, ticket: Ticket | None = None) -> Permit:
        """Acquire what must be granted now."""
        answer = await store.backend.acquire(asks, "me", ticket)
        assert isinstance(answer, Granted), answer
        return answer.permit

    async def refused(self, store: Driver, *asks: Ask, ticket: Ticket | None = None) -> Wait:
        """Acquire what cannot be granted now."""
        answer = await store.backend.acquire(asks, "me", ticket)
        assert isinstance(answer, Wait), answer
        assert answer.delay > 0
        return answer

    async def test_slots(self, store: Driver) -> None:
        """Shared: holds share the slots; a release frees them."""
        one, _ = await self.granted(store, hold(2)), await self.granted(store, hold(2))
        wait = await self.refused(store, hold(2))
        await store.backend.release(one)
        await self.granted(store, hold(2), ticket=wait.ticket)

    async def test_a_permit_says_what_it_is(self, store: Driver) -> None:
        """Permit: the asks, who, and a fence that goes up with each grant of the keys."""
        first = await self.granted(store, hold())
        assert (first.asks, first.who) == ((hold(),), "me")
        await store.backend.release(first)
        second = await self.granted(store, hold())
        assert second.fence > first.fence
        assert second.id != first.id

    async def test_releasing_twice_is_harmless(self, store: Driver) -> None:
        """Shared: harmless when it has lapsed; nobody else's hold is freed."""
        first = await self.granted(store, hold())
        await store.backend.release(first)
        await self.granted(store, hold())
        await store.backend.release(first)
        await self.refused(store, hold())

    @needs(Feature.TOGETHER)
    async def test_asks_of_a_call_are_all_or_none(self, store: Driver) -> None:
        """Shared: the asks of one call are granted all or none."""
        await self.granted(store, hold(key="full"))
        wait = await self.refused(store, hold(key="full"), hold(key="free"), spend())
        await store.backend.cancel(wait.ticket)
        await self.granted(store, hold(key="free"), spend())

    async def test_first_come_first_served(self, store: Driver) -> None:
        """Shared: who is not at the head of all its lines waits, whatever is free."""
        permit = await self.granted(store, hold(2))
        big = await self.refused(store, hold(2, units=2))
        small = await self.refused(store, hold(2))
        await store.backend.release(permit)
        small = await self.refused(store, hold(2), ticket=small.ticket)
        taken = await self.granted(store, hold(2, units=2), ticket=big.ticket)
        await store.backend.release(taken)
        await self.granted(store, hold(2), ticket=small.ticket)

    async def test_a_ticket_keeps_its_place(self, store: Driver) -> None:
        """Wait: ask again with the ticket, which keeps the place in line."""
        permit = await self.granted(store, hold())
        first, second = await self.refused(store, hold()), await self.refused(store, hold())
        again = await self.refused(store, hold(), ticket=first.ticket)
        assert again.ticket == first.ticket
        await store.backend.release(permit)
        await self.refused(store, hold(), ticket=second.ticket)
        await self.granted(store, hold(), ticket=first.ticket)

    @needs(Feature.TOGETHER)
    async def test_a_ticket_for_something_else(self, store: Driver) -> None:
        """Shared: who comes back for other keys stands in their lines by its arrival."""
        other = hold(key="other")
        await self.granted(store, hold())
        taken = await self.granted(store, other)
        first = await self.refused(store, hold())
        second = await self.refused(store, other)
        await self.refused(store, other, ticket=first.ticket)
        await store.backend.release(taken)
        await self.granted(store, other, ticket=first.ticket)
        await self.refused(store, other, ticket=second.ticket)

    async def test_a_cancelled_ticket_leaves_the_line(self, store: Driver) -> None:
        """Shared: ``cancel`` leaves the line."""
        permit = await self.granted(store, hold())
        first, second = await self.refused(store, hold()), await self.refused(store, hold())
        await store.backend.cancel(first.ticket)
        await store.backend.cancel(first.ticket)
        await store.backend.release(permit)
        await self.granted(store, hold(), ticket=second.ticket)

    async def test_an_unused_ticket_leaves_the_line(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Shared: a ticket that is not used for two delays (at least 5 s) leaves the line."""
        permit = await self.granted(store, hold())
        first = await self.refused(store, hold())
        second = await self.refused(store, hold())
        limit = max(5.0, 2 * first.delay)
        for _ in range(4):
            clock.advance(limit / 4 + 0.5)
            await store.backend.renew(permit)
            second = await self.refused(store, hold(), ticket=second.ticket)
        await store.backend.release(permit)
        await self.granted(store, hold(), ticket=second.ticket)

    async def test_lines_of_other_keys_do_not_matter(self, store: Driver) -> None:
        """Shared: each key has a line of its own."""
        await self.granted(store, hold(key="a"))
        await self.refused(store, hold(key="a"))
        await self.granted(store, hold(key="b"))

    async def test_a_hold_lapses(self, store: Driver, clock: ManualClock) -> None:
        """Shared: holds lapse ``lease`` seconds after the last ``renew``."""
        permit = await self.granted(store, hold())
        for _ in range(3):
            clock.advance(20)
            assert await store.backend.renew(permit)
        clock.advance(31)
        await self.granted(store, hold())
        assert not await store.backend.renew(permit)

    async def test_a_lapsed_permit_cannot_be_renewed(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Shared: False when it has lapsed, also when nobody wanted it meanwhile."""
        permit = await self.granted(store, hold())
        clock.advance(31)
        assert not await store.backend.renew(permit)

    async def test_a_permit_that_holds_nothing_lapses_too(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Shared: a permit lapses as a whole, also one that holds nothing."""
        permit = await self.granted(store, spend())
        assert await store.backend.renew(permit)
        clock.advance(31)
        assert not await store.backend.renew(permit)

    async def test_a_released_permit_cannot_be_renewed(self, store: Driver) -> None:
        """Shared: ``renew`` is False when it has lapsed."""
        permit = await self.granted(store, hold())
        await store.backend.release(permit)
        assert not await store.backend.renew(permit)

    async def test_a_rate(self, store: Driver, clock: ManualClock) -> None:
        """Shared: ``Wait.delay`` says when asking again makes sense."""
        for _ in range(2):
            await self.granted(store, spend(2))
        wait = await self.refused(store, spend(2))
        assert wait.delay == pytest.approx(5.0)
        clock.advance(wait.delay)
        await self.granted(store, spend(2), ticket=wait.ticket)

    async def test_a_large_request_is_not_starved(self, store: Driver, clock: ManualClock) -> None:
        """3.3. ``Wait`` carries a ticket, so a large request is not starved."""
        for _ in range(4):
            await self.granted(store, spend(4))
        large = await self.refused(store, spend(4, cost=4))
        granted = False
        for _ in range(40):
            small: Sequence[Ask] = (spend(4),)
            other = await store.backend.acquire(small, "other")
            assert isinstance(other, Wait)
            await store.backend.cancel(other.ticket)
            answer = await store.backend.acquire((spend(4, cost=4),), "me", large.ticket)
            if granted := isinstance(answer, Granted):
                break
            clock.advance(1)
        assert granted
        assert clock.monotonic() <= 11

    async def test_what_was_not_used_is_given_back(self, store: Driver) -> None:
        """Shared: ``adjust`` credits ``cost − used``."""
        permit = await self.granted(store, spend(4, cost=4))
        await store.backend.adjust(permit, {"r": 1.0})
        await self.granted(store, spend(4, cost=3))
        await self.refused(store, spend(4))

    async def test_what_was_used_beyond_becomes_debt(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Shared: more than the cost becomes debt."""
        permit = await self.granted(store, spend(4, cost=1))
        await store.backend.adjust(permit, {"r": 6.0})
        wait = await self.refused(store, spend(4))
        await store.backend.cancel(wait.ticket)
        clock.advance(7)
        wait = await self.refused(store, spend(4))
        clock.advance(0.5)
        await self.granted(store, spend(4), ticket=wait.ticket)

    async def test_a_credit_fills_the_bucket_and_no_more(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Shared: never beyond a full bucket."""
        permit = await self.granted(store, spend(2, cost=2))
        clock.advance(10)
        await store.backend.adjust(permit, {"r": 0.0})
        await self.granted(store, spend(2, cost=2))
        await self.refused(store, spend(2))
