"""Where jobs live: :func:`open` gives the backend that a URL names."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from treadle.backends.common.tables import Made, Tables
from treadle.backends.common.url import Url
from treadle.clock import Clock
from treadle.errors import InvalidOption, Unsupported
from treadle.hints import did_you_mean
from treadle.ids import Ids
from treadle.ports import Backend

__all__ = ["SCHEMES", "Made", "Tables", "Url", "check", "has_tables", "open", "tables"]

SCHEMES = {
    "memory": "treadle.backends.memory",
    "sqlite": "treadle.backends.sqlite",
    **dict.fromkeys(("postgresql", "postgres"), "treadle.backends.postgres"),
    **dict.fromkeys(
        (
            f"{base}{kind}"
            for base in ("redis", "rediss", "valkey", "valkeys")
            for kind in ("", "+sentinel", "+cluster")
        ),
        "treadle.backends.redis",
    ),
    **dict.fromkeys(("amqp", "amqps"), "treadle.backends.rabbitmq"),
}
"""Scheme of a URL to the module whose ``connect`` opens it; imported when it is first used."""

# What ``pip install 'treadle[…]'`` is to be told for one that needs more than treadle itself.
_EXTRAS = {name: name.rpartition(".")[2] for name in SCHEMES.values()}
_WITH_TABLES = frozenset({"treadle.backends.postgres", "treadle.backends.sqlite"})
_EXAMPLES = (
    "memory://, memory://name, sqlite:///jobs.db, sqlite:////var/lib/app/jobs.db, "
    "redis://localhost:6379, postgresql://localhost/app, amqp://localhost"
)


def open(  # noqa: A001 - backends.open(url) is its name
    url: str, *, clock: Clock, ids: Ids, namespace: str = "treadle", **options: Any
) -> Backend:
    """The backend of a URL.

    Args:
        url: where the jobs live; its scheme says in what.
        clock: what the store goes by.
        ids: where ids, nonces and chance come from.
        namespace: keeps apart what shares a store.
        options: of that kind of store.

    Raises:
        InvalidOption: no backend has this scheme.
        Unsupported: a package that it needs is not installed.
    """
    backend = _loaded(url).connect(url, clock=clock, ids=ids, namespace=namespace, **options)
    return cast("Backend", backend)


def check(url: str) -> None:
    """Return if a URL is one that could be opened, as far as that is known without opening it.

    Raises:
        InvalidOption: no backend has this scheme, or the file of SQLite is not named.
    """
    if _module(url) == "treadle.backends.sqlite":
        import_module("treadle.backends.sqlite.address").parse(url)


def tables(url: str, *, namespace: str = "treadle") -> Tables:
    """The tables of the store of a URL, to be made, changed and looked at.

    Raises:
        InvalidOption: no backend has this scheme.
        Unsupported: it has no tables.
    """
    name = _module(url)
    if name not in _WITH_TABLES:
        scheme = url.partition(":")[0]
        raise Unsupported(
            f"{scheme}:// has no tables: there is nothing to install; only sqlite:// and "
            "postgresql:// have",
            backend=scheme,
            feature="tables",
        )
    return cast("Tables", import_module(f"{name}.migrate").tables(url, namespace))


def has_tables(url: str) -> bool:
    """Whether the store of a URL has tables."""
    return _module(url) in _WITH_TABLES


def _module(url: str) -> str:
    """The module of the backend of a URL."""
    # Some have more hosts than a URL may have, so only the backend can read it.
    scheme = url.partition(":")[0]
    if scheme not in SCHEMES:
        # Those of one family differ in their ends.
        known = ", ".join(f"{name}://" for name in SCHEMES if "+" not in name)
        raise InvalidOption(
            f"url={str(Url(url))!r} names no backend of this version of treadle"
            f"{did_you_mean(scheme, SCHEMES)}, which has {known}; for example {_EXAMPLES}",
            option="url",
            value=str(Url(url)),
        )
    return SCHEMES[scheme]


def _loaded(url: str) -> Any:
    name = _module(url)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("treadle"):
            raise
        scheme = url.partition(":")[0]
        raise Unsupported(
            f"{scheme}:// needs {error.name}, which is not installed: "
            f"pip install 'treadle[{_EXTRAS[name]}]'",
            backend=scheme,
            feature=error.name,
        ) from error
