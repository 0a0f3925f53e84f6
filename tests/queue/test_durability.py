"""A task says what its jobs have to outlast, and a store that gives less is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.backends.postgres_support import namespace, postgres_namespace, postgres_url
from tests.servers import own, redis_url
from treadle import Treadle
from treadle.backends.postgres.address import parse
from treadle.durability import Durability, gives, least, level_of
from treadle.errors import InvalidOption, UnknownOption, Unsupported
from treadle.testing.servers import PostgresServer, RedisServer

__all__ = ["namespace", "postgres_namespace", "postgres_url", "redis_url"]


def paying(app: Treadle, durability: Any) -> Any:
    @app.task(name="pay", durability=durability)
    async def pay() -> None: ...

    return pay


def test_the_order_of_the_levels() -> None:
    assert list(Durability) == ["memory", "normal", "full", "replica"]
    for place, more in enumerate(Durability):
        assert [gives(more, less) for less in Durability] == [
            index <= place for index in range(len(Durability))
        ]
    assert gives("fsync", "full")
    assert gives("full", "fsync")
    assert gives("everysec", "normal")
    assert not gives("everysec", "full")
    assert least(["replica", "everysec", "fsync"]) == "everysec"
    with pytest.raises(ValueError, match="always"):
        level_of("always")


@pytest.mark.parametrize(
    ("durability", "says"),
    [
        ("ful", "is not one of 'memory', 'normal', 'full', 'replica'"),
        (True, "is not one of"),
        ("fsync", "'fsync' is the word of Redis for 'full'"),
    ],
)
def test_a_word_that_is_no_level_is_refused(durability: Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=f"task 'pay': durability=.*{says}") as caught:
        paying(Treadle("memory://"), durability)
    assert caught.value.option == "durability"


def test_it_is_declared_not_given_for_one_call() -> None:
    task = paying(Treadle("sqlite:///jobs.db"), "full")
    assert task.options.durability is Durability.FULL
    with pytest.raises(UnknownOption, match="durability"):
        task.options(durability="normal")


async def refused(url: str, durability: str, **options: Any) -> str:
    """What is said of a task when its app opens."""
    app = Treadle(url, **options)
    paying(app, durability)
    with pytest.raises(Unsupported) as caught:
        await app.aopen()
    await app.aclose()
    assert caught.value.feature == f"durability={durability}"
    return str(caught.value)


async def taken(url: str, durability: str, **options: Any) -> None:
    async with Treadle(url, **options) as app:
        await paying(app, durability).aenqueue()


async def test_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    await taken(url, "full")
    await taken(f"{url}?durability=normal", "normal")
    said = await refused(f"{url}?durability=normal", "full")
    assert "gives durability='normal', and task 'pay' needs 'full'" in said
    assert "treadle doctor" in said
    assert "needs 'replica'" in await refused(url, "replica")


async def test_memory() -> None:
    await taken("memory://", "memory")
    assert "gives durability='memory'" in await refused("memory://", "normal")


async def test_an_eager_app_keeps_nothing_and_needs_not(tmp_path: Path) -> None:
    app = Treadle(f"sqlite:///{tmp_path}/jobs.db")
    task = paying(app, "full")
    with app.override(eager=True):
        await task.aenqueue()


async def test_a_task_that_is_declared_later_is_refused_at_once(tmp_path: Path) -> None:
    async with Treadle(f"sqlite:///{tmp_path}/jobs.db?durability=normal") as app:
        with pytest.raises(Unsupported, match="task 'pay' needs 'full'"):
            paying(app, "full")


async def test_an_enqueue_of_an_app_that_was_not_opened(tmp_path: Path) -> None:
    app = Treadle(f"sqlite:///{tmp_path}/jobs.db?durability=normal")
    task = paying(app, "full")
    for enqueue in (task.aenqueue(), task.aenqueue_many([()])):
        with pytest.raises(Unsupported, match="task 'pay' needs 'full'"):
            await enqueue
    await app.aclose()


async def test_postgresql(postgres_url: str, namespace: str) -> None:
    await taken(f"{postgres_url}?durability=normal", "normal", namespace=namespace)
    said = await refused(f"{postgres_url}?durability=normal", "full", namespace=namespace)
    assert "gives durability='normal'" in said


@pytest.mark.parametrize(
    ("query", "says"),
    [("durability=fsync", "full or normal"), ("durability=normal&prepared=off", "ALTER ROLE")],
)
def test_postgresql_with_a_durability_that_cannot_be(query: str, says: str) -> None:
    with pytest.raises(InvalidOption, match=f"durability=.* cannot work: use .*{says}"):
        parse(f"postgresql://host/shop?{query}")


@pytest.mark.parametrize(
    ("config", "given", "more"),
    [
        ({}, "memory", "normal"),
        ({"appendonly": "yes"}, "everysec", "full"),
        ({"appendonly": "yes", "appendfsync": "always"}, "fsync", "replica"),
    ],
)
@pytest.mark.parametrize("shards", ["", "?shards=2"])
async def test_redis_by_what_the_server_is_set_to(
    config: dict[str, str], given: str, more: str, shards: str
) -> None:
    with own(RedisServer(config=config).start) as server:
        await taken(server.url + shards, str(level_of(given)))
        said = await refused(server.url + shards, more)
        assert f"gives durability='{given}', and task 'pay' needs '{more}'" in said


@pytest.mark.slow
async def test_postgresql_by_what_the_server_is_set_to() -> None:
    with own(PostgresServer(fsync=True).start) as server:
        await taken(server.url, "full")
        await taken(f"{server.url}?durability=full", "full")
        assert "gives durability='full'" in await refused(server.url, "replica")
    with own(PostgresServer(fsync=False).start) as server:
        assert "gives durability='memory'" in await refused(server.url, "normal")
        app = Treadle(f"{server.url}?durability=full")
        with pytest.raises(Unsupported, match=r"gives durability=memory: ALTER ROLE"):
            await app.aopen()
        await app.aclose()
