"""Many futures as one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Literal

from treadle.errors import InvalidCall
from treadle.guards import is_mapping
from treadle.logs import get_logger
from treadle.pools.future import Future
from treadle.pools.wrapping import future_of

__all__ = ["ReturnWhen", "Several", "Together"]

_log = get_logger("treadle.pools")
# Nearly all are, and need no call to be known.
_OURS: Any = Future
_COLLECTIONS: frozenset[type[Any]] = frozenset({list, tuple, dict})
ReturnWhen = Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"]


class Several:
    """What a user wants to wait for: futures, jobs, futures of the standard library, mixed.

    Args:
        given: an iterable of them, or a mapping with them as values.
        nested: whether lists, tuples and dicts of them may be among them.

    Raises:
        InvalidCall: there is something else among them.
    """

    def __init__(self, given: Iterable[Any] | Mapping[Any, Any], *, nested: bool = False) -> None:
        if not isinstance(given, Iterable):
            raise InvalidCall(f"{given!r} is no list, dict or other iterable of futures")
        self.keys: list[Any] | None = None
        if is_mapping(given):
            self.keys = list(given)
            self.given = list(given.values())
        else:
            self.given = list(given)
        # What has the place of each of the given, when there are collections among them.
        self._within: list[Several | None] | None = None
        if nested and not _COLLECTIONS.isdisjoint(map(type, self.given)):
            self._unfold()
        self.futures: list[Future[Any]] = [
            one if type(one) is _OURS else future_of(one) for one in self.given
        ]

    def _unfold(self) -> None:
        self._within = [
            Several(one, nested=True) if type(one) in _COLLECTIONS else None for one in self.given
        ]
        pairs = zip(self.given, self._within, strict=True)
        self.given = [leaf for one, inner in pairs for leaf in (inner.given if inner else [one])]

    def shaped(self, values: Iterable[Any]) -> Any:
        """Values in the form in which the futures were given: a list, or a dict."""
        if self._within is not None:
            left = iter(values)
            values = [
                next(left) if inner is None else inner.shaped(islice(left, len(inner.futures)))
                for inner in self._within
            ]
        if self.keys is None:
            return list(values)
        return dict(zip(self.keys, values, strict=True))

    def cancel(self) -> None:
        """Cancel all of them; of jobs, only the waiting."""
        for one in self.futures:
            one.cancel()

    def leave(self) -> None:
        """End the waiting for jobs, which go on."""
        for one, future in zip(self.given, self.futures, strict=True):
            if one is not future and not hasattr(one, "done"):
                future.cancel()


class Together:
    """A future that ends when enough of several have.

    Args:
        futures: the several.
        when: how many are enough.
        each: told how many more have ended, by one thread at a time.
    """

    def __init__(
        self,
        futures: list[Future[Any]],
        when: ReturnWhen,
        each: Callable[[int], object] | None = None,
    ) -> None:
        self.future: Future[None] = Future()
        # The first that failed.
        self.failed: Future[Any] | None = None
        self.left = len(futures)
        self._futures = futures
        # Whether one is enough: any, or any that failed.
        self._any = when == "FIRST_COMPLETED"
        self._any_failed = when == "FIRST_EXCEPTION"
        self._each = each
        # Nothing but the last success is of interest.
        self._plain = each is None and not self._any
        self._lock = threading.Lock()
        if not futures:
            self.future.end(None)
        ended, failed = Future.watch(futures, self._ended)
        if ended:
            self._counted(failed, ended)

    def _ended(self, one: Future[Any]) -> None:
        if one.failure is None and self._plain:
            with self._lock:
                self.left = left = self.left - 1
            if left == 0:
                self.future.end(None)
            return
        self._counted(None if one.failure is None else one)

    def _counted(self, failed: Future[Any] | None, ended: int = 1) -> None:
        with self._lock:
            self.left -= ended
            enough = self.left == 0 or self._any
            if failed is not None:
                self.failed = self.failed or failed
                enough = enough or self._any_failed
            if self._each is not None:
                self._show(self._each, ended)
        if enough:
            self.future.end(None)

    def _show(self, each: Callable[[int], object], ended: int) -> None:
        try:
            each(ended)
        except Exception:  # noqa: BLE001 - what is waited for does not depend on who looks on
            _log.exception("gather.bar_failed", ended=ended)

    def leave(self) -> None:
        """Have the futures forget that somebody waits for them."""
        if self.left:
            for one in self._futures:
                one.forget_callback(self._ended)
