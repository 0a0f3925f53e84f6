"""A backend over the one in memory whose verbs fail when they are told to.

``away[verb]`` says how: ``refused`` before the store has heard of it, ``unheard`` after it has
done it, when the reply is lost; ``silent`` when it never answers; or an error to raise.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

from treadle import backends
from treadle.errors import BackendUnavailable

VERBS = ("claim", "extend", "settle", "push", "wait", "open_session", "close_session")


class FlakyBackend:
    """Everything goes to the inner backend, except what is away."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self.away: dict[str, str | Exception] = {}
        # Calls to come that fail; the rest goes through. ``None`` for as long as it is away.
        self.left: dict[str, int] = {}
        self.calls: Counter[str] = Counter()
        self.asked: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._inner, name)
        if name not in VERBS:
            return verb

        async def call(*args: Any, **kwargs: Any) -> Any:
            how = self._how(name)
            with self._lock:
                self.calls[name] += 1
                self.asked.append((name, args[0] if args else None))
            if isinstance(how, Exception):
                raise how
            if how == "silent":
                await asyncio.Event().wait()
            if how == "refused":
                raise BackendUnavailable(f"{name}: nobody there")
            answer = await verb(*args, **kwargs)
            if how == "unheard":
                raise BackendUnavailable(f"{name}: the connection broke")
            return answer

        return call

    def _how(self, name: str) -> str | Exception | None:
        with self._lock:
            if name not in self.away:
                return None
            left = self.left.get(name)
            if left is None:
                return self.away[name]
            self.left[name] = left - 1
            return self.away[name] if left > 0 else None

    def fail(self, name: str, how: str | Exception, times: int | None = None) -> None:
        """Let the next calls of a verb fail."""
        with self._lock:
            self.away[name] = how
            self.left.pop(name, None)
            if times is not None:
                self.left[name] = times

    def mend(self, name: str) -> None:
        """Let a verb work again."""
        with self._lock:
            self.away.pop(name, None)

    def subscribe(self, pattern: str) -> Any:
        how = self._how("subscribe")
        if isinstance(how, Exception):
            raise how
        return self._inner.subscribe(pattern)


def connect(url: str, **options: Any) -> FlakyBackend:
    """What ``backends.open`` calls for a URL of this scheme."""
    return FlakyBackend(backends.open(url.replace("flaky:", "memory:"), **options))
