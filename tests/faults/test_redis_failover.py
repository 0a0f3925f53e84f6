"""Other servers take over: sentinels name another primary, a slot of a cluster moves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.shop_support import driving, judged, shop
from tests.servers import own
from treadle.clock import SystemClock
from treadle.errors import BackendUnavailable, Unsupported
from treadle.records import JobState
from treadle.testing import eventually
from treadle.testing.servers import RedisCluster, RedisServer, SentinelSet

CLOCK = SystemClock()
IN_CLUSTER = {"cluster-enabled": "yes", "cluster-node-timeout": "2000", "appendonly": "yes"}
pytestmark = pytest.mark.slow


async def test_a_failover_under_load_loses_nothing_that_a_replica_has(tmp_path: Path) -> None:
    """With durability=replica an accepted job is on the server that takes over."""
    with own(SentinelSet) as servers:
        url = f"{servers.url}?durability=replica&patience=10"
        async with shop(url, tmp_path, patience=30.0) as one, one.foreman():
            await one.work.aenqueue_many([(0.01,) for _ in range(50)])
            await one.doing.wait()
            old = servers.primary
            with one.unreliable():
                old.kill()
                await asyncio.to_thread(servers.await_other, old)
                # The one that is left has no copy: nothing is accepted until there is one again,
                # and what is claimed meanwhile is answered when it may be too late to start it.
                await asyncio.to_thread(old.start)
                # Whichever of the two leads then.
                await eventually(
                    lambda: servers.primary.info("replication").get("connected_slaves") == "1",
                    patience=40.0,
                )
            await one.work.aenqueue_many([(0.01,) for _ in range(50)])
            await one.until_done(100)
        await judged(url, tmp_path)


async def test_without_a_replica_nothing_is_accepted_as_copied() -> None:
    with own(SentinelSet) as servers:
        copy = next(one for one in servers.servers if one is not servers.primary)
        async with driving(f"{servers.url}?durability=replica&patience=1") as one:
            await one.add()
            copy.kill()
            with pytest.raises(BackendUnavailable, match="0 of 1 replicas have it"):
                await one.add()
        async with driving(f"{servers.url}?durability=memory") as one:
            # It was not accepted, and is there all the same: a repeat would have found it.
            assert len(await one.records()) == 2
        await eventually(lambda: servers.primary.info("replication")["connected_slaves"] == "0")
        with pytest.raises(Unsupported, match="has 0 replicas"):
            async with driving(f"{servers.url}?durability=replica"):
                pass


async def test_sentinels_with_a_password_and_a_name_that_they_do_not_know() -> None:
    with own(lambda: SentinelSet(sentinels=1)) as servers:
        servers.sentinels[0].ask("ACL", "SETUSER", "default", "on", "resetpass", ">hush")
        async with driving(f"{servers.url}?sentinel_password=hush") as one:
            await one.add()
        with pytest.raises(BackendUnavailable, match="does not let us in"):
            async with driving(servers.url):
                pass
        url = servers.url.replace("/treadle/", "/other/")
        with pytest.raises(BackendUnavailable, match="knows no primary named 'other'"):
            async with driving(f"{url}?sentinel_password=hush"):
                pass


async def test_a_slot_that_moves_under_load(tmp_path: Path) -> None:
    """While it moves, everything waits; then it goes on at the other node, and nothing is lost."""
    with own(RedisCluster) as cluster:
        slot = cluster.slot_of("{faults.0}:")
        url = f"{cluster.url}?patience=10"
        async with shop(url, tmp_path) as one, one.foreman():
            await one.work.aenqueue_many([(0.02,) for _ in range(60)])
            await one.doing.wait()
            source = cluster.owner(slot)
            target = next(node for node in cluster.nodes if node is not source)
            await asyncio.to_thread(cluster.start_move, slot, target)
            waiting = asyncio.create_task(one.work.aenqueue())
            await CLOCK.sleep(0.5)
            assert not waiting.done()
            await asyncio.to_thread(cluster.finish_move, slot, source, target)
            await waiting
            await one.until_done(61)
        await judged(url, tmp_path)
        assert cluster.owner(slot) is target


async def test_the_replica_of_a_node_takes_over(tmp_path: Path) -> None:
    """Without an address that changes: the other nodes say who has the slot now."""
    with own(lambda: RedisCluster(config={"appendonly": "yes"})) as cluster:
        slot = cluster.slot_of("{faults.0}:")
        owner = cluster.owner(slot)
        with RedisServer(config=IN_CLUSTER) as copy:
            near = next(node for node in cluster.nodes if node is not owner)
            copy.ask("CLUSTER", "MEET", "127.0.0.1", near.port, near.config["cluster-port"])
            name = owner.ask("CLUSTER", "MYID")
            await eventually(lambda: str(name) in str(copy.ask("CLUSTER", "NODES")))
            copy.ask("CLUSTER", "REPLICATE", name)
            await eventually(lambda: copy.info("replication")["master_link_status"] == "up")
            # Who is to vote for it has to know of it.
            mine = str(copy.ask("CLUSTER", "MYID"))
            for node in cluster.nodes:
                await eventually(
                    lambda node=node: f"{mine}" in str(node.ask("CLUSTER", "REPLICAS", name)),
                    patience=30.0,
                )
            url = f"{cluster.url}?durability=replica&patience=20"
            async with shop(url, tmp_path, patience=30.0) as one, one.foreman():
                jobs = await one.work.aenqueue_many([(0.01,) for _ in range(50)])
                await one.doing.wait()
                with one.unreliable():
                    owner.kill()
                    await eventually(
                        lambda: copy.info("replication")["role"] == "master", patience=90.0
                    )
                    # What was accepted has to have a copy again, and this one has none.
                    await asyncio.to_thread(owner.start)
                    await eventually(
                        lambda: copy.info("replication")["connected_slaves"] == "1", patience=30.0
                    )
                jobs += await one.work.aenqueue_many([(0.01,) for _ in range(10)])
                await one.until_done(len(jobs))
            await judged(cluster.url, tmp_path)


async def test_a_node_that_is_away_is_waited_for() -> None:
    with own(lambda: RedisCluster(config={"appendonly": "yes"})) as cluster:
        async with driving(f"{cluster.url}?patience=60") as one:
            job_id = await one.add()
            owner = cluster.owner(cluster.slot_of("{faults.0}:"))
            owner.kill()
            waiting = asyncio.create_task(one.add())
            await CLOCK.sleep(0.5)
            await asyncio.to_thread(owner.start)
            await waiting
            assert await one.state(job_id) is JobState.QUEUED
