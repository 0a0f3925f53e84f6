"""Locks that all processes of an app share: ``app.lock("reports")``."""

from __future__ import annotations

from treadle.locks.lock import Lock

__all__ = ["Lock"]
