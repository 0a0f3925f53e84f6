"""What a Redis or Valkey URL says."""

from __future__ import annotations

import re

import msgspec

from treadle.backends.common.url import Url, impossible
from treadle.config import mask
from treadle.errors import InvalidOption

__all__ = ["SCHEMES", "Address", "Node", "parse"]

_BASES = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
SCHEMES = tuple(f"{base}{kind}" for kind in ("", "+sentinel", "+cluster") for base in _BASES)
"""Schemes of URLs that are read here."""

_TEXT = re.compile(
    r"^(?P<scheme>[a-z+]+)://(?:(?P<login>.*)@)?(?P<hosts>[^/?#]*)(?P<rest>.*)$", re.DOTALL
)
_HOST = re.compile(
    r"^(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:,\[\]\s]+))(?::(?P<port>\d{1,5}))?$"
)
_PORT, _SENTINEL_PORT = 6379, 26379
_MAX_FAILED = 10_000
_MOST_SHARDS = 64
_DURABILITY = ("memory", "everysec", "fsync", "replica")
_KNOWN = (
    "durability",
    "replicas",
    "patience",
    "max_failed",
    "shards",
    "tls_ca",
    "tls_cert",
    "tls_key",
    "tls_check",
    "sentinel_user",
    "sentinel_password",
)
# Words of redis-py.
_ELSEWHERE = {
    "ssl_ca_certs": "tls_ca",
    "ssl_certfile": "tls_cert",
    "ssl_keyfile": "tls_key",
    "ssl_cert_reqs": "tls_check",
    "ssl_check_hostname": "tls_check",
    "socket_timeout": "patience",
    "socket_connect_timeout": "patience",
}


class Node(msgspec.Struct, frozen=True, order=True):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is and how to use it."""

    # Without secrets.
    url: str
    # The server; the sentinels; or some nodes of the cluster.
    nodes: tuple[Node, ...]
    # What ``nodes`` are.
    kind: str
    # Of the primary, where sentinels are asked.
    primary: str = ""
    db: int = 0
    user: str = ""
    password: str = ""
    # Of the sentinels, when they have some.
    sentinel_user: str = ""
    sentinel_password: str = ""
    tls: bool = False
    # Files of the authority to trust, and of a certificate and key to show.
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    # Whether the server must show a certificate that is right for its name.
    tls_check: bool = True
    # What must hold when a verb returns; ``None`` for what the server is set to.
    durability: str | None = None
    # Copies that must have what was written, with durability=replica.
    replicas: int = 1
    # Seconds without an answer after which a connection counts as dead, and for which a request
    # is repeated.
    patience: float = 10.0
    # Failed jobs that are kept.
    max_failed: int = _MAX_FAILED
    # Slots of a cluster, and so nodes, that the jobs of a namespace are spread over.
    shards: int = 1

    def __repr__(self) -> str:
        return f"Address({self.url!r})"


def parse(text: str, *, max_failed: int | None = None) -> Address:
    """The address in a URL.

    ``redis://user:password@host:6379/0``, ``rediss://`` with TLS, ``valkey://`` and ``valkeys://``
    the same; ``redis+sentinel://host:26379,host/name/0``; ``redis+cluster://host:6379,host``.
    """
    found = _TEXT.match(text)
    if found is None or found["scheme"] not in SCHEMES:
        shown = mask(text)
        raise InvalidOption(f"url: {shown!r} is no Redis URL", option="url", value=shown)
    base, _, kind = found["scheme"].partition("+")
    login = f"{found['login']}@" if found["login"] is not None else ""
    # Only these have several hosts, which a URL does not.
    url = Url(f"{found['scheme']}://{login}host{found['rest']}")
    port = _SENTINEL_PORT if kind == "sentinel" else _PORT
    hosts = found["hosts"].split(",") if kind else [found["hosts"]]
    primary, db = _path(url, kind, mask(text))
    most = url.integer("max_failed", max_failed, least=0)
    replicas = url.integer("replicas", None, least=1)
    shards = url.integer("shards", None, least=1) or 1
    address = Address(
        url=mask(text),
        nodes=tuple(_node(host, port, mask(text)) for host in hosts),
        kind=kind or "server",
        primary=primary,
        db=db,
        user=url.user,
        password=url.password,
        sentinel_user=url.query.pop("sentinel_user", ""),
        sentinel_password=url.query.pop("sentinel_password", ""),
        tls=_BASES[base],
        tls_ca=url.query.pop("tls_ca", None),
        tls_cert=url.query.pop("tls_cert", None),
        tls_key=url.query.pop("tls_key", None),
        tls_check=url.choice("tls_check", "on", "off") == "on",
        durability=url.choice("durability", *_DURABILITY) if "durability" in url.query else None,
        replicas=replicas or 1,
        patience=url.patience(),
        max_failed=_MAX_FAILED if most is None else most,
        shards=shards,
    )
    url.refuse({}, known=_KNOWN, synonyms=_ELSEWHERE)
    _check(address, replicas)
    return address


def _node(text: str, port: int, shown: str) -> Node:
    found = _HOST.match(text or "localhost")
    if found is None or not 0 < int(found["port"] or port) < 65536:
        raise InvalidOption(
            f"url: {shown!r} has {text!r} where host:port should be; write an address of IPv6 in "
            "brackets, and / or # in a password as %2F and %23",
            option="url",
            value=shown,
        )
    return Node(found["six"] or found["name"], int(found["port"] or port))


def _path(url: Url, kind: str, shown: str) -> tuple[str, int]:
    """The name of the primary, for sentinels only, and the number of the database."""
    parts = [part for part in url.path.split("/") if part]
    name = parts.pop(0) if kind == "sentinel" and parts else ""
    db = parts.pop(0) if parts else "0"
    if parts or not re.fullmatch(r"\d{1,5}", db) or (kind == "sentinel" and not name):
        example = {
            "": "redis://localhost:6379/0",
            "sentinel": "redis+sentinel://host:26379,host:26379/name-of-the-primary/0",
            "cluster": "redis+cluster://host:6379,host:6379",
        }[kind]
        raise InvalidOption(
            f"url: {shown!r} has a path that says nothing; write {example}",
            option="url",
            value=shown,
        )
    if kind == "cluster" and int(db):
        raise InvalidOption(
            f"url: {shown!r} names database {db}; a cluster has only 0", option="url", value=shown
        )
    return name, int(db)


def _check(address: Address, replicas: int | None) -> None:
    if address.shards > _MOST_SHARDS:
        raise impossible(
            "shards", address.shards, f"1 to {_MOST_SHARDS}: each costs every process connections"
        )
    if replicas is not None and address.durability != "replica":
        raise impossible("replicas", replicas, "it together with durability=replica")
    if not address.tls and (address.tls_ca or address.tls_cert or address.tls_key):
        raise InvalidOption(
            f"url: {address.url!r} has certificates but no TLS; write rediss:// or valkeys://",
            option="url",
            value=address.url,
        )
