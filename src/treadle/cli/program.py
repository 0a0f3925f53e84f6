"""How this program is called, so that the commands it prints work where they are pasted."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["command"]


def command(*words: str) -> str:
    """A command line of this program, quoted for a shell."""
    return shlex.join([*_name(), *words])


def _name() -> list[str]:
    """``treadle`` where that is this program, else the way it was started."""
    mine = Path(sys.argv[0])
    found = shutil.which("treadle")
    if found is not None and Path(found).resolve().parent == Path(sys.executable).parent:
        return ["treadle"]
    if mine.name in {"treadle", "treadle.exe"} and mine.exists():
        if found is not None and Path(found).resolve() == mine.resolve():
            return ["treadle"]
        try:
            return [str(mine.absolute().relative_to(Path.cwd()))]
        except ValueError:
            return [str(mine.absolute())]
    return [sys.executable, "-m", "treadle"]
