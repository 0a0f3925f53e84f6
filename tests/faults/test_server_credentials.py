"""Servers that let nobody in for a while: another password, a certificate nobody vouches for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

import asyncpg
import pytest

from tests.faults.shop_support import shop
from tests.servers import own
from treadle import Event, Task
from treadle.clock import SystemClock
from treadle.errors import BackendError, OutcomeUnknown
from treadle.ids import SystemIds
from treadle.testing import eventually
from treadle.testing.ledger import check, dump
from treadle.testing.proxy import Proxy
from treadle.testing.servers import (
    Certificates,
    PostgresServer,
    RabbitServer,
    RedisServer,
    Server,
    make_certificates,
)
from treadle.testing.servers.postgres import give

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(400)]

CLOCK = SystemClock()
FIRST, SECOND = "first-word", "second-word"
SECONDS = 4.0


class Guarded(Protocol):
    """A server with TLS and an account that has a password."""

    server: Server
    certificates: Certificates

    def start(self) -> object:
        """Start it, with the account."""
        ...

    def url(self, port: int) -> str:
        """For the account with its first password, at this port."""
        ...

    async def let_in(self, password: str) -> None:
        """Let the account in with this password only, and break its connections off."""
        ...

    async def show(self, shown: Certificates) -> None:
        """Have the server read these, which its files have by now, and break all connections."""
        ...


class _Redis:
    def __init__(self) -> None:
        users = ["default on nopass ~* &* +@all", f"jobs on >{FIRST} ~* &* +@all"]
        self.server = RedisServer(users=users, tls=True)
        assert self.server.certificates is not None
        self.certificates = self.server.certificates

    def start(self) -> object:
        return self.server.start()

    def url(self, port: int) -> str:
        authority = self.certificates.authority
        return f"rediss://jobs:{FIRST}@127.0.0.1:{port}/0?tls_ca={authority}&patience=1"

    async def let_in(self, password: str) -> None:
        self.server.ask("ACL", "SETUSER", "jobs", "resetpass", f">{password}")
        self.server.ask("CLIENT", "KILL", "USER", "jobs")

    async def show(self, shown: Certificates) -> None:
        files = self.certificates
        self.server.ask(
            *("CONFIG", "SET", "tls-cert-file", files.certificate, "tls-key-file", files.key)
        )
        self.server.certificates = shown
        for kind in ("normal", "pubsub"):
            self.server.ask("CLIENT", "KILL", "TYPE", kind)


class _Postgres:
    def __init__(self) -> None:
        self.server = PostgresServer(tls=True)
        assert self.server.certificates is not None
        self.certificates = self.server.certificates

    def start(self) -> object:
        entries = self.server.folder / "pg_hba.conf"
        guarded = "hostssl all jobs 127.0.0.1/32 scram-sha-256\n"
        entries.write_text(f"{guarded}{entries.read_text('utf-8')}", "utf-8")
        return self.server.start()

    def url(self, port: int) -> str:
        authority = self.certificates.authority
        options = f"sslmode=verify-full&sslrootcert={authority}&patience=1"
        return f"postgresql://jobs:{FIRST}@127.0.0.1:{port}/test?{options}"

    async def let_in(self, password: str) -> None:
        role = "SELECT 1 FROM pg_roles WHERE rolname = 'jobs'"
        if not await self._ask(role):
            await self._ask("CREATE ROLE jobs LOGIN")
            await self._ask("GRANT ALL ON SCHEMA public TO jobs")
        await self._ask(f"ALTER ROLE jobs PASSWORD '{password}'")
        await self._break_off()

    async def show(self, shown: Certificates) -> None:
        if self.server.user is not None:
            give(self.server.folder, self.server.user)
        await self._ask("SELECT pg_reload_conf()")
        await self._break_off()

    async def _break_off(self) -> None:
        await self._ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'jobs'"
        )

    async def _ask(self, statement: str) -> list[object]:
        wire = await asyncpg.connect(
            host=str(self.server.folder), port=self.server.port, user="postgres", database="test"
        )
        try:
            return list(await wire.fetch(statement))
        finally:
            await wire.close()


class _Rabbit:
    def __init__(self) -> None:
        self.server = RabbitServer(tls=True)
        self.server.start_seconds = 300.0
        assert self.server.certificates is not None
        self.certificates = self.server.certificates

    def start(self) -> object:
        self.server.start()
        self.server.control("add_user", "jobs", FIRST)
        return self.server.control("set_permissions", "jobs", ".*", ".*", ".*")

    def url(self, port: int) -> str:
        authority = self.certificates.authority
        return f"amqps://jobs:{FIRST}@127.0.0.1:{port}/%2F?cafile={authority}&patience=1"

    async def let_in(self, password: str) -> None:
        await self._control("change_password", "jobs", password)
        await self._control("close_all_connections", "another password")

    async def show(self, shown: Certificates) -> None:
        await self._control("eval", "ssl:clear_pem_cache().")
        await self._control("close_all_connections", "another certificate")

    async def _control(self, *words: str) -> None:
        await asyncio.to_thread(self.server.control, *words)


@pytest.fixture(scope="module", params=[_Redis, _Postgres, _Rabbit])
def guarded(request: pytest.FixtureRequest) -> Iterator[Guarded]:
    made: Guarded = request.param()
    try:
        own(made.start)
        yield made
    finally:
        made.server.close()


@asynccontextmanager
async def another_password(guarded: Guarded, folder: Path) -> AsyncIterator[None]:
    await guarded.let_in(SECOND)
    yield
    await guarded.let_in(FIRST)


@asynccontextmanager
async def another_authority(guarded: Guarded, folder: Path) -> AsyncIterator[None]:
    """It shows a certificate of somebody whom the clients do not trust."""
    mine, other = guarded.certificates, make_certificates(folder)
    kept = mine.certificate.read_bytes(), mine.key.read_bytes()
    mine.certificate.write_bytes(other.certificate.read_bytes())
    mine.key.write_bytes(other.key.read_bytes())
    await guarded.show(other)
    yield
    mine.certificate.write_bytes(kept[0])
    mine.key.write_bytes(kept[1])
    await guarded.show(mine)


Away: TypeAlias = Callable[[Guarded, Path], AbstractAsyncContextManager[None]]


@pytest.mark.parametrize(
    ("away", "said"),
    [
        pytest.param(another_password, "password", id="password"),
        pytest.param(another_authority, "certificate that is not trusted", id="certificate"),
    ],
)
async def test_a_foreman_waits_until_it_is_let_in_again(
    guarded: Guarded, away: Away, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both it and who enqueues say why, at a pace that hurts nobody, and show no password.

    Nothing that was accepted is lost or done twice.
    """
    await guarded.let_in(FIRST)
    namespace = f"t-{SystemIds().new()}"
    with Proxy(guarded.server.port) as proxy:
        url = guarded.url(proxy.port)
        async with shop(url, tmp_path / "ledgers", namespace=namespace, patience=1) as one:
            done: list[Event] = []
            one.app.on("job.succeeded", done.append)
            async with one.foreman():
                await one.work.aenqueue()
                await eventually(lambda: len(done) == 1, 60)
                async with away(guarded, tmp_path):
                    with one.unreliable():
                        proxy.arrivals.clear()
                        with pytest.raises((BackendError, OutcomeUnknown)) as caught:
                            await one.work.aenqueue()
                        await CLOCK.sleep(SECONDS)
                        tried = len(proxy.arrivals)
                await _enqueued(one.work)
                await eventually(lambda: len(done) == 2, 60)
            # A broker cannot be looked into.
            kept = None if isinstance(guarded, _Rabbit) else await dump(await one.app.core.ready())
    findings = check(tmp_path / "ledgers", kept)
    assert not findings.violations, findings.report()
    assert said in str(caught.value)
    assert said in caplog.text
    assert FIRST not in f"{caught.value}{caplog.text}"
    # Five a second, and some at once by each of those that ask.
    assert 1 < tried < 5 * (SECONDS + 1) + 15


async def _enqueued(work: Task[..., None]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await work.aenqueue()
            except (BackendError, OutcomeUnknown):
                await CLOCK.sleep(0.2)
            else:
                return
