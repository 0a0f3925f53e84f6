"""Ctrl+C before a command has begun: no traceback of what was being loaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.cli.shell import Shell

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

WHILE_LOADING = """
import os, runpy, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "treadle.cli.root":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
runpy.run_module("treadle", run_name="__main__", alter_sys=True)
"""

# What Python loads first, in the program that `treadle run` turns into.
BEFORE_IT_CAN_HEAR = """
import os, signal

if signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []):
    os.kill(os.getpid(), signal.SIGINT)
"""

WHILE_THE_APP_IS_LOADED = """
import os, signal, sys

if "treadle.cli" not in sys.modules:
    os.kill(os.getpid(), signal.SIGINT)
"""


def ended(shell: Shell, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(shell.directory), *sys.path])
    return subprocess.run(
        [sys.executable, *words],
        cwd=shell.directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_while_the_command_line_is_loaded_it_ends_without_a_word(shell: Shell) -> None:
    result = ended(shell, "-c", WHILE_LOADING)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")


def test_a_foreman_that_cannot_hear_yet_ends_as_soon_as_it_can(shell: Shell) -> None:
    (shell.directory / "sitecustomize.py").write_text(BEFORE_IT_CAN_HEAR)
    result = ended(shell, "-m", "treadle", "run", "tasks:app")
    assert (result.returncode, result.stderr) == (128 + signal.SIGINT, "interrupted\n")


def test_a_foreman_ends_while_it_loads_its_app(shell: Shell) -> None:
    shell.tasks.write_text(WHILE_THE_APP_IS_LOADED + shell.tasks.read_text().lstrip())
    shell.tasks.write_text(
        shell.tasks.read_text().replace("from __future__ import annotations", "")
    )
    result = ended(shell, "-m", "treadle", "run", "tasks:app")
    assert (result.returncode, result.stderr) == (128 + signal.SIGINT, "interrupted\n")
