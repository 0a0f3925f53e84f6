"""PgBouncer, between clients and a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.testing.servers.binaries import find_binary
from treadle.testing.servers.ports import HOST
from treadle.testing.servers.postgres import PostgresServer, account, give, is_ready
from treadle.testing.servers.server import Server

__all__ = ["PgBouncer"]


class PgBouncer(Server):
    """A pooler in transaction mode: each transaction may get another connection.

    Args:
        behind: the server that it leads to; not started and not closed by it.
        connections: to that server at most.
        port: where it listens; a free one by default.
    """

    def __init__(
        self, behind: PostgresServer, *, connections: int = 4, port: int | None = None
    ) -> None:
        super().__init__(port=port)
        # It refuses root, too.
        self.user = account()
        self._lines = (
            "[databases]",
            f"* = host={HOST} port={behind.port}",
            "[pgbouncer]",
            f"listen_addr = {HOST}",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = trust",
            f"auth_file = {self.folder / 'users'}",
            "pool_mode = transaction",
            f"default_pool_size = {connections}",
            "max_client_conn = 200",
        )

    @property
    def url(self) -> str:
        """Of the database ``test``, with what clients of a pooler have to say."""
        address = f"postgresql://postgres@{HOST}:{self.port}/test"
        return f"{address}?prepared=off&notify=off"

    def command(self) -> Sequence[str]:
        program = find_binary(["pgbouncer"], package="pgbouncer")
        return [program, str(self.folder / "pgbouncer.ini")]

    def prepare(self) -> None:
        """Write its settings."""
        (self.folder / "pgbouncer.ini").write_text("\n".join(self._lines) + "\n")
        (self.folder / "users").write_text('"postgres" ""\n')
        if self.user is not None:
            give(self.folder, self.user)

    def answers(self) -> bool:
        return is_ready(self.port)
