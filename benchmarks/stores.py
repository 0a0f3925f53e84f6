"""The stores that are measured, each empty and in a folder of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["MEMORY", "SQLITE", "SQLITE_NORMAL", "STORES", "Place", "notes_of", "place"]

MEMORY, SQLITE, SQLITE_NORMAL = "memory", "sqlite full", "sqlite normal"
STORES = (MEMORY, SQLITE, SQLITE_NORMAL)
_DURABILITIES = {
    MEMORY: "nothing outlives the process; the peer's memory storage, too",
    SQLITE: "each commit reaches the disk (fsync), the product's default; the peer with fsync=True",
    SQLITE_NORMAL: "commits outlive the process, not a power cut; the peer with fsync=False",
}


def notes_of() -> list[str]:
    """What each store keeps, for a reader of figures."""
    return [f"*{store}*: {said}." for store, said in _DURABILITIES.items()]


class Place:
    """Where one measurement keeps its files."""

    def __init__(self, store: str, folder: Path, url: str | None = None) -> None:
        self.store = store
        self.folder = folder
        self.stamps = folder / "stamps"
        durability = store.rpartition(" ")[2]
        sqlite = f"sqlite:///{folder}/jobs.db?durability={durability}"
        self.url = url or ("memory://" if store == MEMORY else sqlite)

    @property
    def synchronous(self) -> str:
        """The same durability in SQLite's word."""
        return "NORMAL" if self.store == SQLITE_NORMAL else "FULL"


@contextmanager
def place(store: str) -> Iterator[Place]:
    """A place that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        yield Place(store, Path(folder))
