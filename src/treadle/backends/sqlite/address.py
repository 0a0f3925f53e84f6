"""What a ``sqlite://`` URL says."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from treadle.backends.common.url import Url
from treadle.errors import InvalidOption

__all__ = ["Address", "parse"]

_KNOWN = ("durability", "foreign", "patience", "max_failed")
_MAX_FAILED = 10_000
_CHOICES = {"durability": ("full", "normal"), "foreign": ("refuse", "allow")}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the database is and how to use it."""

    url: str
    path: str
    # full: a commit is on the disk when it returns. normal: power loss may cost the last ones.
    durability: str
    # allow: the tables may live in a database of another program.
    foreign: str
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
        path=str(Path(path).resolve()),
        durability=_choice(url, "durability"),
        foreign=_choice(url, "foreign"),
        patience=_patience(url.query.pop("patience", "10")),
        max_failed=_MAX_FAILED if most is None else most,
    )
    url.refuse({}, known=_KNOWN)
    return address


def _path(url: Url) -> str:
    path = url.path[1:]
    if url.host or not path or path.endswith("/"):
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


def _choice(url: Url, name: str) -> str:
    choices = _CHOICES[name]
    value = url.query.pop(name, choices[0])
    if value not in choices:
        raise _invalid(name, value, " or ".join(choices))
    return value


def _patience(value: str) -> float:
    if re.fullmatch(r"\d+(\.\d+)?", value) and float(value) > 0:
        return float(value)
    raise _invalid("patience", value, "seconds above 0, such as 10")


def _invalid(name: str, value: str, wanted: str) -> InvalidOption:
    return InvalidOption(f"{name}={value!r} cannot work: use {wanted}", option=name, value=value)
