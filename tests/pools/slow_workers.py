"""Workers that start slowly, in a module that a child imports quickly."""

from __future__ import annotations

import os
import time
from pathlib import Path

from treadle import Worker


def _note(file: Path, text: str) -> None:
    with file.open("a") as book:
        book.write(f"{text}\n")


def _noted(file: Path) -> list[str]:
    return file.read_text().splitlines()


class Slow(Worker):
    """Hangs where its file says, until a file says that it need not."""

    def __init__(self, folder: Path, hangs: str = "") -> None:
        self.folder = folder
        self.hangs = hangs
        _note(folder / "notes", "made")
        self._hang("init")

    def start(self) -> None:
        _note(self.folder / "notes", f"start {self.index}")
        self._hang("start")
        self._hang(f"start{self.index}")
        if _noted(self.folder / "notes").count(f"start {self.index}") == 2:
            self._hang("second")

    def stop(self) -> None:
        _note(self.folder / "notes", f"stop {self.index}")

    def echo(self, value: int) -> int:
        return value

    def pid(self) -> int:
        return os.getpid()

    def _hang(self, where: str) -> None:
        while where == self.hangs and not (self.folder / "over").exists():
            time.sleep(0.01)  # noqa: TID251 - code of a user
