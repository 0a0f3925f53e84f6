"""Workers that note what becomes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from treadle import Worker
from treadle.clock import SystemClock


class Log:
    """What happened to the workers of one test."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def note(self, event: str) -> None:
        self.events.append(event)

    def count(self, event: str) -> int:
        return Counter(event.partition(" ")[0] for event in self.events)[event]


class Browser(Worker):
    """A worker of an event loop."""

    def __init__(self, log: Log, failing: Callable[[int], bool] = lambda _: False) -> None:
        self.log = log
        self.failing = failing
        self.pages = 0
        self.open = False

    async def start(self) -> None:
        self.log.note(f"start {self.index}")
        if self.failing(self.log.count("start")):
            raise OSError("no display")
        self.open = True

    async def stop(self) -> None:
        self.open = False
        self.log.note(f"stop {self.index}")

    async def visit(self, url: str) -> str:
        assert self.open, "a job has only a worker that is started"
        self.pages += 1
        return f"{url} by {self.index}"


class Session(Worker):
    """A worker of a thread."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.open = False

    def start(self) -> None:
        self.open = True
        self.log.note(f"start {self.index}")

    def stop(self) -> None:
        self.open = False
        self.log.note(f"stop {self.index}")


async def until(condition: Callable[[], bool]) -> None:
    """Return when something holds that other threads or the event loop bring about."""
    for _ in range(5000):
        if condition():
            return
        await SystemClock().sleep(0.001)
    raise AssertionError(f"{condition} did not become true")
