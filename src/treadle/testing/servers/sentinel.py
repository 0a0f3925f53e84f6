"""A primary with replicas, and the sentinels that watch over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Self

from treadle.testing.servers.ports import HOST
from treadle.testing.servers.redis import RedisServer
from treadle.testing.servers.server import ServerFailed
from treadle.testing.servers.waiting import until

__all__ = ["Sentinel", "SentinelSet"]


class Sentinel(RedisServer):
    """One sentinel that watches a primary under a name."""

    def __init__(self, primary: RedisServer, *, name: str, quorum: int, down_ms: int) -> None:
        super().__init__()
        self._lines = (
            f"port {self.port}",
            f"bind {HOST}",
            f"dir {self.folder}",
            f"sentinel monitor {name} {HOST} {primary.port} {quorum}",
            f"sentinel down-after-milliseconds {name} {down_ms}",
            f"sentinel failover-timeout {name} 3000",
            f"sentinel parallel-syncs {name} 1",
        )

    def command(self) -> Sequence[str]:
        return [*super().command(), "--sentinel"]

    def prepare(self) -> None:
        file = self.folder / "redis.conf"
        if not file.exists():
            file.write_text("\n".join(self._lines) + "\n")


class SentinelSet:
    """One primary, its replicas, and sentinels that agree on which of them is the primary.

    Args:
        replicas: how many copies there are.
        sentinels: how many watch; more than half of them decide.
        down_ms: milliseconds without an answer after which a server counts as dead.
        config: settings of the data servers.
    """

    name = "treadle"

    def __init__(
        self,
        *,
        replicas: int = 1,
        sentinels: int = 3,
        down_ms: int = 2000,
        config: Mapping[str, str] | None = None,
    ) -> None:
        first = RedisServer(config=config)
        copies = [RedisServer(config=config, replica_of=first) for _ in range(replicas)]
        self.servers = [first, *copies]
        quorum = sentinels // 2 + 1
        self.sentinels = [
            Sentinel(first, name=self.name, quorum=quorum, down_ms=down_ms)
            for _ in range(sentinels)
        ]

    @property
    def url(self) -> str:
        """Names all sentinels."""
        hosts = ",".join(f"{HOST}:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.name}/0"

    def start(self) -> Self:
        """Start all and wait until the sentinels know each other and the replicas follow."""
        for one in (*self.servers, *self.sentinels):
            one.start()
        self._until(self._agreed, "the sentinels do not know each other, or not the replicas")
        return self

    @property
    def primary(self) -> RedisServer:
        """The server that the first living sentinel holds for the primary."""
        return self._named_by(next(one for one in self.sentinels if one.running))

    def _named_by(self, sentinel: Sentinel) -> RedisServer:
        answer = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        assert isinstance(answer, list)
        return next(one for one in self.servers if str(one.port) == answer[1])

    def await_other(self, old: RedisServer, patience: float = 30.0) -> RedisServer:
        """The new primary, as soon as there is one that takes writes and all sentinels say so.

        While one of them still names the old primary, that one would be used again when it comes
        back, with what it has then.
        """

        def promoted() -> bool:
            named = {self._named_by(one) for one in self.sentinels if one.running}
            new = named.pop()
            return not named and new is not old and new.info("replication")["role"] == "master"

        self._until(promoted, "no other server became primary", patience)
        return self.primary

    def close(self) -> None:
        """End all."""
        for one in (*self.sentinels, *self.servers):
            one.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _agreed(self) -> bool:
        for one in self.sentinels:
            reply = one.ask("SENTINEL", "MASTER", self.name)
            assert isinstance(reply, list)
            facts = dict(zip(reply[::2], reply[1::2], strict=True))
            others = len(self.sentinels) - 1
            if facts["num-other-sentinels"] != str(others):
                return False
            if facts["num-slaves"] != str(len(self.servers) - 1):
                return False
        return all(
            one.info("replication").get("master_link_status") == "up" for one in self.servers[1:]
        )

    def _until(self, condition: Callable[[], bool], otherwise: str, patience: float = 30.0) -> None:
        if not until(condition, patience):
            raise ServerFailed(otherwise)
