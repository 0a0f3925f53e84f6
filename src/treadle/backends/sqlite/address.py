"""What a ``sqlite://`` URL says."""

from __future__ import annotations

from pathlib import Path

import msgspec

from treadle.backends.common.url import Url
from treadle.errors import InvalidOption

__all__ = ["Address", "parse"]

_KNOWN = ("durability", "foreign", "install", "patience", "max_failed")
_MAX_FAILED = 10_000


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the database is and how to use it."""

    url: str
    path: str
    # full: a commit is on the disk when it returns. normal: power loss may cost the last ones.
    durability: str
    # allow: the tables may live in a database of another program.
    foreign: str
    # The tables are made and changed where that is needed; else it is for ``treadle db``.
    install: bool
    # Seconds that another process may hold the database before it counts as stalled.
    patience: float
    # Failed jobs that are kept.
    max_failed: int


def parse(text: str, *, max_failed: int | None = None) -> Address:
    """The address in ``sqlite:///relative.db`` or ``sqlite:////absolute/path.db``."""
    url = Url(text)
    if url.scheme != "sqlite":
        raise InvalidOption(f"url: {str(url)!r} is no sqlite URL", option="url", value=str(url))
    path = _path(url)
    most = url.integer("max_failed", max_failed, least=0)
    address = Address(
        url=str(url),
        path=_whole(url, path),
        durability=url.choice("durability", "full", "normal"),
        foreign=url.choice("foreign", "refuse", "allow"),
        install=url.choice("install", "auto", "never") == "auto",
        patience=url.patience(),
        max_failed=_MAX_FAILED if most is None else most,
    )
    url.refuse({}, known=_KNOWN)
    return address


def _whole(url: Url, path: str) -> str:
    """The path from the root, so that it stays the same when the working directory changes."""
    try:
        return str(Path(path).resolve())
    except (OSError, RuntimeError) as error:  # links in a circle
        raise InvalidOption(
            f"url: the path of {str(url)!r} cannot be followed: {error}",
            option="url",
            value=str(url),
        ) from None


def _path(url: Url) -> str:
    path = url.path[1:]
    if url.host or not path or path.endswith("/") or "\0" in path:
        raise InvalidOption(
            f"url: {str(url)!r} names no file. Write sqlite:///jobs.db for a file in the working "
            "directory, sqlite:////var/lib/jobs.db (four slashes) for an absolute path.",
            option="url",
            value=str(url),
        )
    if ":memory:" in path or path.startswith("file:"):
        raise InvalidOption(
            f"url: {str(url)!r} has no file that other connections could open; use memory://",
            option="url",
            value=str(url),
        )
    return path
