"""A project in a directory of its own, and the command line on it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import Shell, forget


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    directory = tmp_path / "my project"
    (directory / ".git").mkdir(parents=True)
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for variable in ("TREADLE_URL", "TREADLE_APP", "TREADLE_NAMESPACE", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield Shell(directory)
    logger.handlers[:] = handlers
    logger.setLevel(level)
    forget(directory)
