"""Foremen over workers: jobs in memory for stateful workers of this process."""

from __future__ import annotations

from treadle.stateful.foreman import Foreman

__all__ = ["Foreman"]
