"""Random jobs that ask for whatever a job can ask for, the same for the same seed."""

from __future__ import annotations

import random  # noqa: TID251 - seeded
from typing import Any

from treadle.ids import SystemIds
from treadle.records import (
    After,
    Hold,
    In,
    Keep,
    NewJob,
    OnConflict,
    OnFailure,
    Scope,
    Spend,
    Unique,
)
from treadle.testing import ManualClock

QUEUES = ("a", "a.x", "a.y", "a.x.1", "b", "c")


class Script:
    """Where the jobs come from."""

    def __init__(self, seed: int, *, limits: bool) -> None:
        self.chance = random.Random(seed)
        self.ids = SystemIds(ManualClock(), random.Random(seed))
        self.limits = limits
        self.pushed: list[str] = []

    def maybe(self, share: float, value: Any) -> Any:
        return value if self.chance.random() < share else None

    def asks(self) -> tuple[Hold | Spend, ...]:
        asks: list[Hold | Spend] = []
        if self.limits and self.chance.random() < 0.2:
            units = self.chance.choice((1, 1, 2))
            asks.append(Hold(key=self.chance.choice("mn"), slots=2, units=units))
        if self.limits and self.chance.random() < 0.2:
            asks.append(Spend(key=self.chance.choice("rs"), count=5, per=1.0))
        return tuple(asks)

    def job(self) -> NewJob:
        pick = self.chance.choice
        unique = Unique(
            key=pick("uvw"), scope=pick(list(Scope)), ttl=5.0, on_conflict=pick(list(OnConflict))
        )
        others = (pick(self.pushed), pick(self.pushed)) if self.pushed else ()
        after = After(ids=tuple(dict.fromkeys(others)), on_failure=pick(list(OnFailure)))
        return NewJob(
            id=self.ids.new(),
            task=pick(("t.one", "t.two")),
            payload=b"",
            queue=pick(QUEUES),
            priority=pick((0, 0, 0, 5, -5)),
            due=self.maybe(0.2, In(self.chance.uniform(0, 5))),
            expires=self.maybe(0.1, In(self.chance.uniform(0, 9))),
            unique=self.maybe(0.15, unique),
            key=self.maybe(0.3, pick("kl")) if self.limits else None,
            key_slots=pick((1, 1, 2)),
            ordered=self.chance.random() < 0.4,
            asks=self.asks(),
            after=self.maybe(0.15, after),
            at_most_once=self.chance.random() < 0.1,
            keep=pick(
                (Keep(), Keep(succeeded=0.0, failed=0.0, cancelled=0.0), Keep(succeeded=3.0))
            ),
            flow=self.maybe(0.1, "f"),
            bound=self.maybe(0.1, 30),
        )
