"""One measured figure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What was measured, and how."""

    what: str
    value: float
    unit: str
    how: str = ""
