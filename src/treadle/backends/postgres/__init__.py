"""Jobs in PostgreSQL: for fleets, beside the data.

``docs/explanation/postgres.md`` tells how it works. Order of the layers, lowest first:
``statements``, ``rows``, ``reading`` and ``tx`` (one transaction), the steps (``push``, ``claim``,
``settle`` …), ``client`` and ``link`` (connections), ``store``, ``waiting``, ``backend``.
"""

from __future__ import annotations

from treadle.backends.common.namespace import check_namespace
from treadle.backends.common.settings import Settings
from treadle.backends.postgres.address import parse
from treadle.backends.postgres.backend import PostgresBackend
from treadle.clock import Clock, SystemClock
from treadle.ids import Ids, SystemIds

__all__ = ["PostgresBackend", "connect"]


def connect(
    url: str,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    namespace: str = "treadle",
    max_failed: int | None = None,
    request_ttl: float = 600.0,
) -> PostgresBackend:
    """A backend over the database that the URL names; nothing is touched before ``open``.

    Args:
        url: ``postgresql://user:password@host:5432/database``, with ``?connections=6``,
            ``?notify=off``, ``?prepared=off``, ``?patience=10``, ``?max_failed=10000`` and what the
            driver knows, such as ``sslmode``.
        clock: the time of the store; with the clock of the machine it is the server's.
        ids: where ids and nonces come from.
        namespace: prefix of the tables; programs with different ones do not see each other.
        max_failed: failed jobs that are kept, 10,000 by default; the oldest go first.
        request_ttl: seconds for which a repeated request gets the answer of the first.
    """
    check_namespace(namespace)
    clock = clock or SystemClock()
    ids = ids or SystemIds(clock)
    address = parse(url, max_failed=max_failed)
    settings = Settings.of(ids, max_failed=address.max_failed, request_ttl=request_ttl)
    return PostgresBackend(address, namespace, settings, clock=clock, ids=ids)
