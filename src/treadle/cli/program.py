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
    """``treadle`` where a shell finds this one under that name, else the way to it."""
    script = next(
        (one for one in Path(sys.executable).parent.glob("treadle*") if one.stem == "treadle"), None
    )
    if script is None:
        return [sys.executable, "-m", "treadle"]
    found = shutil.which("treadle")
    if found is not None and Path(found).resolve() == script.resolve():
        return ["treadle"]
    here = Path.cwd()
    return [str(script.relative_to(here) if script.is_relative_to(here) else script)]
