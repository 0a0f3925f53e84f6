"""Jobs in Redis or Valkey: fast, for fleets.

Every step is one script (``lua/``), so it happens whole or not at all. Order of the layers, lowest
first: ``scripts``, ``wire`` … ``link`` (how they are run), ``layout``, ``encode`` and ``decode``
(what they are given and what they answer), ``store``, the steps that take more than one script
(``seeking``, ``finding``, ``altering``, ``holding``, ``sharing``, ``waiting``), ``backend``,
``sharded``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.backends.common.namespace import check_namespace
from treadle.backends.common.untold import Untold
from treadle.backends.redis.address import parse
from treadle.backends.redis.backend import RedisBackend
from treadle.backends.redis.link import Link
from treadle.backends.redis.store import Store
from treadle.clock import Clock, SystemClock
from treadle.ids import Ids, SystemIds

if TYPE_CHECKING:
    from treadle.backends.redis.sharded import ShardedBackend

__all__ = ["RedisBackend", "connect"]


def connect(
    url: str,
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    namespace: str = "treadle",
    max_failed: int | None = None,
    request_ttl: float = 600.0,
) -> RedisBackend | ShardedBackend:
    """A backend over the server that the URL names; nothing is touched before ``open``.

    Args:
        url: ``redis://user:password@host:6379/0``; ``address.py`` has the other forms.
        clock: the time of the jobs; the server's own, unless it is that of a test.
        ids: where ids and nonces come from.
        namespace: prefix of all keys; programs with different ones do not see each other.
        max_failed: failed jobs that are kept, 10,000 by default; the oldest go first.
        request_ttl: seconds for which a repeated request gets the answer of the first.
    """
    check_namespace(namespace)
    clock = clock or SystemClock()
    ids = ids or SystemIds(clock)
    address = parse(url, max_failed=max_failed)
    untold = Untold()
    stores = [
        Store(
            Link(address, chance=ids.chance),
            clock,
            namespace=namespace,
            max_failed=-(-address.max_failed // address.shards),
            request_ttl=request_ttl,
            shard=shard,
            shards=address.shards,
            untold=untold,
        )
        for shard in range(address.shards)
    ]
    if len(stores) == 1:
        return RedisBackend(address.url, stores[0], ids)
    from treadle.backends.redis.sharded import ShardedBackend

    home = RedisBackend(address.url, stores[0], ids, whole=False)
    others = [
        RedisBackend(address.url, store, ids, home.publish, whole=False) for store in stores[1:]
    ]
    return ShardedBackend(address.url, [home, *others], stores, ids)
