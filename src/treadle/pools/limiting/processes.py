"""Which process this is, and whether another one lives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["Identity", "boot", "is_alive", "myself"]

_PROC = Path("/proc")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STATE, _START = 0, 19  # of the words behind the name of the program
_DEAD = ("Z", "X")


class Identity(NamedTuple):
    """A process. Numbers are given anew, so its start belongs to it."""

    pid: int
    # In ticks since the machine was started; 0 where the system does not tell.
    start: int


def myself() -> Identity:
    """This process."""
    pid = os.getpid()
    words = _words(pid)
    return Identity(pid, int(words[_START]) if words else 0)


def is_alive(one: Identity) -> bool:
    """Whether a process still runs; one that has ended and was not waited for does not."""
    if not one.start:
        return _answers(one.pid)
    words = _words(one.pid)
    return bool(words) and words[_STATE] not in _DEAD and int(words[_START]) == one.start


def boot() -> str:
    """What differs each time the machine is started; nothing where the system does not tell."""
    try:
        return _BOOT.read_text("ascii").strip()
    except OSError:
        return ""


def _words(pid: int) -> list[str]:
    try:
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
