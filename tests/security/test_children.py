"""What a foreman process under a supervisor is given: its orders, and nothing by accident."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.cli.shell import Shell

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="looks at processes through /proc"
)

TASKS = """
from __future__ import annotations

import json
import os
from pathlib import Path

from treadle import Treadle

app = Treadle("sqlite:///elsewhere.db")


@app.task
def look() -> None:
    here = Path("/proc/self")
    opened = {}
    for one in (here / "fd").iterdir():
        try:
            opened[one.name] = os.readlink(one)
        except OSError:
            continue  # the listing itself
    seen = {
        "command": (here / "cmdline").read_bytes().decode().split("\\0"),
        "environment": dict(os.environ),
        "files": opened,
        "input": os.read(0, 100).decode(),
    }
    Path("seen.json").write_text(json.dumps(seen))
"""


def test_a_child_has_its_orders_from_a_pipe_and_no_file_of_its_parent(
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shell.tasks.write_text(TASKS)
    url = "sqlite:///jobs.db?patience=7"
    monkeypatch.setenv("HOUSE", "kept: tasks need the environment of their program")
    shell("enqueue", "tasks:app", "look", "--url", url)
    private = shell.directory / "private.txt"
    with private.open("w") as held:
        os.set_inheritable(held.fileno(), False)
        words = ["run", "tasks:app", "--burst", "--processes", "2", "--url", url]
        with shell.program(*words) as process:
            process.communicate()
        assert process.returncode == 0
    seen = json.loads((shell.directory / "seen.json").read_text())
    assert seen["command"][:3] == [sys.executable, "-m", "treadle.foreman.child"]
    assert url not in " ".join(seen["command"])
    assert not any(url in value for value in seen["environment"].values())
    assert seen["environment"]["HOUSE"].startswith("kept")
    assert seen["input"] == ""
    assert not any("private.txt" in file for file in seen["files"].values())
    regular = {name for name, file in seen["files"].items() if file.startswith("/")}
    ours = {"jobs.db", "dev/null", "random", "treadle-"}
    for name in regular:
        file = seen["files"][name]
        assert any(part in file for part in ours), file
