"""Does what a page of the documentation says, in order, in a folder of its own.

``python tests/pages.py PAGE FOLDER``. A fenced block is

- saved, when ``file=tasks.py`` stands after its language, or it begins with ``# tasks.py``;
- ``python`` otherwise: run, all blocks of a page in one namespace, ``await`` allowed;
- ``console``: its lines that begin with ``$`` are run by the shell, and must exit with 0;
- ``sh``: not run, but its ``treadle`` commands must exist, with the options they are given.

``run-first="treadle run tasks:app --burst"`` after the language runs a command before the block.
A comment on the line above a block says what is different about it::

    <!-- not run: needs a mail server -->
    <!-- raises: InvalidCall -->
    <!-- exits: 3 -->
    <!-- in the background -->        the commands run until the end of the page
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

_BLOCK = re.compile(
    r"(?:^[ ]*<!-- (?P<note>[^\n]*?) -->\n\n?)?"
    r"^(?P<indent>[ ]*)(?P<fence>```+)(?P<language>\w+)(?P<info>[^\n]*)\n"
    r"(?P<text>.*?)^(?P=indent)(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"# ([\w./-]+\.\w+)\n")
_COMMAND = re.compile(r"^\$ ((?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)
# How to get the library and its code; the tests have it.
_INSTALLING = ("pip", "python3", "uv", "git", "make", "cd", "source")
_PATIENCE = 60
# Scripts, because the path of an environment may have spaces, and a link would leave it.
_PYTHON = '#!/bin/sh\nexec {python} "$@"\n'
_TREADLE = '#!/bin/sh\nexec {python} -m treadle "$@"\n'


class Block(NamedTuple):
    """A fenced block that something is done with."""

    language: str
    text: str
    # What else stands after the language.
    info: dict[str, str]
    line: int
    note: str

    @property
    def file(self) -> str | None:
        """The name to save it under."""
        found = _FILE.match(self.text)
        return self.info.get("file") or (found[1] if found else None)


class Wrong(Exception):
    """A block does not do what its page says."""


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page that are not marked as not run."""
    for found in _BLOCK.finditer(text):
        note = found["note"] or ""
        if note.startswith("not run: "):
            continue
        body = inspect.cleandoc("\n" + found["text"]) + "\n"
        line = text.count("\n", 0, found.start("fence")) + 1
        pairs = (word.partition("=") for word in shlex.split(found["info"]))
        info = {name: value for name, _, value in pairs}
        yield Block(found["language"], body, info, line, note)


class Reader:
    """Somebody who tries what a page says.

    Args:
        folder: where they work.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        module = sys.modules["page"] = ModuleType("page")
        self.names: dict[str, Any] = module.__dict__
        self.running: list[subprocess.Popen[bytes]] = []
        self.runner = asyncio.Runner()

    def follow(self, page: Path) -> None:
        """Does all of a page, and raises where it goes wrong."""
        try:
            for block in blocks(page.read_text(encoding="utf-8")):
                try:
                    self._do(page, block)
                except BaseException as error:
                    raise Wrong(f"{page}:{block.line}: {error!r}") from error
            self._stop_commands()
        finally:
            for process in self.running:
                process.kill()
                process.wait()
            self.runner.close()

    def _do(self, page: Path, block: Block) -> None:
        if first := block.info.get("run-first"):
            self._run_command(first, "")
        if block.file:
            self._write(block.file, block.text)
        elif block.language == "python":
            self._run_python(page, block)
        elif block.language == "console":
            for command in _COMMAND.findall(block.text):
                if shlex.split(command)[0] not in _INSTALLING:
                    self._run_command(command, block.note)
        elif block.language == "sh":
            for command in block.text.splitlines():
                if command.startswith("treadle "):
                    check_command(command)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.modules.pop(path.stem, None)
        if path.suffix == ".py":
            compile(text, name, "exec")

    def _run_python(self, page: Path, block: Block) -> None:
        expected = block.note.removeprefix("raises: ") if block.note.startswith("raises: ") else ""
        # The line numbers of a traceback are those of the page.
        source = "\n" * block.line + block.text
        code = compile(source, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        try:
            if code.co_flags & inspect.CO_COROUTINE:
                self.runner.run(eval(code, self.names))
            else:
                exec(code, self.names)
        except Exception as error:
            if not expected or expected not in (type(error).__name__, ""):
                raise
        else:
            if expected:
                raise Wrong(f"nothing raised {expected}")

    def _run_command(self, command: str, note: str) -> None:
        print("$", command, flush=True)
        if note == "in the background":
            process = subprocess.Popen(["/bin/sh", "-c", "exec " + command], cwd=self.folder)
            self.running.append(process)
            return
        expected = int(note.removeprefix("exits: ")) if note.startswith("exits: ") else 0
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
        )
        if done.returncode != expected:
            raise Wrong(f"`{command}` exits with {done.returncode}, not {expected}")

    def _stop_commands(self) -> None:
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            if code := process.wait(_PATIENCE):
                raise Wrong(f"a command in the background exits with {code}")


def check_command(command: str) -> None:
    """Refuses a ``treadle`` command that does not exist, or has not the options it is given."""
    from typer import Context
    from typer.main import get_command

    from treadle.cli import root

    found: Any = get_command(root)
    options: set[str] = set()
    for word in shlex.split(command, comments=True)[1:]:
        if word.startswith("-"):
            name = word.partition("=")[0]
            if name not in options:
                raise Wrong(f"`{command}`: no option {name}; there are {sorted(options)}")
        elif hasattr(found, "get_command"):
            inner = found.get_command(Context(found), word)
            if inner is None:
                raise Wrong(f"`{command}`: no command {word}")
            found = inner
            options = {name for parameter in found.params for name in parameter.opts}
            options |= {name for parameter in found.params for name in parameter.secondary_opts}


def main(page: str, folder: str) -> int:
    """Follow one page."""
    here = Path(folder).resolve()
    commands = here / "bin"
    commands.mkdir(parents=True)
    for name, script in (("python", _PYTHON), ("treadle", _TREADLE)):
        (commands / name).write_text(script.format(python=shlex.quote(sys.executable)))
        (commands / name).chmod(0o755)
    os.environ["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
    path = Path(page).resolve()
    os.chdir(here)
    sys.path.insert(0, str(here))
    try:
        Reader(here).follow(path)
    except Wrong:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
