"""What an ``amqp://`` URL says."""

from __future__ import annotations

import re
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from treadle.backends.common.url import Url
from treadle.config import mask
from treadle.errors import InvalidOption

__all__ = ["Address", "parse"]

_SCHEMES = ("amqp", "amqps")
_KNOWN = ("companion", "heartbeat", "max_failed", "patience", "window")
_DRIVER = ("cafile", "capath", "cadata", "certfile", "keyfile", "no_verify_ssl")
_HEARTBEAT = 30
_TEXT = re.compile(r"(?P<before>[^:/]+://(?:[^/?#]*@)?)(?P<hosts>[^/?#@]*)(?P<rest>.*)", re.DOTALL)


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is and how to use it."""

    # Without secrets.
    url: str
    # For the driver, password and all: one for each node of a cluster.
    dsns: tuple[str, ...]
    # Dead letters that are kept.
    max_failed: int
    # Seconds that the server may take to answer.
    patience: float
    # Publishes that may wait for their confirmation at a time.
    window: int
    # URL of the backend that has the jobs, secrets and all.
    companion: str | None = None

    def __repr__(self) -> str:
        return f"Address({self.url!r})"


def parse(text: str, *, max_failed: int | None = None) -> Address:
    """The address in ``amqp://user:password@host:5672,host:5672/vhost?options``."""
    one, *others = _of_nodes(text)
    companion = Url(one).query.get("companion")
    url = Url(_without_companion(one))
    shown = mask(_without_companion(text))
    if url.scheme not in _SCHEMES:
        raise InvalidOption(f"url: {shown!r} is no AMQP URL", option="url", value=shown)
    for other in others:
        Url(other)
    passed = {name: url.query.pop(name) for name in _DRIVER if name in url.query}
    most = url.integer("max_failed", max_failed, least=0)
    patience = url.patience()
    passed["heartbeat"] = str(url.integer("heartbeat", None, least=1) or _HEARTBEAT)
    window = url.integer("window", None, least=1)
    url.refuse({}, known=(*_KNOWN, *_DRIVER))
    return Address(
        url=shown,
        dsns=tuple(_dsn(node, passed) for node in (one, *others)),
        max_failed=10_000 if most is None else most,
        patience=patience,
        window=window or 1000,
        companion=companion,
    )


def _of_nodes(text: str) -> list[str]:
    """A URL for each of the hosts, of which a URL has one."""
    found = _TEXT.match(text)
    if found is None:
        return [text]
    hosts = [
        host if host and not host.startswith(":") else f"localhost{host}"
        for host in found["hosts"].split(",")
    ]
    return [f"{found['before']}{host}{found['rest']}" for host in hosts]


def _dsn(text: str, passed: dict[str, str]) -> str:
    parts = urlsplit(text)
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", urlencode(passed), ""))


def _without_companion(text: str) -> str:
    """The URL as it is shown: that of the companion has secrets of its own."""
    parts = urlsplit(text)
    kept = [one for one in parts.query.split("&") if not one.startswith("companion=")]
    return urlunsplit(parts._replace(query="&".join(kept)))
