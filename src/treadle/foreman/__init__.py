"""Foremen: they claim jobs, run them in places, keep the leases, settle the verdicts."""

from __future__ import annotations

from treadle.foreman.foreman import QUIT, Foreman

__all__ = ["QUIT", "Foreman"]
