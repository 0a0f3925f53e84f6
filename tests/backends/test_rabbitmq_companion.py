"""RabbitMQ with a companion passes the suite of all backends, but for the order of messages.

Left out are the cases in which a job that has a message comes before one whose place is older or
better: it came back, or its priority was changed, and its message stands where it stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.rabbitmq_support import forget, unused, without
from treadle.backends.rabbitmq import connect
from treadle.ids import Ids
from treadle.ports import Backend
from treadle.testing import ManualClock
from treadle.testing.contract import BackendContract, Make

pytestmark = [pytest.mark.server, pytest.mark.slow]


@without(
    # Back in its old place; its message is behind.
    "test_a_job_keeps_its_place",
    "test_released",
    # Due at a time; the pauses of messages end one after the other.
    "test_scheduled_jobs_go_by_arrival",
    # Tried again, it is named with the priority with which it was pushed.
    "test_a_new_priority_outlives_a_retry",
    # The clock of the case is not that of the server, which has the message behind a pause.
    "test_a_new_priority_counts",
    # A queue whose jobs are gone has messages left, which take places in its turn.
    "test_an_emptied_member_takes_no_share",
)
class TestCompanion(BackendContract):
    @pytest.fixture
    def make(
        self, clock: ManualClock, ids: Ids, rabbitmq_url: str, tmp_path: Path
    ) -> Iterator[Make]:
        name, beside = unused(), f"sqlite:///{tmp_path}/jobs.db"

        def made(**options: Any) -> Backend:
            fixed: dict[str, Any] = {"clock": clock, "ids": ids, "namespace": name}
            return connect(rabbitmq_url, companion=beside, **fixed, **options)

        yield made
        asyncio.run(forget(rabbitmq_url, name))
