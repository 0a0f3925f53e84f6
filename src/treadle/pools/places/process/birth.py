"""What is said between the parent, the helper and a newborn child."""

from __future__ import annotations

import msgspec

__all__ = ["Birth", "Death", "House"]


class House(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all children of a helper."""

    # Where modules are looked for.
    path: list[str]
    # Modules that children find loaded.
    preload: tuple[str, ...] = ()


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is told before anything else."""

    # For messages.
    name: str
    # Where modules are looked for, now.
    path: list[str]
    # The working directory.
    folder: str
    # Variables besides those of the helper.
    env: dict[str, str] = {}
    # Lowest level of log records that are passed on.
    log_level: int = 30
    # Calls that overlap.
    slots: int = 1
    # Each call runs in a fork, which has a group of its own.
    forks: bool = False


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """How a child ended."""

    # The exit status, or a signal as a negative number; ``None`` when nobody knows.
    status: int | None = None
    # The system had no memory left.
    oom: bool = False
    # Why there was no child at all.
    refusal: str = ""

    def __str__(self) -> str:
        if self.refusal:
            return self.refusal
        if self.status is None:
            return "its process has died"
        if self.status >= 0:
            return f"its process ended with exit status {self.status}"
        memory = ", likely for want of memory" if self.oom else ""
        return f"its process was ended by signal {-self.status}{memory}"
