"""What there is to say of the database."""

from __future__ import annotations

import os
from typing import Any

from treadle.backends.sqlite.tx import Reading

__all__ = ["probe"]


def probe(reading: Reading) -> dict[str, Any]:
    """Facts that can be read."""
    path = reading.execute("PRAGMA database_list").fetchone()[2]
    sizes = {
        name: os.path.getsize(path + suffix)
        for name, suffix in (("bytes", ""), ("log_bytes", "-wal"))
        if os.path.exists(path + suffix)
    }
    return {
        "schema": reading.one("schema_version")[0],
        "jobs": reading.one("all_jobs")[0],
        "sessions": len(reading.run("sessions", reading.now).fetchall()),
        "may_lose": "nothing at a crash of a process; at a power loss nothing with durability=full, "
        "the last moments with durability=normal",
        **sizes,
    }
