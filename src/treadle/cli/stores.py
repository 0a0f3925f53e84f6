"""Reaching the store that a command works on."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from treadle import backends
from treadle.cli.apps import name_of, the_app
from treadle.clock import Clock, SystemClock
from treadle.config import Settings, load, mask
from treadle.errors import InvalidOption
from treadle.ids import SystemIds
from treadle.ports import Backend

__all__ = ["Store", "chosen", "on_store", "sqlite_file"]

T = TypeVar("T")


class Store(msgspec.Struct, frozen=True):
    """An open backend and what a command needs besides."""

    backend: Backend
    clock: Clock
    settings: Settings
    # What a printed command must repeat to reach the same store.
    suffix: str = ""


def chosen(url: str | None, app: str | None = None) -> Settings:
    """The settings with the URL of the store.

    In this order: ``--url``, ``--app``, a configured URL, the configured app.

    Raises:
        InvalidOption: the jobs of the store cannot be seen from here, or there is none.
    """
    settings = load(url=url)
    if url is None and (app is not None or ("url" not in settings.sources and settings.app)):
        core = the_app(name_of(app, settings))
        settings = core.settings
        settings = msgspec.structs.replace(settings, url=core.store.url, namespace=core.namespace)
    _check(settings)
    return settings


def on_store(work: Callable[[Store], Awaitable[T]], url: str | None, app: str | None = None) -> T:
    """Open the store, do the work, close it."""
    settings = chosen(url, app)
    suffix = _suffix(url, app)

    async def run() -> T:
        async with _opened(settings, suffix) as store:
            return await work(store)

    return asyncio.run(run())


@contextlib.asynccontextmanager
async def _opened(settings: Settings, suffix: str) -> AsyncGenerator[Store]:
    clock = SystemClock()
    backend = backends.open(
        settings.url, clock=clock, ids=SystemIds(clock), namespace=settings.namespace
    )
    try:
        await backend.open()
        try:
            yield Store(backend, clock, settings, suffix)
        finally:
            await backend.aclose()
    finally:
        backend.close()


def _suffix(url: str | None, app: str | None) -> str:
    if url is not None:
        return f" --url {shlex.quote(url)}"
    return f" --app {shlex.quote(app)}" if app is not None else ""


def _check(settings: Settings) -> None:
    url = settings.url
    if url.startswith("memory:"):
        raise InvalidOption(
            f"{url} lives inside the process of its app; nothing of it can be seen from here. "
            "Use a store that processes share, such as sqlite:///jobs.db",
            option="url",
            value=url,
        )
    file = sqlite_file(url)
    if file is not None and not file.exists():
        origin = settings.sources.get("url", "the default; nothing else is configured")
        raise InvalidOption(
            f"there is no store at {file} ({mask(url)}, from {origin}). It is made when an app "
            "first uses it; give its --url or --app, or set TREADLE_URL",
            option="url",
            value=url,
        )


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL."""
    if not url.startswith("sqlite:"):
        return None
    from treadle.backends.sqlite.address import parse

    return Path(parse(url).path)
