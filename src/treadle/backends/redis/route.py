"""Which server to go to: the one, the primary that sentinels know, or the owner of a slot."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from treadle.backends.redis.address import Address, Node
from treadle.backends.redis.wire import Connection, Connector, Lost, Refused, raise_failure
from treadle.errors import BackendUnavailable

__all__ = ["Route", "route_of"]

_SENTINEL_SECONDS = 2.0
"""A sentinel that does not answer for so long is passed over."""


class Route(Protocol):
    """The way to the server that is to be asked."""

    async def connect(
        self, connector: Connector, heard: Callable[[Any], None] | None = None
    ) -> tuple[Node, Connection]:
        """A connection to it, and where it is."""
        ...

    def moved(self, node: Node) -> None:
        """Another node has it now."""
        ...


class _Server:
    """One address, whatever is behind it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def connect(
        self, connector: Connector, heard: Callable[[Any], None] | None = None
    ) -> tuple[Node, Connection]:
        return self._node, await connector.connect(self._node.host, self._node.port, heard)

    def moved(self, node: Node) -> None:
        """One that is asked by its address is asked there again."""


class _Cluster:
    """Any node tells who has the slot; that one is asked until another is named."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self._nodes = deque(nodes)

    async def connect(
        self, connector: Connector, heard: Callable[[Any], None] | None = None
    ) -> tuple[Node, Connection]:
        failure: Exception = Lost("no node is known")
        for _ in range(len(self._nodes)):
            node = self._nodes[0]
            try:
                return node, await connector.connect(node.host, node.port, heard)
            except (OSError, Refused) as error:
                failure = error
                self._nodes.rotate(-1)
        raise failure

    def moved(self, node: Node) -> None:
        if node in self._nodes:
            self._nodes.remove(node)
        self._nodes.appendleft(node)


class _Sentinels:
    """The sentinels say who is the primary; it is asked whether it is one."""

    def __init__(self, address: Address) -> None:
        self._sentinels = deque(address.nodes)
        self._name = address.primary
        self._user = address.sentinel_user
        self._password = address.sentinel_password

    async def connect(
        self, connector: Connector, heard: Callable[[Any], None] | None = None
    ) -> tuple[Node, Connection]:
        node = await self._primary(connector)
        connection = await connector.connect(node.host, node.port)
        role = await connection.ask("ROLE")
        # An account without the right to ask is believed; a write would be refused.
        if isinstance(role, list) and role[:1] != [b"master"]:
            await connection.aclose()
            raise Lost(f"{node} is no primary yet")
        connection.heard = heard
        return node, connection

    def moved(self, node: Node) -> None:
        """The sentinels are asked at each connection."""

    async def _primary(self, connector: Connector) -> Node:
        door = msgspec.structs.replace(
            connector,
            user=self._user,
            password=self._password,
            db=0,
            patience=min(_SENTINEL_SECONDS, connector.patience),
        )
        failure: Exception = Lost("no sentinel is known")
        for _ in range(len(self._sentinels)):
            sentinel = self._sentinels[0]
            try:
                return await self._ask(door, sentinel)
            except (OSError, Refused) as error:
                failure = error
                self._sentinels.rotate(-1)
        raise failure

    async def _ask(self, door: Connector, sentinel: Node) -> Node:
        connection = await door.connect(sentinel.host, sentinel.port)
        try:
            question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
            answer = raise_failure(await connection.ask(*question))
        finally:
            await asyncio.shield(connection.aclose())
        if answer is None:
            raise BackendUnavailable(f"sentinel {sentinel} knows no primary named {self._name!r}")
        return Node(answer[0].decode(), int(answer[1]))


def route_of(address: Address) -> Route:
    """The way that an address describes."""
    match address.kind:
        case "cluster":
            return _Cluster(address.nodes)
        case "sentinel":
            return _Sentinels(address)
        case _:
            return _Server(address.nodes[0])
