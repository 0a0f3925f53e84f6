"""What the tests of faults around servers have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from treadle import CONTEXT, Context, Treadle, backends
from treadle.backends.redis.scripts import script
from treadle.clock import Clock, SystemClock
from treadle.ids import SystemIds
from treadle.testing import ManualClock
from treadle.testing.contract import Driver
from treadle.testing.ledger import Blow, Findings, Ledger, check, dump, witnessed

__all__ = ["LEASE", "NAMESPACE", "Shop", "driving", "judged", "shop", "text_of", "url_of"]

LEASE = 3.0
NAMESPACE = "faults"
OPTIONS = {"lease": LEASE, "suspect_every": 0.3, "concurrency": 10, "grace": 5.0}


def url_of(port: int, options: str = "patience=5") -> str:
    return f"redis://127.0.0.1:{port}/0?{options}"


def text_of(name: str) -> bytes:
    """What a request to carry out a step has in it."""
    return script(name).sha.encode()


@asynccontextmanager
async def driving(url: str, clock: Clock | None = None) -> AsyncIterator[Driver]:
    """A backend whose jobs go by a clock that the test moves; the network has the real one."""
    moved = clock or ManualClock()
    ids = SystemIds(moved)
    backend = backends.open(url, clock=moved, ids=ids, namespace=NAMESPACE)
    try:
        await backend.open()
        yield Driver(backend, moved, ids)  # type: ignore[arg-type]
    finally:
        await backend.aclose()
        backend.close()


async def judged(url: str, directory: Path) -> None:
    """Nothing that was promised was broken, when all who worked have ended."""
    async with driving(url, SystemClock()) as one:
        findings = check(directory, await dump(one.backend))
    assert not findings.violations, findings.report()


class Shop:
    """An app whose jobs write down when they start and when they have done their work."""

    def __init__(self, url: str, ledger: Ledger, directory: Any, **options: Any) -> None:
        self.app = Treadle(url, **{"namespace": NAMESPACE, **options})
        self.ledger = ledger
        self._directory = directory
        self.doing = asyncio.Event()
        witnessed(self.app, ledger)

        @self.app.task(name="work", keep=None, retry=20)
        async def work(wait: float = 0.0, ctx: Context = CONTEXT) -> None:
            ledger.started(ctx)
            self.doing.set()
            if wait:
                await asyncio.sleep(wait)  # noqa: TID251 - work that takes a while
            ledger.effect(ctx)

        self.work = work

    @contextmanager
    def unreliable(self) -> Iterator[None]:
        """Nothing that this process was granted can be relied on meanwhile; written down."""
        self.ledger.fault(self.ledger.name, Blow.FROZEN)
        try:
            yield
        finally:
            self.ledger.fault(self.ledger.name, Blow.WOKEN)

    @asynccontextmanager
    async def foreman(self) -> AsyncIterator[Any]:
        async with self.app.foreman(**OPTIONS) as foreman:
            yield foreman

    async def until_done(self, count: int, patience: float = 60.0) -> None:
        """Wait until so many jobs have succeeded."""
        backend = await self.app.core.ready()
        async with asyncio.timeout(patience):
            while True:
                try:
                    counted = (await dump(backend)).records
                # The store is away just now.
                except (OSError, Exception):  # noqa: BLE001
                    counted = ()
                if sum(record.state == "succeeded" for record in counted) >= count:
                    return
                await asyncio.sleep(0.05)  # noqa: TID251 - what other processes do

    async def findings(self) -> Findings:
        """What the ledgers say of the store."""
        return check(self._directory, await dump(await self.app.core.ready()))


@asynccontextmanager
async def shop(
    url: str, directory: Any, name: str = "alone", **options: Any
) -> AsyncIterator[Shop]:
    """A shop that is open."""
    ledger = Ledger(directory, name)
    one = Shop(url, ledger, directory, **options)
    try:
        async with one.app:
            yield one
    finally:
        ledger.close()
