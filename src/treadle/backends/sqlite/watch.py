"""What those see who wait for one job: enough to tell whether to look at it."""

from __future__ import annotations

import msgspec

from treadle.backends.common.horizon import Horizon
from treadle.backends.common.jobrow import FINAL_CODE
from treadle.backends.sqlite.tx import Reading
from treadle.ports import Query

__all__ = ["Glimpse", "glimpse"]


class Glimpse(msgspec.Struct, frozen=True, gc=False):
    """A job that is waited for."""

    ahead: Horizon
    # ``None`` when it is gone.
    state: int | None
    version: int | None

    def answers(self, query: Query) -> bool:
        """Whether it has come to what a query waits for, or is gone."""
        if self.state is None or self.version is None:
            return True
        return self.state in FINAL_CODE if query.ended else self.version > query.version


def glimpse(reading: Reading, job_id: str) -> Glimpse:
    """Look at a job, with a single statement."""
    *instants, state, version = reading.one("watched", job_id)
    return Glimpse(Horizon(*instants), state, version)
