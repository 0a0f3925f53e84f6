"""The peers, each in an environment of its own, so that nothing of them is in ours.

The environments are made once under ``.cache``. Where a peer cannot be installed, its column stays
empty, and a note below the table says so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.stores import MEMORY, SQLITE, Place

__all__ = ["PEER", "Peer", "measure"]

CACHE = Path(__file__).parent.parent / ".cache" / "bench"
_SECONDS = 600.0
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_NEWEST = Path(__file__).parent.parent / "tools" / "find_python.sh"


class Peer:
    """A program that needs something else installed.

    Args:
        name: of its column.
        requirements: what is installed, with versions; the first one is the peer itself.
        program: prints what it measured as JSON.
        words: the program's first arguments; what is asked comes after them.
        promise: what it does with its defaults, where that is not what we do.
        least: the oldest Python that it runs on; with an older one the newest of this machine is
            taken.
    """

    def __init__(
        self,
        name: str,
        requirements: Sequence[str],
        program: Path,
        *,
        words: Sequence[str] = (),
        promise: str = "",
        least: tuple[int, int] = (3, 11),
    ) -> None:
        self.name = name
        self.requirements = tuple(requirements)
        self.program = program
        self._words = tuple(words)
        self._promise = promise
        self._least = least
        self._missing = False
        self._failed: list[str] = []

    def ask(self, asked: dict[str, Any], environment: Mapping[str, str] | None = None) -> Any:
        """What it does, or ``None`` without it."""
        python = self._python()
        if python is None:
            return None
        # With a session of its own, so that all that it starts can be ended with it.
        program = subprocess.Popen(
            [python, self.program, *self._words, json.dumps(asked)],
            env={**os.environ, **(environment or {})}, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            out, said = program.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            out, said = "", f"no answer in {_SECONDS:.0f} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()
        if program.returncode or not out:
            print(f"{self.name} failed at {asked}:\n{said}", file=sys.stderr, flush=True)
            self._failed.append(str(asked["part"]) if "part" in asked else "some of it")
            return None
        return json.loads(out.splitlines()[-1])

    def beside(self, value: float | None) -> dict[str, float | None]:
        """What a figure has of it."""
        return {self.name: value}

    def note(self) -> str:
        """What a reader has to know of it."""
        text = f"**{self.requirements[0].replace('==', ' ')}**"
        text += f": {self._promise}." if self._promise else "."
        if self._missing:
            text += f" It could not be installed on Python {_PYTHON} here: its column is empty."
        if self._failed:
            text += f" It failed at {', '.join(sorted(set(self._failed)))}: there it is empty."
        return text

    def _python(self) -> Path | None:
        """The interpreter of its environment."""
        wanted = " ".join(self.requirements)
        home = CACHE / f"{wanted.replace('==', '-').replace(' ', '+')}-{_PYTHON}"
        python, ready = home / "bin" / "python", home / ".ready"
        if self._missing or ready.exists():
            return None if self._missing else python
        print(f"installing {wanted} into {home} …", file=sys.stderr, flush=True)
        if not (self._made(home) and self._install(python)):
            print(f"{wanted} could not be installed: its column stays empty", file=sys.stderr)
            self._missing = True
            return None
        ready.touch()
        return python

    def _made(self, home: Path) -> bool:
        if sys.version_info >= self._least:
            venv.create(home, with_pip=True, clear=True)
            return True
        found = subprocess.run([_NEWEST, "newest"], check=False, capture_output=True, text=True)
        line = [found.stdout.strip(), "-m", "venv", "--clear", str(home)]
        return found.returncode == 0 and subprocess.run(line, check=False).returncode == 0

    def _install(self, python: Path) -> bool:
        line = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        return subprocess.run([*line, *self.requirements], check=False).returncode == 0


PEER = Peer(
    "huey",
    ["huey==3.5.4"],
    Path(__file__).with_name("peer_program.py"),
    promise="at most once, in the configuration in which it is fastest",
)
"""The fastest Python queue on SQLite that we know, in its best configuration."""


def measure(part: str, place: Place, **details: Any) -> Any:
    """What the peer does in one part, or ``None`` without it."""
    asked = {
        "part": part,
        "file": None if place.store == MEMORY else str(place.folder / "peer.db"),
        "stamps": str(place.folder / "peer.stamps"),
        "fsync": place.store == SQLITE,
        **details,
    }
    return PEER.ask(asked)
