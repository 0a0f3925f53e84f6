"""Starting again when a file changes, for ``treadle dev``."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from treadle.clock import Clock

__all__ = ["Reloader", "restart", "watched_files"]

_EVERY = 0.5
_ENDINGS = (".py", ".toml")
_SKIPPED = {"__pycache__", "node_modules", "site-packages", "build", "dist"}
_MANY = 2000


class Reloader:
    """Watches the files of a program in a thread, and says when one changed.

    ``watchfiles`` does it where it is installed; else the times of the files are compared
    twice a second.

    Args:
        clock: paces the comparison.
        changed: called once, in the thread, with the file that changed.
    """

    def __init__(self, clock: Clock, changed: Callable[[Path], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._stop = threading.Event()
        # Read before the program is imported, so that no change is missed.
        self._since = clock.now()
        self._times = _times(watched_files())
        self._thread = threading.Thread(target=self._watch, name="treadle-reload", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def wait(self) -> None:
        """Watch in this thread until a file changes."""
        self._watch()

    def stop(self) -> None:
        """Watch no more."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        wait = self._notified() or self._paced
        while not self._stop.is_set():
            wait()
            path = self._look()
            if path is not None and not self._stop.is_set():
                self._changed(path)
                return

    def _look(self) -> Path | None:
        """A file that is not as it was."""
        now = _times(watched_files())
        for path in sorted(now.keys() | self._times.keys()):
            before, after = self._times.get(path), now.get(path)
            just_imported = before is None and after is not None and after <= self._since
            if before != after and not just_imported:
                return path
        self._times = now
        return None

    def _paced(self) -> None:
        self._clock.wait(self._stop, _EVERY)

    def _notified(self) -> Callable[[], object] | None:
        try:
            watch: Any = importlib.import_module("watchfiles").watch
        except ImportError:
            return None
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        changes: Iterator[object] = watch(
            Path.cwd(),
            # Logs and stores in the directory change all the time.
            watch_filter=_is_source,
            stop_event=self._stop,
            raise_interrupt=False,
            yield_on_timeout=True,
        )
        return lambda: next(changes, None)


def _is_source(change: object, path: str) -> bool:
    return path.endswith(_ENDINGS)


def watched_files() -> set[Path]:
    """The files of the program.

    What it has imported, except installed packages, and the Python and TOML files below the
    working directory.
    """
    files = {
        Path(file)
        for module in list(sys.modules.values())
        if (file := getattr(module, "__file__", None)) and not _installed(file)
    }
    return files | _below(Path.cwd())


def _installed(file: str) -> bool:
    return file.startswith((sys.prefix, sys.base_prefix)) or "site-packages" in file


def _below(directory: Path) -> set[Path]:
    found: set[Path] = set()
    for place, folders, names in os.walk(directory):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _SKIPPED
            and not Path(place, name, "pyvenv.cfg").exists()
        ]
        found |= {Path(place, name) for name in names if name.endswith(_ENDINGS) and name[0] != "."}
        if len(found) > _MANY:
            return found
    return found


def _times(files: set[Path]) -> dict[Path, float]:
    times: dict[Path, float] = {}
    for path in files:
        # Editors replace files by moving them: one may be gone for a moment.
        with contextlib.suppress(OSError):
            times[path] = path.stat().st_mtime
    return times


def restart() -> None:
    """Begin this program anew, in this process, with the same arguments."""
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", "treadle", *sys.argv[1:]]
    if os.name == "nt":  # where exec gives the terminal back to the shell
        import subprocess

        sys.exit(subprocess.call(command))
    os.execv(sys.executable, command)
