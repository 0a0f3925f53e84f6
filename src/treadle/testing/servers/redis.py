"""A Redis or Valkey server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from treadle.testing.servers.binaries import find_binary
from treadle.testing.servers.certificates import Certificates, make_certificates
from treadle.testing.servers.ports import HOST, free_port
from treadle.testing.servers.resp import Reply, RespError, ask
from treadle.testing.servers.server import Server

__all__ = ["RedisServer"]


class RedisServer(Server):
    """A server that keeps nothing on the disk, unless ``config`` says so.

    Args:
        port: where it listens; a free one by default.
        config: settings of redis.conf, such as ``{"appendonly": "yes"}``; an empty value is
            written as ``""``.
        users: accounts, as the lines of ``ACL SETUSER`` without these words.
        replica_of: the server whose data it copies.
        tls: whether it speaks TLS only, with certificates of its own.
        program: the path of ``redis-server`` or ``valkey-server``; by default the one of this
            machine, of Redis where it has both.
    """

    start_seconds = 20.0

    def __init__(
        self,
        *,
        port: int | None = None,
        config: Mapping[str, str] | None = None,
        users: Sequence[str] = (),
        replica_of: RedisServer | None = None,
        tls: bool = False,
        program: str | None = None,
    ) -> None:
        super().__init__(port=port)
        self._program = program
        self.users = tuple(users)
        self.certificates: Certificates | None = make_certificates(self.folder) if tls else None
        self.config = {
            "bind": HOST,
            "port": "0" if tls else str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            # For DEBUG, which faults are made with; a setting since 7.0, read only where it is.
            "enable-debug-command": "yes",
            "repl-diskless-sync-delay": "0",
            **(self._secure() if tls else {}),
            **({"replicaof": f"{HOST} {replica_of.port}"} if replica_of else {}),
            # Else nodes of a cluster talk at a port that somebody else may have.
            **({"cluster-port": str(free_port())} if "cluster-enabled" in (config or {}) else {}),
            **(config or {}),
        }

    @property
    def url(self) -> str:
        """Of the database 0, without an account."""
        scheme = "redis" if self.certificates is None else "rediss"
        return f"{scheme}://{HOST}:{self.port}/0"

    def command(self) -> Sequence[str]:
        names = ["redis-server", "valkey-server"]
        program = self._program or find_binary(names, package="redis-server")
        return [program, str(self.folder / "redis.conf")]

    def prepare(self) -> None:
        """Write the configuration, unless the server itself has changed it."""
        file = self.folder / "redis.conf"
        if file.exists():
            return
        lines = [f"{name} {_quoted(value)}" for name, value in self.config.items()]
        lines += [f"user {user}" for user in self.users]
        file.write_text("\n".join(lines) + "\n")

    def answers(self) -> bool:
        try:
            return self.ask("PING") == "PONG"
        except RespError as refused:
            return str(refused).startswith("NOAUTH")
        except OSError:
            return False

    def ask(self, *words: object) -> Reply:
        """The reply to one command, over a connection of its own."""
        tls = self.certificates.context() if self.certificates else None
        return ask(self.port, words, tls=tls)

    def info(self, section: str) -> dict[str, str]:
        """The fields of one section of ``INFO``."""
        lines = str(self.ask("INFO", section)).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def _secure(self) -> dict[str, str]:
        made = self.certificates
        assert made is not None
        return {
            "tls-port": str(self.port),
            "tls-ca-cert-file": str(made.authority),
            "tls-cert-file": str(made.certificate),
            "tls-key-file": str(made.key),
            "tls-auth-clients": "no",
        }


def _quoted(value: str) -> str:
    return value or '""'
