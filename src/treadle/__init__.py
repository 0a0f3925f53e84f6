"""Background jobs and stateful workers: typed, durable, from one process to a fleet."""

from __future__ import annotations

__version__ = "0.1.0"
