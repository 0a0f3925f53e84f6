"""A foreman process: ``python -m treadle.foreman.child``.

Its orders come as one line of JSON on standard input, because a command line can be read by every
user of the machine and a URL may hold a password. Under a supervisor the pipe stays open as long
as that lives; its end tells the child to stop, so that a supervisor that is killed leaves no
orphans. Without one, it is what the process of ``treadle run`` turns into: what the command line
has loaded is a third of the memory that a foreman needs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import msgspec

from treadle.foreman.foreman import Foreman
from treadle.foreman.page import Page
from treadle.foreman.serve import RECYCLED, serve
from treadle.logs import configure
from treadle.target import core_of, load

__all__ = ["Orders"]


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a foreman process is to do."""

    # The app, "module:attribute".
    target: str
    # Where the page is that is shared with the supervisor, if there is one.
    page: str | None = None
    # Other URL than the app's.
    url: str | None = None
    burst: bool = False
    name: str | None = None
    # Of the foreman.
    options: dict[str, Any] = {}
    log_level: str = "info"
    log_format: str = "console"


def main() -> int:
    """Serve, and let Ctrl+C end it before it is up too, with the status that shells know."""
    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # see treadle.cli.run
        return _serve()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 128 + signal.SIGINT


def _serve() -> int:
    """Read the orders, find the app, serve."""
    pipe = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # tasks that read standard input find it empty
    os.close(nothing)
    line = pipe.readline()
    if not line:
        return 0  # the supervisor has died meanwhile: there is nobody to serve for
    orders = msgspec.json.decode(line, type=Orders)

    configure(level=orders.log_level, layout=orders.log_format)
    app: Any = load(orders.target)
    core = core_of(app, orders.target)
    page = None if orders.page is None else Page(Path(orders.page))
    if page is None:
        pipe.close()

    def opened(foreman: Foreman, loop: asyncio.AbstractEventLoop) -> None:
        def watch() -> None:
            with pipe:
                pipe.read()
            with suppress(RuntimeError):  # it has ended meanwhile
                loop.call_soon_threadsafe(foreman.ask_to_stop)

        threading.Thread(target=watch, name="treadle-parent", daemon=True).start()

    async def live() -> int:
        try:
            return await serve(
                core,
                opened=None if page is None else opened,
                burst=orders.burst,
                name=orders.name,
                page=page,
                **orders.options,
            )
        finally:
            await core.aclose()

    with app.override(url=orders.url) if orders.url is not None else nullcontext():
        status = asyncio.run(live())
    return 0 if page is None and status == RECYCLED else status


if __name__ == "__main__":
    sys.exit(main())
