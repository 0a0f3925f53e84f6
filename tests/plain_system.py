"""Hides what only some systems have, before anything is imported, then runs a module.

``python tests/plain_system.py MODULE``: without fcntl, pidfd, Unix sockets and fork.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from typing import Any

MODULES = ("fcntl", "grp", "pwd", "resource", "termios")
OS_NAMES = (
    "fork",
    "forkpty",
    "register_at_fork",
    "pidfd_open",
    "posix_spawn",
    "eventfd",
    "memfd_create",
)


class _Hidden(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> None:
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def hide() -> None:
    """From now on this is a plain system."""
    make_pair, unix = socket.socketpair, socket.AF_UNIX

    def socketpair(*args: Any, **options: Any) -> tuple[socket.socket, socket.socket]:
        # The event loop wakes itself through a pair; it needs one of some kind.
        return make_pair(*(args or (unix,)), **options)

    socket.socketpair = socketpair  # type: ignore[assignment]
    del socket.AF_UNIX
    for name in OS_NAMES:
        if hasattr(os, name):
            delattr(os, name)
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Hidden())


if __name__ == "__main__":
    hide()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
