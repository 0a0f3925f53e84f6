"""What there is to say of the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from treadle.backends.sqlite.tx import Reading

__all__ = ["probe"]


def probe(reading: Reading) -> dict[str, Any]:
    """Facts that can be read."""
    path = reading.execute("PRAGMA database_list").fetchone()[2]
    sizes = {
        name: Path(path + suffix).stat().st_size
        for name, suffix in (("bytes", ""), ("log_bytes", "-wal"))
        if Path(path + suffix).exists()
    }
    return {
        "schema": reading.one("schema_version")[0],
        "jobs": reading.one("all_jobs")[0],
        "sessions": len(reading.run("sessions", reading.now).fetchall()),
        "may_lose": "nothing when a process dies; when the power fails nothing with "
        "durability=full, the last moments with durability=normal",
        **sizes,
    }
