"""Whether a server can be used as the URL wants, and what there is to say of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from treadle.backends.redis.address import Address
from treadle.backends.redis.refusals import REPLICA
from treadle.backends.redis.server import Server
from treadle.durability import gives
from treadle.errors import Unsupported

__all__ = ["check", "facts", "level", "may_lose"]

_OLDEST = (6, 2)
# A server that comes back without its settings would not read the file in which the jobs are.
_KEEP = ", and CONFIG REWRITE, or the same in redis.conf, so that it stays"
_CHANGE = {
    "everysec": f"CONFIG SET appendonly yes{_KEEP}",
    "fsync": f"CONFIG SET appendonly yes, CONFIG SET appendfsync always{_KEEP}",
}


def check(server: Server, address: Address) -> None:
    """Refuse a server that would lose jobs, or that does not give what the URL asks for.

    Raises:
        Unsupported: it says what to change.
    """
    if server.version < _OLDEST:
        raise _unsupported(
            address,
            "scripts",
            f"is {server.kind} {_dotted(server.version)}, and scripts need {_dotted(_OLDEST)}",
        )
    if server.policy not in {None, "noeviction"}:
        raise _unsupported(
            address,
            "noeviction",
            f"has maxmemory-policy {server.policy}: it would throw jobs away when its memory is "
            "full. Use a server for jobs alone, with CONFIG SET maxmemory-policy noeviction",
        )
    _check_durability(server, address)


def _check_durability(server: Server, address: Address) -> None:
    wanted = address.durability
    if wanted is None or wanted == "memory":
        return
    if wanted == "replica":
        if server.replicas < address.replicas:
            raise _unsupported(
                address,
                "durability=replica",
                f"has {server.replicas} replicas, and the URL asks for {address.replicas}",
            )
        return
    if wanted == "fsync" and server.appends and server.waits_for_disk:
        return
    if server.appends and server.fsync is None and wanted == "fsync":
        raise _unsupported(
            address,
            "durability=fsync",
            "does not let its settings be read: allow the account +config|get, so that "
            "appendfsync can be checked",
        )
    if not gives(server.level, wanted):
        raise _unsupported(
            address,
            f"durability={wanted}",
            f"gives durability={server.level}. {_CHANGE[wanted]}, or write "
            f"?durability={server.level} and live with that it may lose {may_lose(server)}",
        )


def facts(server: Server, address: Address) -> dict[str, Any]:
    """For ``treadle doctor``."""
    return {
        "server": f"{server.kind} {_dotted(server.version)}",
        "now": server.now,
        "durability": level(server, address),
        "may_lose": may_lose(server, address),
        "advice": _advice(server),
        "bytes": server.used,
        "full": server.nearly_full,
        "replicas": server.replicas,
        "findings": [
            {"level": level, "check": name, "says": says, "action": action}
            for level, name, says, action in _findings(server)
        ],
    }


def level(server: Server, address: Address) -> str:
    """What holds for what was accepted: by what the URL has confirmed, or the server by itself."""
    if address.durability is not None and gives(address.durability, server.level):
        return address.durability
    return server.level


def may_lose(server: Server, address: Address | None = None) -> str:
    """What of accepted jobs, and when."""
    if not server.appends:
        kept = "all since its last snapshot" if server.save else "everything"
        lost = f"{kept}, whenever the server ends"
    elif server.fsync == "always" or (address is not None and address.durability == "fsync"):
        lost = "nothing when the server is killed or loses power"
    elif server.fsync == "no":
        lost = "nothing when the server is killed; some 30 s when it loses power"
    else:
        lost = "nothing when the server is killed; up to 2 s when it loses power"
    if server.replicas:
        wanted = address.replicas if address and address.durability == "replica" else 0
        lost += (
            f"; nothing that {wanted} of its {server.replicas} replicas must have, unless they are "
            "lost too"
            if wanted
            else f"; what its {server.replicas} replicas do not have yet, when one takes over"
        )
    return lost


def _advice(server: Server) -> str:
    if server.level == "memory":
        return f"to keep jobs when the server ends: {_CHANGE['everysec']}"
    return (
        f"to lose nothing with the power either: {_CHANGE['fsync']}; "
        "with replicas, ?durability=replica"
    )


def _findings(server: Server) -> Iterator[tuple[str, str, str, str]]:
    if server.primary:
        yield "fail", "primary", f"it is a replica of {server.primary} and takes no jobs", REPLICA
    if server.policy is None:
        yield (
            "warn",
            "eviction",
            "INFO does not say what the server does when its memory is full",
            "see that maxmemory-policy is noeviction",
        )
    else:
        action = "" if server.policy == "noeviction" else "CONFIG SET maxmemory-policy noeviction"
        yield ("fail" if action else "ok", "eviction", server.policy, action)
    if not server.limit:
        yield (
            "warn",
            "memory",
            f"{server.used >> 20} MiB used, and no maxmemory: a long queue ends the server",
            "CONFIG SET maxmemory to what the machine can spare",
        )
    else:
        says = f"{server.fill:.0%} of {server.limit >> 20} MiB used"
        action = "raise maxmemory, or let jobs end" if server.nearly_full else ""
        yield ("warn" if server.nearly_full else "ok", "memory", says, action)
    if not server.writes_well:
        yield "fail", "persistence", "the server cannot write its file", "look at its log and disk"
    if server.replicas and server.min_replicas == 0:
        says = f"{server.replicas}, but a primary cut off from them takes jobs that will be lost"
        yield "warn", "replicas", says, "CONFIG SET min-replicas-to-write 1"


def _unsupported(address: Address, feature: str, says: str) -> Unsupported:
    return Unsupported(f"{address.url} {says}", backend=address.url, feature=feature)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
