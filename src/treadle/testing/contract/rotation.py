"""Rotation: the members of a named queue take turns."""

from __future__ import annotations

from collections import Counter

import pytest

from treadle.ports import Delete, Feature, Reschedule
from treadle.records import In
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs

__all__ = ["RotationContract"]


class RotationContract(Contract):
    """A tenant with a million jobs does not delay one with ten."""

    @needs(Feature.ORDER)
    async def test_one_by_one_in_turns(self, store: Driver) -> None:
        """Order: non-empty members take turns by name, going on after the one served last."""
        for queue in ("m.c", "m.a", "m.b"):
            await store.add_many(3, queue=queue)
        served = [(await store.take(queues=["m"])).spec.queue for _ in range(9)]
        assert served == ["m.a", "m.b", "m.c"] * 3

    @needs(Feature.ORDER)
    async def test_a_batch_is_shared(self, store: Driver) -> None:
        """Order: with m members and n places, a turn gives a member up to ⌈n/m⌉ jobs."""
        await store.add_many(100, queue="m.big")
        await store.add_many(10, queue="m.small")
        leases = await store.claim(10, queues=["m"])
        assert Counter(lease.spec.queue for lease in leases) == {"m.big": 5, "m.small": 5}

    @needs(Feature.ORDER)
    async def test_what_is_left_goes_round_again(self, store: Driver) -> None:
        """Order: places that a small member leaves go to the others in the same claim."""
        await store.add_many(100, queue="m.big")
        await store.add_many(2, queue="m.small")
        leases = await store.claim(20, queues=["m"])
        assert Counter(lease.spec.queue for lease in leases) == {"m.big": 18, "m.small": 2}

    @needs(Feature.ORDER)
    async def test_each_round_shares_what_is_left(self, store: Driver) -> None:
        """Order: m and n are those of the round."""
        await store.add_many(1, queue="m.a")
        await store.add_many(100, queue="m.b")
        await store.add_many(100, queue="m.c")
        leases = await store.claim(9, queues=["m"])
        served = Counter(lease.spec.queue for lease in leases)
        assert served == {"m.a": 1, "m.b": 4, "m.c": 4}

    @needs(Feature.ORDER)
    async def test_the_named_queue_is_a_member_too(self, store: Driver) -> None:
        """Order: ``m`` itself takes a turn beside ``m.a``."""
        await store.add_many(4, queue="m")
        await store.add_many(4, queue="m.a")
        served = Counter(
            [lease.spec.queue for _ in range(4) for lease in await store.claim(1, queues=["m"])]
        )
        assert served == {"m": 2, "m.a": 2}

    @needs(Feature.ORDER)
    async def test_the_star_rotates_over_all_queues(self, store: Driver) -> None:
        """Order: ``*`` is a named queue whose members are all."""
        await store.add_many(5, queue="a")
        await store.add_many(5, queue="b")
        served = Counter([(await store.take()).spec.queue for _ in range(6)])
        assert served == {"a": 3, "b": 3}

    @needs(Feature.ORDER)
    async def test_the_turn_is_kept_in_the_store(self, store: Driver) -> None:
        """Order: the position is kept per named queue, for all sessions."""
        for queue in ("m.a", "m.b"):
            await store.add_many(4, queue=queue)
        served = [
            (await store.take(queues=["m"], who=who)).spec.queue for who in ("x", "y", "x", "y")
        ]
        assert served == ["m.a", "m.b", "m.a", "m.b"]

    @needs(Feature.ORDER)
    async def test_inside_a_member_priority_then_arrival(self, store: Driver) -> None:
        """3.11. Between subqueues rotation, inside by priority, then arrival."""
        low = await store.add(queue="m.a", priority=-5)
        high = await store.add(queue="m.a", priority=5)
        other = await store.add(queue="m.b", priority=-100)
        assert await store.claimed(1, queues=["m"]) == [high]
        assert await store.claimed(1, queues=["m"]) == [other]
        assert await store.claimed(1, queues=["m"]) == [low]

    @pytest.mark.parametrize("way", ["cancel", "delete", "expire", "reschedule"])
    @needs(Feature.ORDER)
    async def test_an_emptied_member_takes_no_share(
        self, store: Driver, clock: ManualClock, way: str
    ) -> None:
        """Order: a round is shared among the members that are not empty."""
        emptied = await store.add(queue="a.x", expires=In(1.0) if way == "expire" else None)
        await store.add_many(4, queue="a.y")
        await store.add_many(4, queue="a.z")
        match way:
            case "cancel":
                await store.cancel(emptied)
            case "delete":
                await store.alter(emptied, Delete())
            case "reschedule":
                await store.alter(emptied, Reschedule(due=In(60.0)))
            case _:
                clock.advance(2)
        leases = await store.claim(5, queues=("a",))
        # Three and two; with three members it would be two, two and one.
        assert [lease.spec.queue for lease in leases] == ["a.y"] * 3 + ["a.z"] * 2

    @needs(Feature.ORDER)
    async def test_many_members(self, store: Driver) -> None:
        """Order: a claim for fewer places than members serves the next ones by name."""
        names = [f"m.t{number:02d}" for number in range(30)]
        await store.push(*(store.job(queue=name) for name in names for _ in range(2)))
        for first in (0, 10, 20) * 2:
            leases = await store.claim(10, queues=["m"])
            assert sorted(lease.spec.queue for lease in leases) == names[first : first + 10]
