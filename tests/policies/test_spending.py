"""The rates that have been spent of, together."""

from __future__ import annotations

from treadle.policies.rates import FRESH
from treadle.policies.spending import Rates
from treadle.records import Spend


def rate(key: str, count: float = 2, per: float = 10, cost: float = 1) -> Spend:
    return Spend(key=key, count=count, per=per, cost=cost)


def test_nothing_is_spent_unless_everything_conforms() -> None:
    rates = Rates()
    assert rates.spend([rate("a", cost=2)], 0.0, book_ahead=False) == 0.0
    assert rates.spend([rate("b"), rate("a")], 0.0, book_ahead=False) == 5.0
    assert rates.state(rate("b")) == (FRESH, rate("b"))


def test_a_place_ahead_is_booked_in_all_of_them() -> None:
    rates = Rates()
    assert rates.spend([rate("a", cost=2), rate("b")], 0.0, book_ahead=True) == 0.0
    assert rates.spend([rate("a"), rate("b")], 0.0, book_ahead=True) == 5.0
    assert rates.spend([rate("a")], 0.0, book_ahead=False) == 10.0
    assert rates.spend([rate("b")], 0.0, book_ahead=False) == 5.0


def test_a_key_that_was_forgotten_is_only_settled_when_it_owes() -> None:
    rates = Rates()
    rates.adjust(rate("a", cost=2), 1.0, 0.0)
    assert rates.states() == {}
    rates.adjust(rate("a", cost=1), 3.0, 0.0)
    assert rates.spend([rate("a", cost=1)], 0.0, book_ahead=False) == 5.0


def test_keys_that_are_as_good_as_new_are_forgotten() -> None:
    rates = Rates()
    rates.spend([rate("old")], 0.0, book_ahead=False)
    for number in range(5000):
        rates.spend([rate(f"key {number}", per=0.001)], 100.0 + number, book_ahead=False)
    assert "old" not in rates.states()
    assert len(rates.states()) < 2500
