"""Jobs in RabbitMQ, for where AMQP is the house rule, alone or with a companion.

Alone, RabbitMQ keeps the jobs and owns the leases: a job that runs is a delivery that is not
acknowledged yet. It cannot look into its queues, so there are no records, results, unique keys,
keys, limits or dependencies; what needs one of these is refused. With a companion, another backend
has the jobs and serves all of that, and messages only name them.

Order of the layers, lowest first: ``address``, ``layout``, ``envelope``, ``endings`` (plain data
and decisions), ``refusals``, ``link`` (connections), ``topology`` and ``registry`` (which queues
there are), ``parcels`` and ``publish``, ``receipts`` (what was handed out and not answered),
``sessions``, ``intake`` (taking messages). Alone: ``bell`` (who waits),
``claim``, ``settle``, ``events``, ``client`` (all of it on one loop), ``backend``. With a
companion: ``messages``, ``companion``. Below both backends: ``threaded``.
"""

from __future__ import annotations

from typing import Any

from treadle.backends.common.namespace import check_namespace
from treadle.backends.rabbitmq.address import parse
from treadle.backends.rabbitmq.backend import RabbitBackend
from treadle.backends.rabbitmq.companion import CompanionBackend
from treadle.clock import Clock, SystemClock
from treadle.errors import InvalidOption
from treadle.guards import unknown_option
from treadle.ids import Ids, SystemIds
from treadle.ports import Backend, Feature, placing

__all__ = ["CompanionBackend", "RabbitBackend", "connect"]


def connect(
    url: str,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    namespace: str = "treadle",
    max_failed: int | None = None,
    companion: str | None = None,
    **options: Any,
) -> RabbitBackend | CompanionBackend:
    """A backend over the server that the URL names; nothing is touched before ``open``.

    Args:
        url: ``amqp://user:password@host:5672/vhost``, or ``amqps://``, with ``?patience=10``,
            ``?window=1000``, ``?max_failed=10000`` and what the driver knows: ``heartbeat``,
            ``cafile``, ``certfile``, ``keyfile``. ``?companion=redis://…`` as below, with
            ``%26`` for ``&``.
        clock: the time that jobs are stamped with. Delays go by the server's.
        ids: where nonces come from.
        namespace: prefix of the queues; programs with different ones do not see each other.
        max_failed: dead letters that are kept, 10,000 by default; the oldest go first.
        companion: URL of the backend that has the jobs, their results and all that is shared.
        options: others of the companion.

    Raises:
        InvalidOption: the companion has no records.
        UnknownOption: there is no companion to have these options.
    """
    check_namespace(namespace)
    clock = clock or SystemClock()
    ids = ids or SystemIds(clock)
    address = parse(url, max_failed=max_failed)
    beside = companion or address.companion
    if beside is None:
        for name in options.keys() - {"request_ttl"}:  # a store of requests is what it has not
            raise unknown_option("amqp://", name, ("companion", "max_failed", "namespace"))
        return RabbitBackend(address, namespace, clock=clock, ids=ids)
    if max_failed is not None:
        options["max_failed"] = max_failed
    store = _opened(beside, clock=clock, ids=ids, namespace=namespace, **options)
    return CompanionBackend(address, namespace, store, clock=clock, ids=ids)


def _opened(url: str, **options: Any) -> Backend:
    from treadle import backends  # it has imported this module

    store = backends.open(url, **options)
    if Feature.RECORDS not in store.features:
        raise InvalidOption(
            f"companion={store.url!r} has no records of jobs: it has to be Redis, PostgreSQL, "
            "SQLite or memory",
            option="companion",
            value=store.url,
        )
    if placing(store) is not None:
        raise InvalidOption(
            f"companion={store.url!r} is in several shards, whose jobs no message can name in "
            "turn: leave shards away",
            option="companion",
            value=store.url,
        )
    return store
