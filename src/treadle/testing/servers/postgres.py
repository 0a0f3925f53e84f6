"""A PostgreSQL server."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from treadle.testing.servers.binaries import find_binary
from treadle.testing.servers.certificates import Certificates, make_certificates
from treadle.testing.servers.ports import HOST
from treadle.testing.servers.server import Server

__all__ = ["PostgresServer", "account", "give", "is_ready"]

_PACKAGE = "postgresql"


class PostgresServer(Server):
    """A server that trusts everybody on this machine, with an empty database ``test``.

    The cluster is made once a process and copied for each server. Root runs it as another user,
    because PostgreSQL refuses root.

    Args:
        port: where it listens; a free one by default.
        config: settings of postgresql.conf.
        tls: whether it speaks TLS, with certificates of its own, and takes nobody without.
        fsync: whether a commit waits for the disk; without, tests are faster, and a kill of the
            server loses nothing either, only a loss of power does.
    """

    start_seconds = 60.0
    stop_signal = signal.SIGINT

    def __init__(
        self,
        *,
        port: int | None = None,
        config: Mapping[str, str] | None = None,
        fsync: bool = False,
        tls: bool = False,
    ) -> None:
        super().__init__(port=port)
        self.user = account()
        self.certificates: Certificates | None = make_certificates(self.folder) if tls else None
        self.config = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "fsync": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
            "shared_buffers": "32MB",
            "max_connections": "200",
            "timezone": "UTC",
            **(self._secure() if tls else {}),
            **(config or {}),
        }

    @property
    def url(self) -> str:
        """Of the database ``test``."""
        return self.url_of("test")

    def url_of(self, database: str) -> str:
        """Of a database on it."""
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database; its URL."""
        words = ("-h", HOST, "-p", str(self.port), "-U", "postgres", "-T", template, name)
        subprocess.run([_program("createdb"), *words], check=True, capture_output=True, timeout=60)
        return self.url_of(name)

    def command(self) -> Sequence[str]:
        settings = [f"--{name}={value}" for name, value in self.config.items()]
        return [_program("postgres"), "-D", str(self.folder / "data"), *settings]

    def prepare(self) -> None:
        """Copy the cluster, when it has none."""
        data = self.folder / "data"
        if not data.exists():
            shutil.copytree(_template(self.user), data)
        # The file that says which process has the folder, of a server that was killed.
        (data / "postmaster.pid").unlink(missing_ok=True)
        if self.user is not None:
            give(self.folder, self.user)

    def answers(self) -> bool:
        return is_ready(self.port)

    def _secure(self) -> dict[str, str]:
        made = self.certificates
        assert made is not None
        # Who may read it beside its owner makes the server refuse a key.
        made.key.chmod(0o600)
        entries = self.folder / "pg_hba.conf"
        entries.write_text("hostssl all all 127.0.0.1/32 trust\nlocal all all trust\n")
        return {
            "ssl": "on",
            "ssl_cert_file": str(made.certificate),
            "ssl_key_file": str(made.key),
            "hba_file": str(entries),
        }


def is_ready(port: int) -> bool:
    """Whether a server at a port of this machine lets clients in."""
    words = ("-q", "-h", HOST, "-p", str(port), "-U", "postgres", "-t", "1")
    return subprocess.run([_program("pg_isready"), *words], check=False, timeout=10).returncode == 0


@cache
def _program(name: str) -> str:
    return find_binary([name], package=_PACKAGE)


def account() -> str | None:
    """Who is to run what refuses root: nobody else than us, unless we are root."""
    if os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return None


def give(folder: Path, user: str) -> None:
    """Let a folder and all in it belong to a user."""
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, user=user)


@cache
def _template(user: str | None) -> Path:
    """A cluster that was just made, with the database ``test``."""
    folder = Path(tempfile.mkdtemp(prefix="treadle-postgres-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if user is not None:
        shutil.chown(folder, user=user)
    data = folder / "data"
    initdb = [_program("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
    _quietly([*initdb, "--no-sync", "--locale=C"], user, folder)
    # In single-user mode, which needs neither a port nor a second program.
    single = [_program("postgres"), "--single", "-D", str(data), "template1"]
    _quietly(single, user, folder, b"CREATE DATABASE test\n")
    return data


def _quietly(command: Sequence[str], user: str | None, folder: Path, given: bytes = b"") -> None:
    subprocess.run(
        command, user=user, cwd=folder, input=given, check=True, capture_output=True, timeout=120
    )
