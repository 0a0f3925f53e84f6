"""The stores of this process, by name."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

from treadle.backends.common.url import Url
from treadle.backends.memory.client import MemoryBackend
from treadle.backends.memory.events import Hub
from treadle.backends.memory.store import Store
from treadle.clock import Clock
from treadle.errors import InvalidOption
from treadle.ids import Ids

__all__ = ["connect"]


class _Entry:
    """A store and the number of backends that share it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hub = Hub()
        self.users = 0


class _Registry:
    """Named stores are shared in the process; one without a name belongs to who opened it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.named: dict[tuple[str, str], _Entry] = {}
        self.all: weakref.WeakSet[_Entry] = weakref.WeakSet()

    def enter(
        self,
        key: tuple[str, str] | None,
        clock: Clock,
        *,
        max_failed: int | None,
        request_ttl: float | None,
    ) -> _Entry:
        """The entry under a key, or a new one."""
        with self.lock:
            entry = self.named.get(key) if key is not None else None
            if entry is None:
                entry = _Entry(Store(clock))
                self.all.add(entry)
                if key is not None:
                    self.named[key] = entry
            if max_failed is not None:
                entry.store.max_failed = max_failed
            if request_ttl is not None:
                entry.store.request_ttl = request_ttl
            entry.users += 1
            return entry

    def leave(self, key: tuple[str, str] | None, entry: _Entry) -> None:
        """One backend less; the last takes the store with it."""
        with self.lock:
            entry.users -= 1
            if entry.users > 0:
                return
            if key is not None and self.named.get(key) is entry:
                del self.named[key]
        entry.hub.close()
        entry.store.reset()

    def fork(self) -> None:
        """A child has nothing of its parent: whatever it did would be done twice."""
        self.lock = threading.Lock()
        for entry in tuple(self.all):
            entry.store.reset()
            entry.hub = Hub()


_registry = _Registry()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_registry.fork)


def connect(
    url: str,
    *,
    clock: Clock,
    ids: Ids,
    namespace: str = "treadle",
    request_ttl: float | None = None,
    **options: Any,
) -> MemoryBackend:
    """A backend in memory: ``memory://`` of its own, ``memory://name`` shared in the process.

    Whoever opens a shared store first gives it its clock; the latest ``max_failed`` and
    ``request_ttl`` hold.

    Args:
        url: ``memory://`` or ``memory://name``.
        clock: what the store goes by.
        ids: where nonces and ids come from.
        namespace: stores of one name and different namespaces are different.
        request_ttl: seconds for which a repeated request gets the answer of the first; 600 by
            default.
        options: ``max_failed``, the failed jobs that are kept, 10,000 by default.
    """
    address = Url(url)
    max_failed = address.integer("max_failed", options.pop("max_failed", None), least=0)
    address.refuse(options, known=("max_failed",))
    if address.path.strip("/") or address.user:
        raise InvalidOption(
            f"url={str(address)!r} has more than a name: use 'memory://' for a store of this app, "
            "'memory://name' for one shared in the process",
            option="url",
            value=str(address),
        )
    key = (address.host, namespace) if address.host else None
    entry = _registry.enter(key, clock, max_failed=max_failed, request_ttl=request_ttl)
    return MemoryBackend(str(address), entry.store, entry.hub, ids, lambda: _leave(key, entry))


def _leave(key: tuple[str, str] | None, entry: _Entry) -> None:
    _registry.leave(key, entry)
