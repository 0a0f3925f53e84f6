"""``treadle dev``: a foreman in this process that starts again when a file changes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.apps import name_of
from treadle.cli.options import App, Queues, Url
from treadle.cli.output import complain
from treadle.cli.reload import Reloader, restart
from treadle.cli.root import root
from treadle.cli.run import Concurrency, LogFormat, LogLevel, configured, given, split
from treadle.clock import SystemClock
from treadle.config import Settings, load
from treadle.core import Core
from treadle.errors import InvalidOption

if TYPE_CHECKING:
    from treadle.foreman.foreman import Foreman

__all__: list[str] = []

# A developer who saves a file wants the new code now, not after the jobs of the old.
_GRACE = 3.0


@root.command()
def dev(
    app: App = None,
    queues: Queues = None,
    concurrency: Concurrency = None,
    reload: Annotated[bool, typer.Option(help="Start again when a file changes.")] = True,
    url: Url = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Run the jobs of an app while you work on it: one process, again at each change.

    An app that cannot be imported is reported, and tried again at the next change.
    """
    settings = load(
        url=url,
        log={"level": log_level, "format": log_format},
        foreman={"queues": split(queues), "concurrency": concurrency},
    )
    # Who works on a task wants to see each failure where it happened.
    logging.getLogger("treadle.foreman.retries").setLevel(logging.DEBUG)
    session = _Session(name_of(app, settings), settings, url, reload=reload)
    status = session.run()
    if session.changed is not None:
        complain(f"{session.changed} changed, starting again")
        restart()
    raise typer.Exit(status)


class _Session:
    """The app as it is now, until one of its files changes."""

    def __init__(self, name: str, settings: Settings, url: str | None, *, reload: bool) -> None:
        self.changed: Path | None = None
        self._name = name
        self._settings = settings
        self._url = url
        self._clock = SystemClock()
        self._reload = reload
        self._stop: _Stop | None = None

    def run(self) -> int:
        """Serve until a signal or a change.

        Returns:
            The exit status.

        Raises:
            InvalidOption: the app cannot be found, and nobody watches for a change.
        """
        reloader = Reloader(self._clock, self._on_change) if self._reload else None
        try:
            core = configured(self._name, self._settings, self._url, alone=True)
        except InvalidOption as error:
            if reloader is None:
                raise
            complain(f"error: {error}\nwaiting for a change")
            reloader.wait()
            return 2
        if reloader is not None:
            reloader.start()
        try:
            return asyncio.run(self._serve(core))
        finally:
            if reloader is not None:
                reloader.stop()

    async def _serve(self, core: Core) -> int:
        from treadle.foreman.serve import serve

        options = {"grace": _GRACE, **given(self._settings)}
        try:
            return await serve(core, opened=self._opened, **options)
        finally:
            await core.aclose()

    def _opened(self, foreman: Foreman, loop: asyncio.AbstractEventLoop) -> None:
        self._stop = _Stop(foreman, loop)
        if self.changed is not None:
            self._stop()

    def _on_change(self, path: Path) -> None:
        """In the thread of the reloader."""
        self.changed = path
        if self._stop is not None:
            self._stop()


class _Stop:
    """Stops the foreman from another thread."""

    def __init__(self, foreman: Foreman, loop: asyncio.AbstractEventLoop) -> None:
        self._foreman = foreman
        self._loop = loop
        self._task: asyncio.Task[None] | None = None

    def __call__(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._foreman.stop())
