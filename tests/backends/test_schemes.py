"""What a URL needs besides treadle is named when it is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from treadle import backends

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
    "url", ["redis://localhost", "postgresql:///app", "sqlite:///jobs.db", "amqp://localhost"]
)
def test_a_number_in_the_url_counts_for_that_backend(url: str) -> None:
    """Settings, which an app always gives, are for those that do not say."""
    module = import_module(backends.SCHEMES[url.partition(":")[0]]).__name__
    parse = import_module(f"{module}.address").parse
    assert parse(f"{url}?max_failed=7", max_failed=10_000).max_failed == 7
    assert parse(url, max_failed=5).max_failed == 5


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
