"""Where the programs of servers are, and getting those that are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

__all__ = ["ServerMissing", "find_binary"]

# Where programs are that are on no path, with the newest version first.
_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/lib/rabbitmq/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/opt/homebrew/sbin",
)
_INSTALL_SECONDS = 300


class ServerMissing(RuntimeError):
    """The program of a server is not on this machine."""


def find_binary(names: Sequence[str], *, package: str, skip: Sequence[str] = ()) -> str:
    """The path of the first of these programs that there is.

    On a system with apt, root has it installed when there is none.

    Args:
        names: of the program, the preferred one first.
        package: of the system that has it.
        skip: folders whose programs of this name are something else.

    Raises:
        ServerMissing: there is none, and none could be installed.
    """
    for attempt in (1, 2):
        for name in names:
            for path in _candidates(name):
                if str(path.parent) not in skip:
                    return str(path)
        if attempt == 1 and not _installed(package):
            break
    raise ServerMissing(
        f"no program {' or '.join(names)} on this machine; install the package {package}"
    )


def _candidates(name: str) -> Iterator[Path]:
    for pattern in _FOLDERS:
        base = Path(pattern)
        found = base.parent.parent.glob(f"{base.parent.name}/{base.name}") if "*" in pattern else ()
        for folder in sorted(found, key=_version, reverse=True) or [base]:
            if os.access(folder / name, os.X_OK):
                yield folder / name
    if found_on_path := shutil.which(name):
        yield Path(found_on_path)


def _version(folder: Path) -> int:
    digits = "".join(filter(str.isdigit, folder.parent.name))
    return int(digits or 0)


@cache
def _installed(package: str) -> bool:
    """Whether apt has just installed it; asked once a process."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return False
    # The package must not start a server of its own beside ours.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = [apt, "install", "-y", "--no-install-recommends", package]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            check=False,
            timeout=_INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
