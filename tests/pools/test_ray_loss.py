"""A machine of Ray that is lost: what ran there ends with an error, and nobody waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

# Not marked as one of Ray: it has a cluster of its own, in a process of its own.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]


def test_a_call_whose_raylet_is_killed_ends_with_an_error(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("raylet_loss.py"))],
        cwd=tmp_path,
        env={name: text for name, text in os.environ.items() if not name.startswith("RAY_")},
        capture_output=True,
        text=True,
        check=False,
        timeout=220,
    )
    assert "ended: WorkerCrashed" in ended.stdout, ended.stderr[-2000:]
