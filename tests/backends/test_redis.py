"""The Redis backend passes the suite of all backends, with an account that may do little else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import own, valkey
from treadle import Treadle
from treadle.backends.redis import connect, seeking
from treadle.backends.redis.scripts import commands
from treadle.errors import BackendError
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


def test_the_documented_rights_are_all_that_scripts_need() -> None:
    granted = {word[1:].upper() for word in rights().split() if word.startswith("+")}
    assert granted.issuperset(commands())


async def test_the_documented_rights_are_enough_by_the_clock_of_the_server(
    server: RedisServer,
) -> None:
    """Some steps are left out where a test moves the time."""
    url, name = f"redis://jobs:secret@127.0.0.1:{server.port}/0", f"test-{SystemIds().new()}"
    app = Treadle(url, namespace=name)

    @app.task(name="double")
    async def double(number: int) -> int:
        return 2 * number

    async with app:
        job = await double.aenqueue(21)
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
        assert await job.aresult(timeout=10) == 42


async def test_rights_that_are_lacking_are_named_before_a_step_meets_them() -> None:
    users = ["default off", "few on >x ~* &* +@all -publish -zadd"]
    with own(RedisServer(users=users, program=own(valkey)).start) as server:
        backend = connect(f"redis://few:x@127.0.0.1:{server.port}/0")
        with pytest.raises(BackendError, match=r"lacks rights: \+publish \+zadd,"):
            await backend.survey()
        await backend.aclose()


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
