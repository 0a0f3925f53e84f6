"""Treadle works where there is no fcntl, pidfd, Unix socket or fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_memory_and_sqlite_run_jobs_on_a_plain_system() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            str(HERE / "plain_system.py"),
            str(HERE / "plain_system_jobs.py"),
        ],
        cwd=HERE.parent / "src",
        env={"PYTHONPATH": str(HERE.parent / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "served memory" in done.stdout
    assert "served sqlite" in done.stdout
    assert "imported" in done.stdout
