"""The command line in this process, in the directory of a small project."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from typer.testing import CliRunner

from treadle.cli import root
from treadle.config import load
from treadle.core import Core
from treadle.ports import Backend

T = TypeVar("T")

TASKS = """
from __future__ import annotations

from datetime import date
from pathlib import Path

from treadle import Quit, Skip, Treadle

app = Treadle("sqlite:///jobs.db")


@app.task
def add(a: int, b: int = 1) -> int:
    return a + b


@app.task(tags=["people"])
def greet(name: str) -> str:
    return f"Hello, {name}!"


@app.task
def fail(reason: str = "no luck") -> None:
    raise ValueError(reason)


@app.task
def quit() -> None:
    raise Quit("enough")


@app.task
def skip() -> None:
    raise Skip("nothing to do")


@app.task(queue="mail.acme")
def send(to: str) -> None: ...


@app.task
def plan(day: date, files: list[Path]) -> list[str]:
    return [day.isoformat(), *(file.name for file in files)]
"""


class Result:
    """What a command printed and how it ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        """The one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """One JSON document a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """The command line, in the directory of a project."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tasks = directory / "tasks.py"
        self.tasks.write_text(TASKS)
        # For the commands that need a store and no app.
        (directory / "treadle.toml").write_text('url = "sqlite:///jobs.db"\n')

    def __call__(self, *words: str, status: int = 0) -> Result:
        result = self.ended(*words)
        assert result.status == status, result.out + result.err
        return result

    def ended(self, *words: str) -> Result:
        """What it said, whatever its exit status."""
        forget(self.directory)
        result = CliRunner().invoke(root, list(words), prog_name="treadle")
        error = result.exception
        if error is not None and not isinstance(error, SystemExit):
            raise error
        return Result(result.exit_code, result.stdout, result.stderr)

    @contextlib.contextmanager
    def program(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The same as a process of its own, its output piped. It does not outlive the block."""
        process = subprocess.Popen(
            [sys.executable, "-m", "treadle", *words],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"},
        )
        with process:
            try:
                yield process
                process.wait()
            finally:
                process.kill()

    def terminal(self, *words: str, types: str = "", status: int = 0) -> str:
        """What a terminal of 80 columns shows while the command runs and a person types."""
        import pty

        def at_terminal() -> None:
            env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "80"}
            env |= {"TERM": "xterm-256color", "LINES": "24"}
            os.chdir(self.directory)
            os.execve(sys.executable, [sys.executable, "-m", "treadle", *words], env)

        pid, descriptor = pty.fork()
        if pid == 0:
            at_terminal()
        shown = bytearray()
        try:
            if types:
                os.write(descriptor, types.encode())
            with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
                while piece := os.read(descriptor, 4096):
                    shown += piece
        finally:
            os.close(descriptor)
        _, ended = os.waitpid(pid, 0)
        text = shown.decode()
        assert os.waitstatus_to_exitcode(ended) == status, text
        return text

    def refused(self, *words: str, status: int = 2) -> str:
        """What is said of a command that cannot be."""
        result = self(*words, status=status)
        assert "Traceback" not in result.err
        return result.err

    def enqueue(self, *words: str) -> str:
        """The id of a new job of tasks.py."""
        return self("enqueue", "tasks:app", *words).out.strip()

    def drain(self, *words: str, status: int = 0) -> None:
        """Run what there is to run."""
        self("run", "tasks:app", "--burst", "--log-level", "critical", *words, status=status)

    def store(self, work: Callable[[Backend], Coroutine[Any, Any, T]]) -> T:
        """Do something with the store of the project, without the command line."""

        async def run() -> T:
            core = Core(load(url=f"sqlite:///{self.directory}/jobs.db"))
            try:
                return await work(await core.ready())
            finally:
                await core.aclose()

        return asyncio.run(run())


def forget(directory: Path) -> None:
    """Import the modules of a directory anew, as another process would."""
    here = str(directory)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(here):
            del sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if not entry.startswith(here)]
    importlib.invalidate_caches()
