"""A module with tasks that foreman processes load, and what its jobs did."""

from __future__ import annotations

import importlib
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from treadle import Treadle
from treadle.clock import SystemClock
from treadle.foreman.supervisor import Supervisor

NAME = "shop_for_foremen"
MODULE = '''
from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from treadle import CONTEXT, Context, Quit, Retry, Treadle, backoff
from treadle.failpoints import active

HERE = Path(__file__).parent
app = Treadle(f"sqlite:///{HERE}/jobs.db")


def arm() -> None:
    """In the first foreman process only: the others have to clear up after it."""
    point = os.environ.get("SHOP_POINT", "")
    main = getattr(sys.modules["__main__"], "__file__", None) or ""
    if not point or Path(main).name != "child.py":
        return
    try:
        os.close(os.open(HERE / "armed", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    name, _, rule = point.partition("=")
    armed.enter_context(active({name: rule}))


armed = ExitStack()
arm()


def mark(name: str) -> None:
    with (HERE / "ledger").open("a") as ledger:
        ledger.write(f"{name} {os.getpid()}\\n")


@app.task
async def add(a: int, b: int, ctx: Context = CONTEXT) -> int:
    mark(ctx.job_id)
    return a + b


@app.task
def add_in_thread(a: int, b: int, ctx: Context = CONTEXT) -> int:
    mark(ctx.job_id)
    return a + b


@app.task(retry=Retry(2, backoff=backoff.fixed(0, jitter=False)))
async def again(ctx: Context = CONTEXT) -> int:
    mark(ctx.job_id)
    if ctx.tries == 0:
        raise ValueError("the first time")
    return ctx.tries


@app.task
async def linger(ctx: Context = CONTEXT) -> int:
    """Does not end while its first foreman lives."""
    mark(ctx.job_id)
    if ctx.fence == 1:
        await asyncio.Event().wait()
    return ctx.fence


@app.task
def die_once(ctx: Context = CONTEXT) -> int:
    mark("die")
    if ctx.crashes == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return ctx.attempt


@app.task
def pill() -> None:
    mark("pill")
    os.kill(os.getpid(), signal.SIGKILL)


def deadly() -> int:
    mark("deadly")
    os.kill(os.getpid(), signal.SIGKILL)
    return 1


@app.task
def wait(ctx: Context = CONTEXT) -> str:
    mark("wait")
    while not ctx.stopping:
        ctx.check()
    return "told"


@app.task
async def leave() -> None:
    raise Quit("enough")
'''


class Shop:
    """The module, loaded here as well, in a folder of its own."""

    def __init__(self, folder: Path, module: Any) -> None:
        self.folder = folder
        self.module = module
        self.app: Treadle = module.app

    @classmethod
    def open(cls, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
        (folder / f"{NAME}.py").write_text(MODULE)
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(folder)
        sys.modules.pop(NAME, None)
        return cls(folder, importlib.import_module(NAME))

    def supervisor(self, **options: Any) -> Supervisor:
        options = {"processes": 2, "log_level": "warning", **options}
        return Supervisor(self.app.core, f"{NAME}:app", **options)

    def ledger(self) -> list[tuple[str, int]]:
        """What started, and in which process."""
        file = self.folder / "ledger"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(name, int(pid)) for name, pid in (line.split() for line in lines)]

    def starts(self) -> Counter[str]:
        """How often each job has started."""
        return Counter(name for name, _ in self.ledger())


async def pause() -> None:
    """Let another process go on: it has no way to tell us when it has."""
    await SystemClock().sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
