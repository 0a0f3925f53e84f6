"""A Redis Cluster of primaries on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Self

from treadle.testing.servers.ports import HOST
from treadle.testing.servers.redis import RedisServer
from treadle.testing.servers.server import ServerFailed
from treadle.testing.servers.waiting import until

__all__ = ["RedisCluster"]

_SLOTS = 16_384


class RedisCluster:
    """Primaries that share the slots evenly.

    Args:
        nodes: how many.
        config: settings of each.
    """

    def __init__(self, nodes: int = 3, *, config: Mapping[str, str] | None = None) -> None:
        self.nodes = [
            RedisServer(
                config={
                    "cluster-enabled": "yes",
                    "cluster-node-timeout": "2000",
                    **(config or {}),
                }
            )
            for _ in range(nodes)
        ]

    @property
    def url(self) -> str:
        """Names all nodes."""
        hosts = ",".join(f"{HOST}:{one.port}" for one in self.nodes)
        return f"redis+cluster://{hosts}"

    def start(self) -> Self:
        """Start the nodes, give out the slots, and wait until all agree."""
        share = _SLOTS / len(self.nodes)
        for at, one in enumerate(self.nodes):
            one.start()
            first, last = round(at * share), round((at + 1) * share) - 1
            one.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            one.ask("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        for one in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", HOST, one.port, one.config["cluster-port"])
        self.until(self._agreed, "the nodes do not agree")
        return self

    def owner(self, slot: int) -> RedisServer:
        """The node that serves a slot."""
        return next(one for one in self.nodes if self._serves(one, slot))

    def slot_of(self, key: str) -> int:
        """Where a key lives."""
        slot = self.nodes[0].ask("CLUSTER", "KEYSLOT", key)
        assert isinstance(slot, int)
        return slot

    def start_move(self, slot: int, target: RedisServer) -> RedisServer:
        """Begin to move a slot; keys may be on either side (ASK). Gives the source."""
        source = self.owner(slot)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self._id(source))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self._id(target))
        return source

    def finish_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Carry the keys over and tell all nodes (MOVED)."""
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            assert isinstance(keys, list)
            moved = source.ask("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
            if moved != "OK":
                raise ServerFailed(f"{keys} could not be moved: {moved}")
        for one in (target, source, *self.nodes):
            one.ask("CLUSTER", "SETSLOT", slot, "NODE", self._id(target))

    def until(self, condition: Callable[[], bool], otherwise: str, patience: float = 30.0) -> None:
        """Wait for something to hold in the cluster."""
        if not until(condition, patience):
            raise ServerFailed(otherwise)

    def close(self) -> None:
        """End all."""
        for one in self.nodes:
            one.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _agreed(self) -> bool:
        for one in self.nodes:
            facts = str(one.ask("CLUSTER", "INFO"))
            if "cluster_state:ok" not in facts:
                return False
            if f"cluster_known_nodes:{len(self.nodes)}" not in facts:
                return False
        return True

    def _id(self, node: RedisServer) -> str:
        return str(node.ask("CLUSTER", "MYID"))

    def _serves(self, node: RedisServer, slot: int) -> bool:
        name = self._id(node)
        ranges = node.ask("CLUSTER", "SLOTS")
        assert isinstance(ranges, list)
        for entry in ranges:
            assert isinstance(entry, list)
            first, last, owner = entry[0], entry[1], entry[2]
            assert isinstance(first, int)
            assert isinstance(last, int)
            assert isinstance(owner, list)
            if first <= slot <= last and owner[2] == name:
                return True
        return False
