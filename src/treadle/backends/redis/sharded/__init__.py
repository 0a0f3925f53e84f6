"""One namespace in several shards, each a store of its own behind the client of one.

``placing`` says where a job is, ``claiming`` takes from all in turns, ``backend`` is what the ports
see. What any composition of stores needs, such as merging pages, is in ``backends.common``. No
script touches two shards.
"""

from __future__ import annotations

from treadle.backends.redis.sharded.backend import ShardedBackend

__all__ = ["ShardedBackend"]
