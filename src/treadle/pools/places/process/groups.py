"""What calls have started: groups of processes, and the session that they are in."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

__all__ = ["LINUX", "end_group", "end_session"]

LINUX = sys.platform.startswith("linux")
"""Whether it can be seen what is in a session, so that a child may have several groups."""


def end_group(leader: int) -> None:
    """End a group, which may be empty, with its leader, who was not reaped yet."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def end_session(leader: int) -> None:
    """End all groups of a session, whose leader was not reaped yet."""
    end_group(leader)
    for group in _groups_of(leader):
        end_group(group)


def _groups_of(session: int) -> set[int]:
    found: set[int] = set()
    if LINUX:
        for one in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                # The name is in brackets, and may have any.
                _, _, group, its = one.read_text(errors="replace").rpartition(")")[2].split()[:4]
                if int(its) == session:
                    found.add(int(group))
    return found - {session}
