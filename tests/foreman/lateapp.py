"""An app whose tasks are in a module that is imported late."""

from __future__ import annotations

from treadle import Treadle

app = Treadle("memory://")
