"""How much memory this process uses."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["resident_bytes", "resident_bytes_of"]

_STATM = "/proc/self/statm"


def resident_bytes() -> int:
    """Memory of this process that is in RAM now, in bytes; its peak where only that is known."""
    try:
        # Opened each time: of a fork it is another file.
        with open(_STATM, "rb", buffering=0) as statm:  # noqa: PTH123 - after each call of a child
            return int(statm.read(256).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        pass
    try:
        import resource
    except ImportError:  # not a Unix
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes_of(pid: int) -> int | None:
    """Memory of another process that is in RAM now, in bytes, where the system tells."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has ended, or this is not Linux
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
