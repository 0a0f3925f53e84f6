"""A RabbitMQ server."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence

from treadle.testing.servers.binaries import find_binary
from treadle.testing.servers.certificates import Certificates, make_certificates
from treadle.testing.servers.ports import HOST, free_port, listens
from treadle.testing.servers.server import Server

__all__ = ["RabbitServer"]

_PACKAGE = "rabbitmq-server"
# Debian's wrappers change the user and forget the environment.
_WRAPPERS = ("/usr/sbin", "/usr/bin")


class _PortMapper(Server):
    """The daemon that RabbitMQ finds its nodes by, one for each server and in its sight only."""

    @property
    def url(self) -> str:
        return f"epmd://{HOST}:{self.port}"

    def command(self) -> Sequence[str]:
        return [find_binary(["epmd"], package="erlang-base"), "-port", str(self.port)]

    def environment(self) -> Mapping[str, str]:
        return {"ERL_EPMD_ADDRESS": HOST}

    def answers(self) -> bool:
        return listens(self.port)


class RabbitServer(Server):
    """A node of its own, with the account guest/guest and quorum queues.

    Args:
        port: where it listens; a free one by default.
        config: settings of rabbitmq.conf.
        tls: whether it speaks TLS only, with certificates of its own.
        beside: a node with which it makes a cluster, as long as that one is not closed.
    """

    start_seconds = 90.0

    def __init__(
        self,
        *,
        port: int | None = None,
        config: Mapping[str, str] | None = None,
        tls: bool = False,
        beside: RabbitServer | None = None,
    ) -> None:
        super().__init__(port=port)
        self.certificates: Certificates | None = make_certificates(self.folder) if tls else None
        self._beside = beside
        self._mapper: _PortMapper = _PortMapper() if beside is None else beside._mapper
        self._distribution = free_port()
        self.node = f"treadle{self.port}@localhost"
        self.config = {
            **(self._secure() if tls else {"listeners.tcp.1": f"{HOST}:{self.port}"}),
            "log.console": "true",
            "log.console.level": "warning",
            "vm_memory_high_watermark.absolute": "1GB",
            "disk_free_limit.absolute": "50MB",
            **({} if beside is None else self._with(beside)),
            **(config or {}),
        }

    @property
    def url(self) -> str:
        """Of the virtual host ``/``."""
        scheme = "amqp" if self.certificates is None else "amqps"
        return f"{scheme}://guest:guest@{HOST}:{self.port}/%2F"

    def command(self) -> Sequence[str]:
        return [find_binary(["rabbitmq-server"], package=_PACKAGE, skip=_WRAPPERS)]

    def environment(self) -> Mapping[str, str]:
        folder = self.folder
        return {
            # Where the secret is that the nodes of a cluster have in common.
            "HOME": str(folder if self._beside is None else self._beside.folder),
            "ERL_EPMD_PORT": str(self._mapper.port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # Has the script become the server, instead of a shell that waits for it.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-noinput -kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none"
            ),
        }

    def prepare(self) -> None:
        """Write the configuration, and have the port mapper run."""
        lines = [f"{name} = {value}" for name, value in self.config.items()]
        (self.folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "enabled_plugins").write_text("[].\n")
        if not self._mapper.running:
            self._mapper.start()

    def answers(self) -> bool:
        """Whether it greets a client of AMQP 0-9-1."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection((HOST, self.port), 1) as plain,
            self._entered(plain) as line,
        ):
            line.settimeout(1)
            line.sendall(b"AMQP\0\0\x09\x01")
            # A frame of a method, on channel 0: Connection.Start.
            return line.recv(3) == b"\x01\0\0"
        return False

    def _entered(self, line: socket.socket) -> socket.socket:
        if self.certificates is None:
            return line
        return self.certificates.context().wrap_socket(line, server_hostname=HOST)

    def _secure(self) -> dict[str, str]:
        made = self.certificates
        assert made is not None
        return {
            "listeners.tcp": "none",
            "listeners.ssl.1": f"{HOST}:{self.port}",
            "ssl_options.cacertfile": str(made.authority),
            "ssl_options.certfile": str(made.certificate),
            "ssl_options.keyfile": str(made.key),
            "ssl_options.verify": "verify_none",
            "ssl_options.fail_if_no_peer_cert": "false",
        }

    def _with(self, other: RabbitServer) -> dict[str, str]:
        nodes = "cluster_formation.classic_config.nodes"
        return {
            "cluster_formation.peer_discovery_backend": "classic_config",
            f"{nodes}.1": other.node,
            f"{nodes}.2": self.node,
        }

    def control(self, *words: str) -> str:
        """What ``rabbitmqctl`` says to this node."""
        program = find_binary(["rabbitmqctl"], package=_PACKAGE, skip=_WRAPPERS)
        done = subprocess.run(
            [program, "-n", self.node, *words],
            env={**os.environ, **self.environment()},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout

    def close(self) -> None:
        super().close()
        if self._beside is None:
            self._mapper.close()
