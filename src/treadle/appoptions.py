"""The options of an app, and the core that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from typing import Any, Literal, TypedDict, cast

from treadle.clock import Clock
from treadle.codec import Codec
from treadle.config import load, mask
from treadle.core import Core
from treadle.durations import Duration, seconds
from treadle.errors import InvalidOption
from treadle.guards import is_error_class, refuse_unknown
from treadle.ids import Ids
from treadle.middleware import Middleware
from treadle.routing import urls_of

__all__ = ["AppOptions", "make_core"]


class AppOptions(TypedDict, total=False):
    """What ``Treadle(url, …)`` takes besides the URL.

    Settings, which the environment and files can give too: ``namespace`` (prefix of all that the
    app stores), ``companion`` (URL of the backend that has the jobs of an ``amqp://`` URL),
    ``backends`` (name to URL, of further backends), ``routes`` (queue to the name of its backend),
    ``spool`` (path of the file that keeps jobs while their server is away), ``spool_max`` (jobs
    that it may hold), ``max_payload`` (bytes), ``request_ttl``, ``max_failed``, ``max_depth`` (jobs
    in a row that have each enqueued the next one without a delay), ``foreman`` (a dict).
    """

    namespace: str
    companion: str
    backends: Mapping[str, str]
    routes: Mapping[str, str]
    spool: str | PathLike[str]
    spool_max: int
    max_payload: int | str
    request_ttl: Duration
    max_failed: int
    max_depth: int
    foreman: Mapping[str, Any]
    # Run jobs where they are enqueued, for tests.
    eager: bool | Literal["raise"]
    # Seconds for which an enqueue is repeated while the store does not answer, before it fails or
    # is spooled: 30 by default, 2 with a spool.
    patience: Duration
    # Exception classes that ``job.result()`` may raise as they were.
    errors: Iterable[type[BaseException]]
    # Surround every enqueue and every attempt, the first outermost.
    middleware: Iterable[Middleware]
    # Signs, encrypts or pickles payloads.
    codec: Codec
    # Of tests.
    clock: Clock
    ids: Ids


_SETTINGS = (
    "namespace", "companion", "backends", "routes", "spool", "spool_max", "max_payload",
    "request_ttl", "max_failed", "max_depth", "foreman",
)  # fmt: skip


def make_core(url: str | None, options: Mapping[str, Any]) -> Core:
    """The core of an app.

    Raises:
        UnknownOption, InvalidOption
    """
    known = ("url", *AppOptions.__annotations__)
    synonyms = {"broker": "url", "backend": "url", "prefix": "namespace"}
    refuse_unknown("Treadle", options, known, synonyms)
    if url is not None and "://" not in str(url):
        raise InvalidOption(
            f"url={url!r} is not the URL of a backend; it is like 'sqlite:///jobs.db' or "
            "'memory://'",
            option="url",
            value=url,
        )
    urls = (url or "amqp:", *_urls(options))
    if "companion" in options and not any(one.startswith("amqp") for one in urls):
        raise InvalidOption(
            "companion= is for RabbitMQ, whose jobs it has; every other backend has its own",
            option="companion",
            value=mask(str(options["companion"])),
        )
    settings = load(url=url, **_given(options))
    spooling = settings.spool is not None and any(map(_served, urls_of(settings).values()))
    if settings.sources.get("spool") == "argument" and settings.spool and not spooling:
        raise InvalidOption(
            f"spool= is for servers, which can be away; {mask(settings.url)} is in this machine, "
            "so leave it away",
            option="spool",
            value=options["spool"],
        )
    errors: tuple[Any, ...] = tuple(options.get("errors", ()))
    for kind in errors:
        if not is_error_class(kind):
            raise InvalidOption(
                f"errors: {kind!r} is not an exception class", option="errors", value=kind
            )
    return Core(
        settings,
        codec=options.get("codec"),
        clock=options.get("clock"),
        ids=options.get("ids"),
        errors=errors,
        patience=seconds(options.get("patience", 2.0 if spooling else 30.0), "patience"),
    )


def _urls(options: Mapping[str, Any]) -> list[str]:
    """Of further backends; what is none is refused where it is read."""
    named = options.get("backends")
    if not isinstance(named, Mapping):
        return []
    return list(map(str, cast("Mapping[str, Any]", named).values()))


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among the options."""
    given = {name: options[name] for name in _SETTINGS if name in options}
    if isinstance(given.get("spool"), PathLike):
        given["spool"] = fspath(given["spool"])
    return given


def _served(url: str) -> bool:
    from treadle.spool import served  # with SQLite, which others need not load

    return served(url)
