"""What there is to say of the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from treadle.backends.postgres.reading import Reading
from treadle.durability import Durability

__all__ = ["durability_of", "probe", "survey"]

_LONG = 60.0
"""Seconds for which a transaction may be open before it is said."""
_MANY = 10_000
"""Jobs that may wait to be removed before it is said."""


async def probe(reading: Reading) -> dict[str, Any]:
    """Facts that can be read."""
    server = await reading.one("server")
    sizes = await reading.one("sizes")
    oldest = await reading.one("oldest_snapshot")
    outlived = (await reading.one("outlived", reading.now))[0]
    meta = {row["key"]: row["value"] for row in await reading.run("meta")}
    return {
        **_of_the_server(server, reading.now),
        "schema": meta.get("version"),
        "jobs": (await reading.one("all_jobs"))[0],
        "sessions": len(await reading.run("sessions", reading.now)),
        "bytes": sizes["bytes"],
        "dead_rows": sizes["dead_rows"],
        "oldest_snapshot": None if oldest is None else oldest["age"],
        "oldest_snapshot_pid": None if oldest is None else oldest["pid"],
        "outlived": outlived,
        "findings": [
            *_settings(server, sizes["dead_rows"]),
            *_long(oldest, sizes["dead_rows"]),
            *_left(outlived),
        ],
    }


async def survey(reading: Reading) -> dict[str, Any]:
    """Facts that can be read where there are no tables."""
    server = await reading.one("server")
    return {**_of_the_server(server, reading.now), "findings": list(_settings(server, 0))}


def _of_the_server(server: Any, now: float) -> dict[str, Any]:
    return {
        "backend": "postgresql",
        "server": server["version"],
        "synchronous_commit": server["synchronous_commit"],
        "fsync": server["fsync"],
        "now": now,
        "replicas": server["replicas"],
        "durability": durability_of(server),
        "may_lose": _may_lose(server),
        "advice": "ALTER SYSTEM SET fsync = on"
        if server["fsync"] == "off"
        else "ALTER ROLE … SET synchronous_commit = on, or in postgresql.conf; and no "
        "?durability=normal in the url",
    }


def _long(oldest: Any, dead_rows: int) -> Iterator[dict[str, str]]:
    if oldest is not None and (oldest["seconds"] or 0.0) >= _LONG:
        yield {
            "level": "warn",
            "check": "long transaction",
            "says": f"process {oldest['pid']} of the server has had a transaction open for "
            f"{oldest['seconds']:.0f} s: what was removed since stays in tables and indexes, "
            f"{dead_rows:,} rows so far",
            "action": f"end it: SELECT pg_terminate_backend({oldest['pid']}); and set "
            "idle_in_transaction_session_timeout",
        }


def _left(outlived: int) -> Iterator[dict[str, str]]:
    if outlived >= _MANY:
        yield {
            "level": "warn",
            "check": "retention",
            "says": f"{outlived:,} ended jobs were kept long enough and are not removed yet; "
            "nobody sees them any more",
            "action": "foremen remove them when they have nothing else to do: start one, or more",
        }


def _settings(server: Any, dead_rows: int) -> Iterator[dict[str, str]]:
    if server["isolation"] == "read committed":
        yield {"level": "ok", "check": "isolation", "says": server["isolation"], "action": ""}
    else:
        yield {
            "level": "warn",
            "check": "isolation",
            "says": f"{server['isolation']} by default: steps that meet are tried again",
            "action": "ALTER ROLE … SET default_transaction_isolation = 'read committed'",
        }
    if "off" in (server["autovacuum"], server["track_counts"]):
        yield {
            "level": "warn",
            "check": "autovacuum",
            "says": f"is off, and {dead_rows:,} removed rows stay in tables and indexes",
            "action": "ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET track_counts = on",
        }
    else:
        says = f"on, {dead_rows:,} removed rows to be cleared away"
        yield {"level": "ok", "check": "autovacuum", "says": says, "action": ""}
    if server["full_page_writes"] == "off":
        yield {
            "level": "warn",
            "check": "full_page_writes",
            "says": "is off: a page that was half written when the power fails is damaged for good",
            "action": "ALTER SYSTEM SET full_page_writes = on, unless the file system forbids that",
        }
    if server["replicas"] and not server["standbys"]:
        yield {
            "level": "warn",
            "check": "replicas",
            "says": f"{server['replicas']}, none of them synchronous: what they do not have yet is "
            "lost when one takes over",
            "action": "set synchronous_standby_names",
        }


def durability_of(server: Any) -> Durability:
    """What outlasts what, for what was accepted over a connection with these settings."""
    if server["fsync"] == "off":
        return Durability.MEMORY
    if server["synchronous_commit"] == "off":
        return Durability.NORMAL
    waits = server["standbys"] and server["synchronous_commit"] != "local"
    return Durability.REPLICA if waits else Durability.FULL


def _may_lose(server: Any) -> str:
    if server["fsync"] == "off":
        return "everything when the machine loses power: fsync is off"
    if server["synchronous_commit"] == "off":
        return "the last moments when the server is killed: synchronous_commit is off"
    if not server["replicas"]:
        return "nothing when the server is killed or loses power"
    if server["standbys"] and server["synchronous_commit"] != "local":
        return (
            "nothing when the server is killed or loses power, or a synchronous replica takes over"
        )
    return (
        "nothing when the server is killed or loses power; what replicas lack when one takes over"
    )
