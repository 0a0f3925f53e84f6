"""Futures among the arguments of a call."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from treadle.guards import is_mapping
from treadle.pools.executor import Submitted
from treadle.pools.future import Future
from treadle.pools.submission import Submission
from treadle.pools.wrapping import future_of

__all__ = ["GoOn", "arguments_ready", "no_futures", "nothing_in"]

GoOn = Callable[[bool], object]
"""Goes on with a call; told whether that is later, in a thread that must not be blocked."""

_COLLECTIONS = (tuple, list, set, frozenset)
_FUTURES: frozenset[type[Any]] = frozenset({
    Future,
    Submitted,
    concurrent.futures.Future,
    asyncio.Future,
    asyncio.Task,
    # What asyncio.gather gives.
    getattr(asyncio.tasks, "_GatheringFuture", asyncio.Future),
})  # fmt: skip
_LOOKED_AT = frozenset({dict, *_FUTURES, *_COLLECTIONS})
"""Types that are, or may hold, futures. Of others, such as named tuples, nothing is known."""
no_futures = _LOOKED_AT.isdisjoint
"""Whether values of these types are surely no futures and hold none."""


def arguments_ready(call: Submission, go_on: GoOn) -> None:
    """Go on once the futures among the arguments have ended, with their results in their place.

    They are ours, those of ``concurrent.futures``, and futures and tasks of asyncio. They are found
    within lists, tuples, sets and the values of dicts, however deep. Nothing waits meanwhile. The
    first one that fails fails the call.
    """
    # The two questions that most calls answer with no, asked in C.
    if nothing_in(call.args) and (not call.kwargs or nothing_in(call.kwargs.values())):
        go_on(False)
        return
    found = dict.fromkeys(_futures_in((call.args, call.kwargs)))
    waited = {one: future_of(one) for one in found}
    if not all(one.done() for one in waited.values()):
        _Waiting(call, waited, go_on)
    elif not waited or _filled(call, waited):
        go_on(False)


def nothing_in(values: Iterable[Any]) -> bool:
    """Whether there is surely no future among values and in what they hold."""
    return no_futures(map(type, values))


def _futures_in(value: Any) -> Iterator[Any]:
    seen: set[int] = set()
    left = [value]
    while left:
        one = left.pop()
        if type(one) in _FUTURES:
            yield one
        elif id(one) not in seen:
            # What holds itself, or is held twice, is looked at once.
            seen.add(id(one))
            left.extend(item for item in _items(one) if type(item) in _LOOKED_AT)


def _filled(call: Submission, waited: Mapping[Any, Future[Any]]) -> bool:
    """Put results in the place of futures; False when there is an error, which ends the call."""
    error = next((one.failure for one in waited.values() if one.failure is not None), None)
    if error is None:
        try:
            filled = _Filled(waited)
            call.args, call.kwargs = filled.of(call.args), filled.of(call.kwargs)
        except TypeError as unhashable:  # a result in a set
            error = unhashable
    if error is not None:
        call.future.end(None, error)
    return error is None


def _items(collection: Any) -> Iterable[Any]:
    return collection.values() if is_mapping(collection) else collection


class _Waiting:
    """A call that waits for its arguments."""

    def __init__(self, call: Submission, waited: Mapping[Any, Future[Any]], go_on: GoOn) -> None:
        self._call = call
        self._waited = waited
        self._go_on = go_on
        self._left = len(waited)
        self._lock = threading.Lock()
        for one in waited.values():
            one.add_done_callback(self._ended)

    def _ended(self, one: Future[Any]) -> None:
        future = self._call.future
        if one.failure is not None:
            future.end(None, one.failure)
            return
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if not last or future.done() or not _filled(self._call, self._waited):
            return
        try:
            self._go_on(True)
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it
            future.end(None, error)


class _Filled:
    """Arguments with results in the place of futures; what has none stays as it is."""

    def __init__(self, ended: Mapping[Any, Future[Any]]) -> None:
        self._ended = ended
        self._made: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        """The same with results."""
        anything: object = value
        kind = type(anything)
        if kind in _FUTURES:
            return self._ended[value].result()
        if kind not in _LOOKED_AT:
            return value
        if id(value) not in self._made:
            self._made[id(value)] = value  # what holds itself is not followed
            self._made[id(value)] = self._copy(kind, value)
        return self._made[id(value)]

    def _copy(self, kind: type[Any], value: Any) -> Any:
        if kind is dict:
            return {key: self.of(item) for key, item in value.items()}
        return kind(self.of(item) for item in value)
