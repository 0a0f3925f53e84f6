"""What a ``postgresql://`` URL says."""

from __future__ import annotations

import os
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from treadle.backends.common.url import Url, impossible
from treadle.errors import InvalidOption

__all__ = ["Address", "parse"]

_SCHEMES = ("postgresql", "postgres")
_KNOWN = ("connections", "durability", "install", "max_failed", "notify", "patience", "prepared")
_MAX_FAILED = 10_000
_CONNECTIONS = 6
# Parameters of the connection itself, which are for the driver.
_DRIVER = (
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword", "sslnegotiation"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version", "passfile", "application_name"),
    *("host", "port", "user", "database", "dbname", "krbsrvname"),
)
_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_WORDS = {
    "sslmode": _MODES,
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _VERSIONS,
    "ssl_max_protocol_version": _VERSIONS,
}
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")


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
    # full: a commit waits for the disk, or the server is refused. normal: it does not. ``None``:
    # as the server has it for this account.
    durability: str | None
    # Seconds that a connection or a statement may take.
    patience: float

    def __repr__(self) -> str:
        return f"Address({self.url!r})"


def parse(text: str, *, max_failed: int | None = None) -> Address:
    """The address in ``postgresql://user:password@host:5432/database?options``."""
    url = Url(text)
    if url.scheme not in _SCHEMES:
        raise InvalidOption(f"url: {str(url)!r} is no PostgreSQL URL", option="url", value=str(url))
    passed = {name: url.query.pop(name) for name in _DRIVER if name in url.query}
    _check_passed(url, passed)
    most = url.integer("max_failed", max_failed, least=0)
    address = Address(
        url=str(url),
        dsn=_dsn(text, passed),
        connections=url.integer("connections", None, least=1) or _CONNECTIONS,
        install=url.choice("install", "auto", "never") == "auto",
        max_failed=_MAX_FAILED if most is None else most,
        notify=url.choice("notify", "on", "off") == "on",
        prepared=url.choice("prepared", "on", "off") == "on",
        durability=url.choice("durability", "full", "normal")
        if "durability" in url.query
        else None,
        patience=url.patience(),
    )
    url.refuse({}, known=(*_KNOWN, *_DRIVER))
    if address.durability == "normal" and not address.prepared:
        raise impossible(
            "durability",
            "normal",
            "it without prepared=off, for a pooler passes no settings on; behind one: "
            "ALTER ROLE … SET synchronous_commit = off",
        )
    return address


def _check_passed(url: Url, passed: dict[str, str]) -> None:
    """Refuse what the driver would not understand, or would pass over.

    Raises:
        InvalidOption: naming the parameter.
    """
    for name, words in _WORDS.items():
        if name in passed and passed[name] not in words:
            raise impossible(name, passed[name], " or ".join(words))
    for name in _FILES:
        if name in passed and not os.access(passed[name], os.R_OK):
            raise impossible(name, passed[name], "the path of a file that can be read")
    port = passed.get("port", "0")
    if not all(one.isdigit() and int(one) < 65536 for one in port.split(",")):
        raise impossible("port", port, "a number, such as 5432")
    said = {
        "host": url.host,
        "port": url.port,
        "user": url.user,
        "database": url.path.strip("/"),
        "dbname": url.path.strip("/"),
    }
    for name, there in said.items():
        if name in passed and there:
            raise impossible(
                name, passed[name], f"it or {there!r} before the ?, for the driver takes one"
            )


def _dsn(text: str, passed: dict[str, str]) -> str:
    parts = urlsplit(text)
    return urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(passed), ""))
