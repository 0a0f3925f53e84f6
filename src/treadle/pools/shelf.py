"""What calls of one place leave for the next ones."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Closing", "Shelf"]


class Closing(Protocol):
    """What is left."""

    async def aclose(self) -> None:
        """Let go of it."""
        ...


class Shelf:
    """Lives in a place of plain functions as a worker does, and keeps what outlives their calls."""

    def __init__(self) -> None:
        self.kept: dict[str, Closing] = {}

    def stop(self) -> Any:
        """Let go of everything, the last first."""
        return self._emptied() if self.kept else None

    async def _emptied(self) -> None:
        while self.kept:
            await self.kept.popitem()[1].aclose()
