"""What the process of ``treadle run`` has loaded while it waits for jobs, and what it weighs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.cli.shell import Shell

TASKS = """
import sys
from pathlib import Path

from treadle import Treadle

app = Treadle("sqlite:///jobs.db")


@app.task
async def loaded() -> list[str]:
    return sorted(sys.modules)


@app.task
async def resident() -> int:
    said = Path("/proc/self/status").read_text("ascii").partition("VmRSS:")[2]
    return int(said.split()[0])
"""

FLOOR = "import asyncio, json, sqlite3, msgspec, sys; json.dump(sorted(sys.modules), sys.stdout)"
"""What there is without Treadle: the language, an event loop, a database, the records."""

NEEDED = {
    *("bisect", "concurrent", "copy", "dataclasses", "difflib", "fnmatch", "hashlib", "hmac"),
    *("importlib", "ipaddress", "json", "mmap", "ntpath", "pathlib", "pkgutil", "queue"),
    *("random", "runpy", "shlex", "tasks", "tomllib", "treadle", "urllib"),
}
"""What may come on top. A name more is memory that every foreman pays for: is it needed by one that
waits? If not, import it where it is used."""

ELSEWHERE = (
    "treadle.backends.memory",
    "treadle.backends.postgres",
    "treadle.backends.rabbitmq",
    "treadle.backends.redis",
    "treadle.cli",
    "treadle.demo",
    "treadle.eager",
    "treadle.foreman.jobhost",
    "treadle.foreman.supervisor",
    "treadle.locks",
    "treadle.pools.limiting.region",
    "treadle.pools.limiting.shared",
    "treadle.pools.limiting.tables",
    "treadle.pools.places.process",
    "treadle.pools.places.ray",
    "treadle.pools.sites.elsewhere",
    "treadle.spool",
    "treadle.stateful",
    "treadle.testing",
)
"""What only other programs need, or foremen of other tasks."""


def told(shell: Shell, task: str, *options: str) -> object:
    """What a job of a foreman says of its process."""
    shell.tasks.write_text(TASKS)
    with shell.program("run", "tasks:app", *options) as process:
        said = json.loads(shell("enqueue", "tasks:app", task, "--wait").out)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    return said


@pytest.mark.skipif(os.name != "posix", reason="elsewhere it stays the program that it was")
def test_a_foreman_that_waits_has_loaded_no_more_than_it_needs(shell: Shell) -> None:
    floor = subprocess.run([sys.executable, "-c", FLOOR], capture_output=True, check=True).stdout
    said = told(shell, "loaded")
    assert isinstance(said, list)
    loaded = set(map(str, said)) - set(json.loads(floor))
    public = {name.partition(".")[0] for name in loaded if not name.startswith("_")}
    assert public - NEEDED == set()
    assert [name for name in sorted(loaded) if name.startswith(ELSEWHERE)] == []


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells it in this way")
@pytest.mark.parametrize("options", [(), ("--processes", "1", "--max-jobs", "1000")])
def test_a_foreman_that_waits_weighs_less_than_40_mib(
    shell: Shell, options: tuple[str, ...]
) -> None:
    kibibytes = told(shell, "resident", *options)
    assert isinstance(kibibytes, int)
    assert 10 << 10 < kibibytes < 40 << 10
