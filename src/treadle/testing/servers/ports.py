"""Free ports of the loopback interface."""

from __future__ import annotations

import socket

from treadle.ids import SystemIds

__all__ = ["HOST", "free_port", "listens"]

HOST = "127.0.0.1"
# Below the ports that systems give to outgoing connections, so that a server that was killed finds
# its port free when it comes back.
_FIRST, _LAST = 20_000, 32_000
_CHANCE = SystemIds().chance


def free_port() -> int:
    """A port that nobody listens at, and that stays free until a server takes it."""
    while True:
        port = int(_CHANCE.uniform(_FIRST, _LAST))
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def listens(port: int, host: str = HOST) -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
