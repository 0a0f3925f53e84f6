"""An app with a spool before a server that can be taken away."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from treadle import Treadle
from treadle.spool import Entry, Spool
from treadle.testing.clock import eventually
from treadle.testing.proxy import Proxy, Way
from treadle.testing.servers import Server

__all__ = ["Line", "edited", "emptied", "entries", "spool_of"]

_NUMBERS = itertools.count()


def spool_of(app: Treadle) -> Spool:
    spool = app.core.store.spool
    assert isinstance(spool, Spool)
    return spool


def entries(app: Treadle) -> list[Entry]:
    return spool_of(app).file.entries()


async def emptied(app: Treadle) -> None:
    """Return when nothing waits any more."""
    await eventually(lambda: not spool_of(app).waits(), patience=60)


@contextmanager
def edited(app: Treadle) -> Iterator[Callable[[str], object]]:
    """Changes of the file behind the back of the app, which forwards nothing meanwhile."""
    spool = spool_of(app)
    spool.close()
    with closing(sqlite3.connect(spool.file.path, isolation_level=None)) as connection:
        yield connection.execute
    spool.forward()


class Line:
    """A way to a server, and the file of those who use it.

    Args:
        proxy: before the server.
        server: of this test file; each line has a namespace of its own there.
        folder: of the spool.
        patience: seconds after which the server counts as away; a slow machine needs some.
    """

    def __init__(self, proxy: Proxy, server: Server, folder: Path, patience: float) -> None:
        self.proxy = proxy
        self.url = server.url.replace(f":{server.port}", f":{proxy.port}") + f"?patience={patience}"
        self.namespace = f"spool-{next(_NUMBERS)}"
        self.path = folder / "spool.db"

    def app(self, **options: Any) -> Treadle:
        """An app with the task ``note``, which waits for nobody for long."""
        given = {"namespace": self.namespace, "spool": self.path, "patience": 0.05, **options}
        app = Treadle(self.url, **given)

        @app.task(name="note")
        async def note(text: str) -> str:
            return text

        return app

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody reaches the server, and who had reached it is cut off."""
        with self.proxy.refusing():
            yield

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """What is sent to the server arrives, and is not answered."""
        with self.proxy.silent(Way.DOWN):
            yield
