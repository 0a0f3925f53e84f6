"""Background jobs and stateful workers: typed, durable, from one process to a fleet."""

from __future__ import annotations

from treadle.version import __version__

__all__ = ["__version__"]
