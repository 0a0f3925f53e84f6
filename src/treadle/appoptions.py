"""The options of an app, and the core that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from treadle.clock import Clock
from treadle.codec import Codec
from treadle.config import load
from treadle.core import Core
from treadle.durations import Duration, seconds
from treadle.errors import InvalidOption, UnknownOption
from treadle.guards import is_error_class
from treadle.hints import did_you_mean
from treadle.ids import Ids
from treadle.middleware import Middleware

__all__ = ["AppOptions", "make_core"]


class AppOptions(TypedDict, total=False):
    """What ``Treadle(url, …)`` takes besides the URL.

    Settings, which the environment and files can give too: ``namespace`` (prefix of all that the
    app stores), ``max_payload`` (bytes), ``request_ttl``, ``max_failed``, ``foreman`` (a dict).
    """

    namespace: str
    max_payload: int | str
    request_ttl: Duration
    max_failed: int
    foreman: Mapping[str, Any]
    # Run jobs where they are enqueued, for tests.
    eager: bool
    # Seconds for which an enqueue is repeated while the store does not answer; 30 by default.
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


_SETTINGS = ("namespace", "max_payload", "request_ttl", "max_failed", "foreman")


def make_core(url: str | None, options: Mapping[str, Any]) -> Core:
    """The core of an app.

    Raises:
        UnknownOption, InvalidOption
    """
    known = ("url", *AppOptions.__annotations__)
    for name in options:
        if name not in known:
            synonyms = {"broker": "url", "backend": "url", "prefix": "namespace"}
            hint = did_you_mean(name, known, synonyms)
            raise UnknownOption(
                f"Treadle has no option {name!r}{hint}. Known options: {', '.join(known)}",
                option=name,
                known=known,
            )
    if url is not None and "://" not in str(url):
        raise InvalidOption(
            f"url={url!r} is not the URL of a backend; it is like 'sqlite:///jobs.db' or "
            "'memory://'",
            option="url",
            value=url,
        )
    errors: tuple[Any, ...] = tuple(options.get("errors", ()))
    for kind in errors:
        if not is_error_class(kind):
            raise InvalidOption(
                f"errors: {kind!r} is not an exception class", option="errors", value=kind
            )
    return Core(
        load(url=url, **{name: options[name] for name in _SETTINGS if name in options}),
        codec=options.get("codec"),
        clock=options.get("clock"),
        ids=options.get("ids"),
        errors=errors,
        patience=seconds(options.get("patience", 30.0), "patience"),
    )
