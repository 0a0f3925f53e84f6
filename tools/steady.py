"""Runs pytest, and tells tests that fail from tests that are unsteady.

``python tools/steady.py ARGS-OF-PYTEST...``. Tests that kill servers and freeze processes depend on
how busy a machine is. When a few of very many fail, each of them is run by itself, on a machine
that does nothing else, several times over. What fails once more fails the run. What never does is
listed as unsteady: that is a defect to be mended too, but not one of the change that was tested.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

FEW = 5
"""With more failures than that, nothing is called unsteady."""
TIMES = 3
"""How often each of them has to pass."""


class Failures:
    """The tests of a run that did not pass, setting up and tidying included."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called for each part of each test, with xdist in the process that prints."""
        if report.failed:
            self.names[report.nodeid] = None


def unsteady(names: Sequence[str]) -> bool:
    """Whether each of these tests passes by itself, as often as it is asked to."""
    for name in names:
        for _ in range(TIMES):
            print(f"\n=== by itself: {name}", flush=True)
            command = [sys.executable, "-m", "pytest", "-q", name]
            if subprocess.run(command, check=False).returncode != 0:
                return False
    return True


def main(args: Sequence[str]) -> int:
    """The status of the run."""
    failures = Failures()
    status = int(pytest.main([*args], plugins=[failures]))
    names = list(failures.names)
    if status != pytest.ExitCode.TESTS_FAILED or not 0 < len(names) <= FEW or not unsteady(names):
        return status
    print(f"\n=== unsteady: failed once, and passed by itself {TIMES} times; to be mended")
    for name in names:
        print(f"UNSTEADY {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
