"""Gates at which code of a worker waits, wherever it runs."""

from __future__ import annotations

import os
from pathlib import Path


class Gate:
    """Two named pipes: one says that somebody is there, the other lets them go on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        os.mkfifo(folder / "here")
        os.mkfifo(folder / "go")

    def entered(self) -> None:
        """Return as soon as somebody waits at the gate."""
        (self.folder / "here").read_bytes()

    def open(self) -> None:
        """Let those go on who wait."""
        (self.folder / "go").write_bytes(b"")


def wait_at(folder: Path) -> str:
    """What the code of a worker calls: it returns when the gate is opened."""
    (folder / "here").write_bytes(b"")
    (folder / "go").read_bytes()
    return "through"


def note(file: Path, text: str) -> None:
    """Write a line that the test can read, wherever the code runs."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(f"{text}\n")


def notes(file: Path) -> list[str]:
    """The lines so far."""
    return file.read_text("utf-8").splitlines() if file.exists() else []
