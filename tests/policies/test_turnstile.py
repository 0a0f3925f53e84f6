"""The turnstile: limits granted together or not at all, first come first served."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from treadle.policies.turnstile import KeyState, Turnstile
from treadle.ports import Granted, Permit, Ticket, Wait
from treadle.records import Algorithm, Ask, Hold, Spend


def hold(key: str, slots: int = 2, units: int = 1) -> Hold:
    return Hold(key=key, slots=slots, units=units)


def rate(key: str, count: float = 2, per: float = 10, cost: float = 1) -> Spend:
    return Spend(key=key, count=count, per=per, cost=cost)


class Entrance:
    """A turnstile with a hand-driven time."""

    def __init__(self) -> None:
        self.turnstile = Turnstile()
        self.now = 0.0

    def ask(self, *asks: Ask, ticket: Ticket | None = None) -> Granted | Wait:
        return self.turnstile.acquire(asks, self.now, ticket)

    def take(self, *asks: Ask, ticket: Ticket | None = None) -> Permit:
        answer = self.ask(*asks, ticket=ticket)
        assert isinstance(answer, Granted)
        return answer.permit

    def wait(self, *asks: Ask, ticket: Ticket | None = None) -> Wait:
        answer = self.ask(*asks, ticket=ticket)
        assert isinstance(answer, Wait)
        return answer

    def leave(self, permit: Permit, *, unused: bool = False) -> None:
        self.turnstile.release(permit, self.now, unused=unused)

    def turns(self) -> list[str]:
        return list(self.turnstile.turns())

    def look(self, ask: Ask) -> KeyState:
        return self.turnstile.look([ask], self.now)[ask.key]


def test_slots_are_held_and_freed() -> None:
    door = Entrance()
    first, _ = door.take(hold("a")), door.take(hold("a"))
    waits = door.wait(hold("a"))
    assert waits.delay == math.inf
    assert door.look(hold("a")) == KeyState(used=2, waiting=1)
    door.leave(first)
    assert door.turns() == [waits.ticket.id]
    door.take(hold("a"), ticket=waits.ticket)
    assert door.look(hold("a")) == KeyState(used=2, waiting=0)


def test_a_release_counts_once() -> None:
    door = Entrance()
    first = door.take(hold("a"))
    door.take(hold("a"))
    door.leave(first)
    door.leave(first)
    assert door.look(hold("a")).used == 1


def test_the_delay_of_a_rate_is_exact() -> None:
    door = Entrance()
    door.take(rate("r", cost=2))
    waits = door.wait(rate("r"))
    assert waits.delay == pytest.approx(5)
    door.now = 4.999
    assert door.wait(rate("r"), ticket=waits.ticket).delay == pytest.approx(0.001)
    door.now = 5.0
    door.take(rate("r"), ticket=waits.ticket)


def test_nothing_is_spent_while_a_slot_is_missing() -> None:
    door = Entrance()
    held = door.take(hold("a", slots=1))
    waits = door.wait(rate("r"), hold("a", slots=1))
    assert door.look(rate("r")).used == 0
    door.leave(held)
    door.take(rate("r"), hold("a", slots=1), ticket=waits.ticket)
    assert door.look(rate("r")).used == 1


def test_no_slot_is_held_while_a_rate_is_short() -> None:
    door = Entrance()
    door.take(rate("r", cost=2))
    door.wait(rate("r"), hold("a"))
    assert door.look(hold("a")).used == 0


def test_what_is_large_is_not_starved_by_what_is_small() -> None:
    door = Entrance()
    small = [door.take(hold("a", slots=4)) for _ in range(4)]
    large = door.wait(hold("a", slots=4, units=4))
    for permit in small:
        door.leave(permit)
        # There is room for one more small one each time, but the large one was there before.
        door.wait(hold("a", slots=4))
        if permit is not small[-1]:
            door.wait(hold("a", slots=4, units=4), ticket=large.ticket)
    door.take(hold("a", slots=4, units=4), ticket=large.ticket)


def test_who_wants_other_keys_passes() -> None:
    door = Entrance()
    door.take(hold("a", slots=1))
    door.wait(hold("a", slots=1), hold("b"))
    door.take(hold("c"))
    # It shares a key with the one that waits, and stands behind it.
    door.wait(hold("b"))


def test_the_next_is_told_when_the_first_is_served_or_goes() -> None:
    door = Entrance()
    held = door.take(hold("a", units=2))
    first, second, third = (door.wait(hold("a")) for _ in range(3))
    door.leave(held)
    assert door.turns() == [first.ticket.id]
    door.take(hold("a"), ticket=first.ticket)
    assert door.turns() == [second.ticket.id]
    door.turnstile.withdraw(second.ticket)
    assert door.turns() == [third.ticket.id]
    door.turnstile.withdraw(second.ticket)
    assert door.turns() == []


def test_what_was_not_used_is_given_back_and_wakes_the_next() -> None:
    door = Entrance()
    permit = door.take(rate("r", cost=2), hold("a"))
    waits = door.wait(rate("r"))
    door.turnstile.adjust(permit, {"r": 0.5, "other": 3}, door.now)
    assert door.turns() == [waits.ticket.id]
    door.take(rate("r"), ticket=waits.ticket)
    assert door.look(rate("r")).used == 1.5


def test_more_than_was_asked_for_becomes_debt() -> None:
    door = Entrance()
    permit = door.take(rate("r", cost=1))
    door.turnstile.adjust(permit, {"r": 4}, door.now)
    assert door.wait(rate("r")).delay == pytest.approx(15)


def test_a_release_of_what_did_not_run_gives_back_what_was_spent() -> None:
    door = Entrance()
    permit = door.take(rate("r", cost=2), hold("a"))
    door.leave(permit, unused=True)
    assert door.look(rate("r")).used == 0
    assert door.look(hold("a")).used == 0


def test_a_ticket_of_nobody_is_a_new_request() -> None:
    door = Entrance()
    door.take(hold("a", slots=1))
    ahead = door.wait(hold("a", slots=1))
    again = door.wait(hold("a", slots=1), ticket=Ticket(id="99"))
    assert again.ticket != ahead.ticket


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_what_counts_of_a_rate_is_what_cannot_be_spent(algorithm: Algorithm) -> None:
    door = Entrance()
    ask = Spend(key="r", count=4, per=8, cost=3, algorithm=algorithm)
    door.take(ask)
    assert door.look(ask).used == 3
    door.now = 16.0
    assert door.look(ask).used == 0


SLOTS, COUNT, PER = 3, 4, 8.0
KEYS = ("a", "b")


class Histories(RuleBasedStateMachine):
    """Against a plain model: nothing is granted beyond its limits, and the oldest never waits
    for what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.door = Entrance()
        self.held: dict[str, tuple[Permit, tuple[Ask, ...]]] = {}
        # In order of arrival.
        self.waiting: list[tuple[Ticket, tuple[Ask, ...]]] = []
        self.spends: list[tuple[float, float]] = []

    wants = st.tuples(
        st.dictionaries(st.sampled_from(KEYS), st.integers(1, SLOTS), max_size=2),
        st.integers(0, COUNT),
    ).filter(lambda want: bool(want[0] or want[1]))

    @rule(want=wants)
    def come(self, want: Any) -> None:
        units, cost = want
        asks: tuple[Ask, ...] = tuple(hold(key, SLOTS, n) for key, n in units.items())
        if cost:
            asks = (*asks, rate("r", COUNT, PER, cost))
        self._heard(self.door.ask(*asks), asks, None)

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 9))
    def ask_again(self, pick: int) -> None:
        ticket, asks = self.waiting[pick % len(self.waiting)]
        self._heard(self.door.ask(*asks, ticket=ticket), asks, ticket)

    def _heard(self, answer: Granted | Wait, asks: tuple[Ask, ...], ticket: Ticket | None) -> None:
        keys = {ask.key for ask in asks}
        before = self.waiting
        if ticket is not None:
            before = before[: [one for one, _ in before].index(ticket)]
        behind = any(keys & {ask.key for ask in others} for _, others in before)
        if isinstance(answer, Granted):
            assert not behind, "overtook somebody"
            self.waiting = [one for one in self.waiting if one[0] != ticket]
            self.held[answer.permit.id] = answer.permit, asks
            self.spends += [(self.door.now, ask.cost) for ask in asks if isinstance(ask, Spend)]
            return
        if ticket is None:
            self.waiting.append((answer.ticket, asks))
        if not behind:
            short = any(
                isinstance(ask, Hold) and self._used(ask.key) + ask.units > SLOTS for ask in asks
            )
            assert short == math.isinf(answer.delay)
            assert answer.delay > 0

    def _used(self, key: str) -> int:
        return sum(
            ask.units
            for _, asks in self.held.values()
            for ask in asks
            if isinstance(ask, Hold) and ask.key == key
        )

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 9))
    def leave(self, pick: int) -> None:
        permit, _ = self.held.pop(list(self.held)[pick % len(self.held)])
        self.door.leave(permit)

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 9))
    def go_away(self, pick: int) -> None:
        ticket, _ = self.waiting.pop(pick % len(self.waiting))
        self.door.turnstile.withdraw(ticket)

    @rule(seconds=st.floats(0, 20))
    def time_goes_by(self, seconds: float) -> None:
        self.door.now += seconds

    @invariant()
    def never_more_than_there_is(self) -> None:
        for key in KEYS:
            assert self._used(key) <= SLOTS
            assert self.door.look(hold(key, SLOTS)).used == self._used(key)
        recent = [cost for at, cost in self.spends if at > self.door.now - PER]
        # A bucket that was full, and what flowed in since.
        assert sum(recent) <= 2 * COUNT + 1e-6

    def teardown(self) -> None:
        for permit, _ in self.held.values():
            self.door.leave(permit)
        self.door.now += 1000
        for ticket, asks in self.waiting:
            self.door.leave(self.door.take(*asks, ticket=ticket))
            self.door.now += 1000
        assert self.door.turnstile.count.waiting == []
        assert self.door.turnstile.count.held == []


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
