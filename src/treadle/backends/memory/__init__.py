"""Jobs in the memory of the process: for pipelines and tests, and what the others must match."""

from __future__ import annotations

from treadle.backends.memory.client import MemoryBackend
from treadle.backends.memory.registry import connect

__all__ = ["MemoryBackend", "connect"]
