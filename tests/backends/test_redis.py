"""The Redis backend passes the suite of all backends, with an account that may do little else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import own, valkey
from treadle.backends.redis import connect, seeking
from treadle.ids import Ids, SystemIds
from treadle.testing import ManualClock
from treadle.testing.contract import AlterContract, BackendContract, FindContract, Make
from treadle.testing.servers import RedisServer

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "redis.md"


def rights() -> str:
    """The account that the documentation recommends, for the namespaces of tests."""
    [line] = re.findall(r"^ACL SETUSER jobs on >\S+ (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    return line.replace("{treadle.", "{test-")


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Where nobody else may do anything."""
    users = ["default off", f"jobs on >secret {rights()}"]
    program = own(valkey) if request.param == "valkey" else None
    with own(RedisServer(users=users, program=program).start) as server:
        yield server


class Account:
    """A namespace of its own, with what the documentation grants and no more."""

    @pytest.fixture
    def make(self, server: RedisServer, clock: ManualClock, ids: Ids) -> Make:
        """Backends over one namespace of the server."""
        url, name = f"redis://jobs:secret@127.0.0.1:{server.port}/0", f"test-{SystemIds().new()}"
        return lambda **options: connect(url, clock=clock, ids=ids, namespace=name, **options)


class TestRedis(Account, BackendContract):
    """Every case."""


class TestManySteps(Account, FindContract, AlterContract):
    """Jobs are found alike where each queue, task and id takes a step of its own."""

    @pytest.fixture(autouse=True)
    def one_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Even two queues are too many for one step."""
        monkeypatch.setattr(seeking, "PAGE", 1)
