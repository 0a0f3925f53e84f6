"""What each process has of its own, behind an object that goes along when a process is forked."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["OfProcess"]

S = TypeVar("S")


class OfProcess(Generic[S]):
    """Made when it is first asked for, and once for a process, whichever threads ask.

    Args:
        make: makes it.
        abandon: is given that of the parent, in a forked child.
    """

    def __init__(self, make: Callable[[], S], abandon: Callable[[S], None]) -> None:
        self._make = make
        self._abandon = abandon
        # In one, so that nobody takes one for that of another process.
        self._made: tuple[int, S] | None = None

    def get(self) -> S:
        """That of this process."""
        made = self._made
        if made is not None and made[0] == os.getpid():
            return made[1]
        with _making:
            made = self._made
            if made is not None and made[0] != os.getpid():
                self._abandon(made[1])
                made = None
            if made is None:
                made = self._made = os.getpid(), self._make()
            return made[1]

    def known(self) -> S | None:
        """That of this process, if it was asked for before."""
        made = self._made
        return made[1] if made is not None and made[0] == os.getpid() else None


_making = threading.Lock()


def _after_fork() -> None:
    global _making
    # A thread of the parent may have held it.
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
