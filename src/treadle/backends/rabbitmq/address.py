"""What an ``amqp://`` URL says."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from treadle.backends.common.url import Url
from treadle.errors import InvalidOption

__all__ = ["Address", "parse"]

_SCHEMES = ("amqp", "amqps")
_KNOWN = ("companion", "max_failed", "patience", "window")
_DRIVER = ("heartbeat", "cafile", "capath", "cadata", "certfile", "keyfile", "no_verify_ssl")
_HEARTBEAT = "30"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is and how to use it."""

    # Without secrets.
    url: str
    # For the driver, password and all.
    dsn: str
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
    """The address in ``amqp://user:password@host:5672/vhost?options``."""
    companion = Url(text).query.get("companion")
    url = Url(_without_companion(text))
    if url.scheme not in _SCHEMES:
        raise InvalidOption(f"url: {str(url)!r} is no AMQP URL", option="url", value=str(url))
    passed = {name: url.query.pop(name) for name in _DRIVER if name in url.query}
    passed.setdefault("heartbeat", _HEARTBEAT)
    most = url.integer("max_failed", max_failed, least=0)
    patience = url.integer("patience", None, least=1)
    window = url.integer("window", None, least=1)
    url.refuse({}, known=(*_KNOWN, *_DRIVER))
    parts = urlsplit(text)
    return Address(
        url=str(url),
        dsn=urlunsplit((parts.scheme, parts.netloc, parts.path or "/", urlencode(passed), "")),
        max_failed=10_000 if most is None else most,
        patience=float(patience or 10),
        window=window or 1000,
        companion=companion,
    )


def _without_companion(text: str) -> str:
    """The URL as it is shown: that of the companion has secrets of its own."""
    parts = urlsplit(text)
    kept = [one for one in parts.query.split("&") if not one.startswith("companion=")]
    return urlunsplit(parts._replace(query="&".join(kept)))
