"""A few tasks of the usual kinds."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from treadle import Treadle


class Orders(Exception):
    """An error with a class that the reader may know."""


def declare(app: Treadle) -> Any:
    """Tasks of the usual kinds."""

    class Tasks:
        @staticmethod
        @app.task(name="shop.add")
        async def add(a: int, b: int = 2) -> int:
            return a + b

        @staticmethod
        @app.task(name="shop.plain")
        def plain(path: Path, when: datetime | None = None) -> tuple[Path, datetime | None]:
            return path / "x", when

        @staticmethod
        @app.task(name="shop.fail", errors=[Orders])
        async def fail(known: bool) -> None:
            if known:
                raise Orders("sold out")
            raise ValueError("bad number")

        @staticmethod
        @app.task(name="shop.nothing")
        async def nothing() -> None: ...

    return Tasks
