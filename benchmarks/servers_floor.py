"""The same data on a server without scripts and checks: the driver's own batches, nothing else."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any

import psycopg
import redis

from benchmarks.floors import BATCH, PUSH
from benchmarks.servers_trip import redis_trips

__all__ = ["Floor", "PostgresFloor", "RedisFloor"]

_PAYLOAD, _RESULT = b"x" * 60, b"x" * 100


class Floor(ABC):
    """What bounds jobs on a server: as many bytes, in as many requests as ours, one process."""

    @abstractmethod
    def __init__(self, url: str) -> None:
        """Of an empty store."""

    @abstractmethod
    def insert(self, count: int, batch: int) -> float:
        """Jobs written, so many in a request: a second."""

    @abstractmethod
    def take(self, limit: int) -> int:
        """Jobs taken and read in one go; how many."""

    @abstractmethod
    def finish(self) -> None:
        """End those that were taken last."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect."""

    def drain(self, count: int) -> float:
        """Jobs taken and ended, 100 at a time: a second."""
        self.insert(count, PUSH)
        began = time.perf_counter()
        while self.take(BATCH):
            self.finish()
        return count / (time.perf_counter() - began)

    def trips(self, count: int) -> list[list[float]] | None:
        """Milliseconds to the start and to the result of each, where that is measured."""
        return None

    def claims(self, depth: int, times: int, limit: int) -> list[float]:
        """Microseconds to take so many jobs, among as many as the depth says."""
        found: list[float] = []
        self.insert(depth, PUSH)
        for _ in range(times):
            began = time.perf_counter()
            self.take(limit)
            found.append((time.perf_counter() - began) * 1e6)
            self.finish()
            self.insert(limit, limit)
        return found


class RedisFloor(Floor):
    """A sorted set of names, and a key for each job."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Any = redis.Redis.from_url(url)
        self._taken: list[tuple[bytes, float]] = []
        self._made = 0

    def insert(self, count: int, batch: int) -> float:
        began = time.perf_counter()
        for start in range(0, count, batch):
            pipe = self._client.pipeline(transaction=False)
            for _ in range(start, min(count, start + batch)):
                self._made += 1
                name = f"{self._made:036}"
                pipe.set(f"floor:{name}", _PAYLOAD)
                pipe.zadd("floor", {name: self._made})
            pipe.execute()
        return count / (time.perf_counter() - began)

    def take(self, limit: int) -> int:
        self._taken = self._client.zpopmin("floor", limit)
        if self._taken:
            self._client.mget(self._names())
        return len(self._taken)

    def finish(self) -> None:
        pipe = self._client.pipeline(transaction=False)
        pipe.mset(dict.fromkeys(self._names(), _PAYLOAD + _RESULT))
        pipe.zadd("floor:done", dict(self._taken))
        pipe.execute()

    def trips(self, count: int) -> list[list[float]] | None:
        return redis_trips(self._url, count)

    def close(self) -> None:
        self._client.close()

    def _names(self) -> list[str]:
        return [f"floor:{name.decode()}" for name, _ in self._taken]


class PostgresFloor(Floor):
    """A table with one index; what is taken is locked by its row."""

    def __init__(self, url: str) -> None:
        self._db = psycopg.connect(url, autocommit=True)
        self._taken: list[int] = []
        self._db.execute(
            "CREATE TABLE floor (id bigserial PRIMARY KEY, state int, body bytea, result bytea)"
        )
        self._db.execute("CREATE INDEX place ON floor (id) WHERE state = 0")

    def version(self) -> str:
        """Of the server."""
        number = self._db.info.server_version
        return f"{number // 10_000}.{number % 10_000}"

    def insert(self, count: int, batch: int) -> float:
        began = time.perf_counter()
        for start in range(0, count, batch):
            rows = [_PAYLOAD] * min(batch, count - start)
            self._db.execute(
                "INSERT INTO floor (state, body) SELECT 0, unnest(%s::bytea[])", (rows,)
            )
        return count / (time.perf_counter() - began)

    def take(self, limit: int) -> int:
        found = self._db.execute(
            "UPDATE floor SET state = 1 WHERE id IN (SELECT id FROM floor WHERE state = 0"
            " ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING id, body",
            (limit,),
        ).fetchall()
        self._taken = [row[0] for row in found]
        return len(found)

    def finish(self) -> None:
        self._db.execute(
            "UPDATE floor SET state = 2, result = %s WHERE id = ANY(%s)", (_RESULT, self._taken)
        )

    def close(self) -> None:
        self._db.close()
