"""What there is to say of the database."""

from __future__ import annotations

from typing import Any

from treadle.backends.postgres.reading import Reading

__all__ = ["probe"]


async def probe(reading: Reading) -> dict[str, Any]:
    """Facts that can be read."""
    server = await reading.one("server")
    meta = {row["key"]: row["value"] for row in await reading.run("meta")}
    return {
        "backend": "postgresql",
        "server": server["version"],
        "schema": meta.get("version"),
        "jobs": (await reading.one("all_jobs"))[0],
        "sessions": len(await reading.run("sessions", reading.now)),
        "bytes": server["bytes"],
        "synchronous_commit": server["synchronous_commit"],
        "fsync": server["fsync"],
        "dead_rows": server["dead_rows"],
        "oldest_snapshot": server["oldest_snapshot"],
        "oldest_snapshot_pid": server["oldest_snapshot_pid"],
        "may_lose": _may_lose(server),
    }


def _may_lose(server: Any) -> str:
    if server["fsync"] == "off":
        return "everything when the power fails: fsync is off"
    if server["synchronous_commit"] in ("off", "local"):
        return "the last moments when the server crashes: synchronous_commit is not on"
    return "nothing that was accepted; a replica that is not synchronous may lag behind"
