"""Foremen: they claim jobs, run them in places, keep the leases, settle the verdicts."""

from __future__ import annotations

from treadle.foreman.foreman import Foreman
from treadle.foreman.status import QUIT

__all__ = ["QUIT", "Foreman"]
