"""Whatever happens to a lock and in whatever order: one holder, growing fences, told losses."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from treadle import LeaseLost, LockTimeout, Treadle
from treadle.errors import NotOpen, UsageError
from treadle.testing.clock import ManualClock

__all__ = ["TestHistories"]

LEASES = (2.0, 10.0, 30.0)
NAMES = ("one", "other")
HANDLES = [(name, lease) for name in NAMES for lease in LEASES]
handles = st.integers(0, len(HANDLES) - 1)


class Histories(RuleBasedStateMachine):
    """Handles of two locks, and what the store must know: who has each, and until when."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.app = Treadle("memory://", clock=self.clock)
        self.locks = [self.app.lock(name, lease=lease) for name, lease in HANDLES]
        # Handles that have acquired and not released, whether they still hold it or not.
        self.acquired: set[int] = set()
        self.owners: dict[str, tuple[int, float]] = {}
        self.last_fence = 0

    def owner(self, name: str) -> int | None:
        """The handle that holds a lock, as the store has it."""
        index, until = self.owners.get(name, (None, 0.0))
        return index if self.clock.monotonic() < until else None

    def grant(self, index: int, lease: float) -> None:
        """Note that a handle holds its lock for so long."""
        self.owners[HANDLES[index][0]] = (index, self.clock.monotonic() + lease)

    @rule(index=handles)
    def acquire(self, index: int) -> None:
        """Who asks is granted a free lock, with a larger fence, and no other."""
        lock, (name, lease) = self.locks[index], HANDLES[index]
        if index in self.acquired:
            with pytest.raises(UsageError):
                lock.acquire(timeout=0)
        elif self.owner(name) is not None:
            with pytest.raises(LockTimeout):
                lock.acquire(timeout=0)
        else:
            fence = lock.acquire(timeout=0)
            assert fence > self.last_fence
            self.last_fence = fence
            self.acquired.add(index)
            self.grant(index, lease)

    @rule(index=handles)
    def extend(self, index: int) -> None:
        """Who holds it holds it longer; who has lost it is told, for good."""
        lock, (name, lease) = self.locks[index], HANDLES[index]
        if index not in self.acquired:
            with pytest.raises(NotOpen):
                lock.extend()
        elif self.owner(name) == index:
            lock.extend()
            self.grant(index, lease)
        else:
            with pytest.raises(LeaseLost):
                lock.extend()

    @rule(index=handles)
    def release(self, index: int) -> None:
        """Who holds it frees it; who has lost it is told, and frees nobody else's."""
        lock, (name, _) = self.locks[index], HANDLES[index]
        if index not in self.acquired:
            with pytest.raises(NotOpen):
                lock.release()
            return
        self.acquired.discard(index)
        if self.owner(name) == index:
            lock.release()
            del self.owners[name]
        else:
            with pytest.raises(LeaseLost):
                lock.release()

    @rule(seconds=st.sampled_from((0.5, 1.0, 3.0, 9.0, 20.0, 60.0)))
    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)

    @invariant()
    def who_believes_to_hold_it_does(self) -> None:
        """At most one handle of a name says that it is held, and the store says the same."""
        for index, lock in enumerate(self.locks):
            if lock.held:
                assert self.owner(lock.name) == index
        for name in NAMES:
            assert sum(lock.held for lock in self.locks if lock.name == name) <= 1

    def teardown(self) -> None:
        """Leave no thread behind."""
        self.app.close()


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
