"""A small shell that ends a server when the process that started it has ended.

It reads from a pipe that only that process holds: when the process dies, of whatever, the pipe
ends, and the shell kills the server and removes its folder. The signal that a system sends on the
death of a parent would not do: it comes when the *thread* ends that started the child.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["Guardian"]

_SCRIPT = 'trap "" INT TERM HUP; read _; kill -9 "$1" 2>/dev/null; rm -rf -- "$2"'


class Guardian:
    """Watches over one server process for as long as this process lives."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "guardian", str(pid), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """The server has ended."""
        self._shell.kill()
        self._shell.wait()
        if self._shell.stdin is not None:
            self._shell.stdin.close()
