"""Short verbs for the tests of the SQLite backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from treadle.backends.sqlite import connect
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.ids import SystemIds
from treadle.ports import Claim, Settlement
from treadle.records import Lease, NewJob, Session, SessionInfo, Settled
from treadle.verdicts import Done

__all__ = ["claim", "finish", "job", "jobs", "opened", "session"]

_ids = SystemIds()


@asynccontextmanager
async def opened(path: Path, query: str = "", **options: Any) -> AsyncIterator[SqliteBackend]:
    """A backend over a file, closed at the end."""
    backend = connect(f"sqlite:///{path}{query}", **options)
    try:
        await backend.open()
        yield backend
    finally:
        await backend.aclose()
        backend.close()


def job(**fields: Any) -> NewJob:
    """A job with a fresh id."""
    return NewJob(**{"id": _ids.new(), "task": "tests.task", "payload": b"payload", **fields})


def jobs(number: int, **fields: Any) -> list[NewJob]:
    """So many jobs."""
    return [job(**fields) for _ in range(number)]


async def session(backend: SqliteBackend, name: str = "one") -> Session:
    """An open session."""
    return await backend.open_session(SessionInfo(name=name))


async def claim(
    backend: SqliteBackend, who: Session, request: int = 1, limit: int = 100, **fields: Any
) -> Sequence[Lease]:
    """What a claim grants."""
    ask = Claim(session=who, request=request, limit=limit, **fields)
    return (await backend.claim(ask)).leases


async def finish(backend: SqliteBackend, leases: Sequence[Lease]) -> Sequence[Settled]:
    """End attempts well."""
    done = Done(result=b"result")
    return await backend.settle([Settlement(token=one.token, verdict=done) for one in leases])
