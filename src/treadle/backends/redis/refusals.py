"""What a server says when it refuses, and what follows from it."""

from __future__ import annotations

from treadle.backends.redis.address import Address, Node
from treadle.backends.redis.wire import Refused
from treadle.errors import (
    BackendError,
    BackendFull,
    BackendReadOnly,
    BackendUnavailable,
    SchemaMismatch,
)

__all__ = ["AGAIN", "ELSEWHERE", "REPLICA", "error_of", "moved_to"]

AGAIN = frozenset({"LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "ASK"})
"""It cannot now, has done nothing, and will be able to soon.

``ASK`` says that the slot is being moved. What is asked for might be on either side then, and
a script sees only one: nothing is done until the whole slot is there."""

ELSEWHERE = frozenset({"READONLY"})
"""It is a replica by now, and has done nothing."""

REPLICA = (
    "It is a replica: write the address of its primary, or redis+sentinel:// and the name of the "
    "primary, which finds it after a failover, too"
)
"""The way out of an address at which nothing can be written."""

_INSIDE = "The user executing the script can't"
"""How a lack of rights is said of a command inside a script."""

_NO_PASSWORD = "without any password configured"
"""What a server says to who has a password where none is needed."""


def moved_to(refused: Refused, here: Node) -> Node | None:
    """The node of a cluster that has the slot now."""
    if refused.code != "MOVED":
        return None
    host, _, port = str(refused).split(" ")[2].rpartition(":")
    # No host means that of who says so.
    return Node(host or here.host, int(port))


def _of_cluster(address: Address) -> str:
    """How the URL of a cluster begins, whose node an address names."""
    scheme = address.url.partition(":")[0].partition("+")[0]
    hosts = ",".join(f"{node.host}:{node.port}" for node in address.nodes)
    return f"{scheme}+cluster://{hosts}"


def _shut(says: str, address: Address) -> BackendUnavailable:
    """The error for who is not let in, with what may be wrong in the URL."""
    if "the server has no password" in says:
        hint = "Take it out of the URL, or name the user before it: redis://user:password@host"
    elif address.password:
        hint = "Is the password in the URL still right?"
    else:
        hint = (
            "Write the account into the URL: redis://user:password@host, or redis://:password@host "
            "for a password alone"
        )
    return BackendUnavailable(
        f"{address.url} does not let us in: {says}. {hint}", backend=address.url
    )


def error_of(refused: Refused, address: Address) -> Exception:
    """The error for who asked."""
    url, says = address.url, str(refused)
    code = "NOPERM" if _INSIDE in says else refused.code
    if code == "MOVED" and address.kind != "cluster":
        return BackendError(
            f"{url} is a node of a cluster, and not the one that has these keys ({says}). Write "
            f"{_of_cluster(address)}, which finds it",
            backend=url,
        )
    if code in AGAIN or code in ELSEWHERE or code == "MOVED":
        alone = code == "CLUSTERDOWN" and address.kind != "cluster"
        hint = f". It is a node of a cluster: {_of_cluster(address)} finds the others" * alone
        if code in ELSEWHERE and address.kind == "server":
            hint = f" {REPLICA}"
        return BackendUnavailable(f"{url} cannot answer now: {says}{hint}", backend=url)
    match code:
        case "OOM":
            return BackendFull(
                f"{url} has no memory left; nothing was changed. Raise maxmemory, or wait until "
                "jobs have ended",
                backend=url,
            )
        case "MISCONF":
            return BackendReadOnly(f"{url} cannot save to its disk: {says}", backend=url)
        case "NOPERM":
            # Of a command in a script the server does not say which.
            hint = "'treadle doctor' names it, and " * (_INSIDE in says)
            return BackendError(
                f"the account of {url} lacks a right: {says.rstrip('.')}. {hint}"
                "docs/explanation/redis.md lists those that are needed",
                backend=url,
            )
        case "NOAUTH" | "WRONGPASS":
            return _shut(says.rstrip("."), address)
        case "ERR" if _NO_PASSWORD in says:
            return _shut("the server has no password, and the URL has one", address)
        case "WRONGTYPE":
            return SchemaMismatch(f"{url} has keys of another program: {says}", backend=url)
        case "ERR" if "DB index" in says:
            return BackendError(
                f"{url} has no such database: {says}. It is the number at the end of the URL, from "
                "0 to one less than the 'databases' of the server",
                backend=url,
            )
        case "ERR" if "unknown command" in says:
            return BackendError(
                f"{url} does not know a command: {says}. It has to be a Redis from 6.2 on or a "
                "Valkey, and for redis+sentinel:// a sentinel",
                backend=url,
            )
        case _:
            # Neither the store's word nor the network's, but a mistake in a script.
            return RuntimeError(f"{url} refused a script: {says}")
