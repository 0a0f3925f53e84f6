"""Reaching the store that a command works on."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from treadle.cli.apps import name_of, the_app
from treadle.clock import Clock
from treadle.config import load, mask
from treadle.core import Core
from treadle.errors import InvalidOption
from treadle.ports import Backend

__all__ = ["Store", "core_for", "on_store", "sqlite_file"]

T = TypeVar("T")


class Store(msgspec.Struct, frozen=True):
    """An open backend and what a command needs besides."""

    backend: Backend
    core: Core
    # What a printed command must repeat to reach the same store.
    suffix: str = ""
    # Of the backend, where it is one of several.
    name: str = ""

    @property
    def clock(self) -> Clock:
        """The clock of this machine."""
        return self.core.clock

    @property
    def url(self) -> str:
        """Where the jobs live."""
        return self.core.urls[self.name] if self.name else self.core.url


def on_store(
    work: Callable[[Store], Awaitable[T]],
    url: str | None,
    app: str | None = None,
    *,
    opened: bool = True,
) -> T:
    """Open the store, do the work, close it.

    Args:
        work: what is done.
        url, app: say which store.
        opened: as for all who use it, which makes it where it is not there yet.
    """
    core = core_for(url, app)
    _check(core)

    async def run() -> T:
        try:
            backend = await core.ready() if opened else core.backend()
            return await work(Store(backend, core, _suffix(url, app)))
        finally:
            if not opened and core.store.is_open:
                await core.backend().aclose()
            await core.aclose()

    return asyncio.run(run())


def core_for(url: str | None, app: str | None = None) -> Core:
    """What reaches the store.

    In this order: ``--url``, ``--app``, a configured URL, the configured app, the default URL.
    """
    settings = load(url=url)
    if url is not None:
        # That store and no other, whatever is configured beside it.
        return Core(msgspec.structs.replace(settings, backends={}, routes={}))
    if app is not None or ("url" not in settings.sources and settings.app):
        return the_app(name_of(app, settings))
    return Core(settings)


def _suffix(url: str | None, app: str | None) -> str:
    if url is not None:
        # What is printed is kept in logs. Who copies it has the password.
        return f" --url {shlex.quote(mask(url))}"
    return f" --app {shlex.quote(app)}" if app is not None else ""


def _check(core: Core) -> None:
    """Refuse a store that has nothing to look at.

    Raises:
        InvalidOption: its jobs cannot be seen from here, or it does not exist.
    """
    inside = next((one for one in core.urls.values() if one.startswith("memory:")), None)
    if inside is not None:
        raise InvalidOption(
            f"{inside} lives inside the process of its app; nothing of it can be seen from here. "
            "Use a store that processes share, such as sqlite:///jobs.db",
            option="url",
            value=inside,
        )
    url = core.url
    file = sqlite_file(url)
    if file is not None and not file.exists():
        origin = core.settings.sources.get("url", "the default; nothing else is configured")
        near = sorted(one.name for one in Path.cwd().glob("*.db"))
        hint = f"; --url sqlite:///{near[0]} would be the file that is here" if near else ""
        raise InvalidOption(
            f"there is no store at {file} ({mask(url)}, from {origin}). It is made when an app "
            f"first uses it; give its --url or --app, or set TREADLE_URL{hint}",
            option="url",
            value=url,
        )


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL."""
    if not url.startswith("sqlite:"):
        return None
    from treadle.backends.sqlite.address import parse

    return Path(parse(url).path)
