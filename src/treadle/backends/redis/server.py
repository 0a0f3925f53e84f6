"""What a server is: its version, what it keeps when it dies, what it does when it is full."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from treadle.backends.redis.link import Link
from treadle.errors import BackendError

__all__ = ["Server", "look"]

_FULL = 0.9


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a server. What an account may not read is ``None``."""

    # Redis or Valkey.
    kind: str
    version: tuple[int, ...]
    # Of this one, so that it takes no writes; empty for a primary.
    primary: str = ""
    policy: str | None
    # Whether writes go to a file at once, and how soon that file is brought to the disk.
    appends: bool
    fsync: str | None
    # Snapshots; empty for none.
    save: str | None
    # Copies that follow now, and how many must for a write to be taken.
    replicas: int
    min_replicas: int | None
    # Bytes; ``limit`` is 0 for none.
    used: int
    limit: int
    # Seconds since the epoch, by its clock.
    now: float
    # The last time that it wrote its file, it could.
    writes_well: bool

    @property
    def level(self) -> str:
        """What of ``durability`` it gives by itself."""
        if not self.appends:
            return "memory"
        return "fsync" if self.fsync == "always" else "everysec"

    @property
    def waits_for_disk(self) -> bool:
        """Whether it can be asked, after a write, if its disk has it (WAITAOF)."""
        # Valkey began as Redis 7.2.
        return self.kind == "Valkey" or self.version >= (7, 2)

    @property
    def fill(self) -> float:
        """The part of its memory that is used."""
        return self.used / self.limit if self.limit else 0.0

    @property
    def nearly_full(self) -> bool:
        """Whether new jobs may soon be refused."""
        return self.fill > _FULL


async def look(link: Link) -> Server:
    """The facts, in a few requests that change nothing.

    Raises:
        BackendUnavailable: the server cannot be reached.
    """
    info = _fields(await link.command("INFO"))
    settings = await _settings(link)
    seconds, micros = await link.command("TIME")
    is_valkey = "valkey_version" in info
    return Server(
        kind="Valkey" if is_valkey else "Redis",
        version=_version(info["valkey_version" if is_valkey else "redis_version"]),
        primary=_primary(info),
        policy=info.get("maxmemory_policy"),
        appends=info.get("aof_enabled") == "1",
        fsync=settings.get("appendfsync"),
        save=settings.get("save"),
        replicas=int(info.get("connected_slaves", "0")),
        min_replicas=_number(settings.get("min-replicas-to-write")),
        used=int(info.get("used_memory", "0")),
        limit=int(info.get("maxmemory", "0")),
        now=int(seconds) + int(micros) / 1e6,
        writes_well=info.get("aof_last_write_status", "ok") == "ok",
    )


async def _settings(link: Link) -> dict[str, str]:
    """Settings that INFO does not have; none where the account may not read them."""
    found: dict[str, str] = {}
    for name in ("appendfsync", "save", "min-replicas-to-write"):
        try:
            said = await link.command("CONFIG", "GET", name)
        except (BackendError, RuntimeError):
            return found
        pairs: list[Any] = said
        if len(pairs) == 2:
            found[name] = pairs[1].decode()
    return found


def _fields(text: bytes) -> Mapping[str, str]:
    lines = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}


def _primary(info: Mapping[str, str]) -> str:
    if info.get("role") != "slave":
        return ""
    return f"{info.get('master_host', '')}:{info.get('master_port', '')}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _number(text: str | None) -> int | None:
    return int(text) if text is not None else None
