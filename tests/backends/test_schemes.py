"""What a URL needs besides treadle is named when it is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
sys.modules[{package!r}] = None
from treadle import backends
from treadle.clock import SystemClock
from treadle.errors import Unsupported
from treadle.ids import SystemIds
try:
    backends.open({url!r}, clock=SystemClock(), ids=SystemIds())
except Unsupported as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [("redis://localhost", "hiredis", "redis"), ("postgresql:///app", "asyncpg", "postgres")],
)
def test_a_missing_package_is_named_with_what_to_install(
    url: str, package: str, extra: str
) -> None:
    script = SCRIPT.format(url=url, package=package)
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert f"needs {package}" in done.stdout
    assert f"pip install 'treadle[{extra}]'" in done.stdout
