"""The examples of the guides in a kernel of IPython, whose event loop runs while a cell does."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(find_spec("ipykernel") is None, reason="there is no kernel of IPython"),
]

SETUP = """
import asyncio
from pathlib import Path
from treadle import *
from treadle.errors import Blocking

app = Treadle("sqlite:///jobs.db")

@app.task(name="word_count", retry=1, timeout=30)
def word_count(text: str) -> int:
    return len(text.split())

@app.task(name="later")
async def later(text: str, ctx: Context = CONTEXT) -> int:
    ctx.progress(1, 1)
    await asyncio.sleep(0)
    return len(text)

class Model(Worker):
    def __init__(self, factor: int):
        self.factor = factor

    def predict(self, text: str) -> float:
        return self.factor * len(text)

class Browser(Worker):
    async def start(self):
        self.visited = []

async def scrape(browser: Browser, url: str) -> str:
    browser.visited.append(url)
    return url.upper()

texts = ["to and fro", "one", "two words"]
asyncio.get_running_loop().is_running()
"""

CELLS = {
    "a call": ("word_count.submit('to and fro').result()", "3"),
    "a coroutine": ("later.submit('four').result(30)", "4"),
    "a call, awaited": ("await word_count.submit('to and fro')", "3"),
    "progress": ("[one.current for one in later.submit('four').progress()]", "[1]"),
    "a map": ("list(word_count.map(texts))", "[3, 1, 2]"),
    "gather with a bar": (
        "gather([word_count.submit(text) for text in texts], progress=True)",
        "[3, 1, 2]",
    ),
    "gather, awaited": ("await agather([word_count.submit(text) for text in texts])", "[3, 1, 2]"),
    "a pool": (
        (
            "with Pool('thread', max_workers=2) as pool:\n"
            "    found = [pool.submit(len, 'four').result(), *pool.map(len, texts)]\n"
            "found"
        ),
        "[4, 10, 3, 9]",
    ),
    "a worker in this process": (
        (
            "with Model.options(mode='thread').init(2) as model:\n"
            "    score = model.call(Model.predict, 'four').result()\n"
            "score"
        ),
        "8",
    ),
    "workers in other processes": (
        (
            "with Model.options(mode='process', max_workers=2, retry=2).init(3) as model:\n"
            "    scores = gather([model.predict(text) for text in texts], progress=True)\n"
            "scores"
        ),
        "[30, 9, 27]",
    ),
    "jobs by blocking verbs": (
        (
            "job = word_count.enqueue('to and fro')\n"
            "many = word_count.enqueue_many([('a',), ('b c',)])\n"
            "str(job.state()), len(many)"
        ),
        "('queued', 2)",
    ),
    "a foreman in the loop of the cell": (
        (
            "async with app.foreman():\n"
            "    counts = [await one.aresult(timeout=60) for one in (job, *many)]\n"
            "counts"
        ),
        "[3, 1, 2]",
    ),
    "the result of a job, later": ("job.result(timeout=10)", "3"),
    "a foreman over workers": (
        (
            "limits = [Rate(600, per=60)]\n"
            "async with Foreman(Browser, max_workers=2, limits=limits, backlog=2) as f:\n"
            "    jobs = [await f.enqueue(scrape, url) for url in ('a', 'b', 'c')]\n"
            "    await f.join()\n"
            "    urls = [await one.aresult() for one in jobs]\n"
            "urls"
        ),
        "['A', 'B', 'C']",
    ),
    "an error": ("word_count.submit(5).result()", "AttributeError"),
    "the end": ("app.close()\n'closed'", "'closed'"),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each cell gave, one kernel for all of them."""
    cells = [SETUP, *(code for code, _ in CELLS.values())]
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("notebook.py"))],
        input=json.dumps(cells),
        cwd=tmp_path_factory.mktemp("notebook"),
        capture_output=True,
        text=True,
        check=False,
        timeout=380,
    )
    said = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(said) == len(cells), ended.stderr
    return dict(zip(["setup", *CELLS], said, strict=True))


def test_the_loop_runs_while_a_cell_does(outcomes: dict[str, Any]) -> None:
    assert outcomes["setup"]["error"] is None
    assert outcomes["setup"]["value"] == "True"


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_gives_what_a_script_would(outcomes: dict[str, Any], cell: str) -> None:
    expected = CELLS[cell][1]
    said = outcomes[cell]
    if said["error"] is not None:
        assert said["error"].startswith(expected), said
        return
    assert said["value"] == expected, said
