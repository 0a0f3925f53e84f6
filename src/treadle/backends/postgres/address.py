"""What a ``postgresql://`` URL says."""

from __future__ import annotations

import re
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from treadle.backends.common.url import Url
from treadle.errors import InvalidOption

__all__ = ["Address", "parse"]

_SCHEMES = ("postgresql", "postgres")
_KNOWN = ("connections", "install", "max_failed", "notify", "patience", "prepared")
_MAX_FAILED = 10_000
_CONNECTIONS = 6
# Parameters of the connection itself, which are for the driver.
_DRIVER = re.compile(r"ssl\w*|host|port|user|database|dbname|passfile|application_name|krbsrvname")


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the database is and how to use it."""

    # Without secrets.
    url: str
    # For the driver, password and all.
    dsn: str
    # Connections of one event loop, beside the one that listens.
    connections: int
    # Failed jobs that are kept.
    max_failed: int
    # The tables are made and changed where that is needed; else it is for ``treadle db``.
    install: bool
    # Others are told by NOTIFY; without it they look by themselves.
    notify: bool
    # Statements are prepared once for each connection. Not behind a pooler that hands out
    # connections by the transaction and knows no prepared statements.
    prepared: bool
    # Seconds that a connection or a statement may take.
    patience: float

    def __repr__(self) -> str:
        return f"Address({self.url!r})"


def parse(text: str, *, max_failed: int | None = None) -> Address:
    """The address in ``postgresql://user:password@host:5432/database?options``."""
    url = Url(text)
    if url.scheme not in _SCHEMES:
        raise InvalidOption(f"url: {str(url)!r} is no PostgreSQL URL", option="url", value=str(url))
    passed = {name: value for name, value in url.query.items() if _DRIVER.fullmatch(name)}
    for name in passed:
        del url.query[name]
    most = url.integer("max_failed", max_failed, least=0)
    address = Address(
        url=str(url),
        dsn=_dsn(text, passed),
        connections=url.integer("connections", None, least=1) or _CONNECTIONS,
        install=url.choice("install", "auto", "never") == "auto",
        max_failed=_MAX_FAILED if most is None else most,
        notify=url.choice("notify", "on", "off") == "on",
        prepared=url.choice("prepared", "on", "off") == "on",
        patience=url.patience(),
    )
    url.refuse({}, known=_KNOWN)
    return address


def _dsn(text: str, passed: dict[str, str]) -> str:
    parts = urlsplit(text)
    return urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(passed), ""))
