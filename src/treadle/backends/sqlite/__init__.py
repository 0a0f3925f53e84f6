"""Jobs in one SQLite file: durable, for many processes of one machine, nothing to start.

``docs/explanation/sqlite.md`` tells how it works. Order of the layers, lowest first:
``statements``, ``tx`` (one transaction), the steps (``push``, ``claim``, ``settle`` …),
``journal`` and ``writer`` (when they are carried out), ``store``, ``backend``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.backends.common.namespace import check_namespace
from treadle.backends.common.settings import Settings
from treadle.backends.sqlite.address import parse
from treadle.clock import Clock, SystemClock
from treadle.ids import Ids, SystemIds

if TYPE_CHECKING:
    from treadle.backends.sqlite.backend import SqliteBackend

__all__ = ["connect"]


def connect(
    url: str,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    namespace: str = "treadle",
    max_failed: int | None = None,
    request_ttl: float = 600.0,
) -> SqliteBackend:
    """A backend over the file that the URL names; nothing is touched before ``open``.

    Args:
        url: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, with ``?durability=normal``,
            ``?foreign=allow``, ``?patience=10``, ``?max_failed=10000``.
        clock: the time of the store.
        ids: where ids and nonces come from.
        namespace: prefix of the tables; programs with different ones do not see each other.
        max_failed: failed jobs that are kept, 10,000 by default; the oldest go first.
        request_ttl: seconds for which a repeated request gets the answer of the first.
    """
    # Not before it is used: an app has its URL checked where it is made, which is at start-up.
    from treadle.backends.sqlite.backend import SqliteBackend

    check_namespace(namespace)
    clock = clock or SystemClock()
    ids = ids or SystemIds(clock)
    address = parse(url, max_failed=max_failed)
    settings = Settings.of(ids, max_failed=address.max_failed, request_ttl=request_ttl)
    return SqliteBackend(address, namespace, settings, clock=clock, ids=ids)
