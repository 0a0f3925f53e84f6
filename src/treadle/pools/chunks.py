"""The calls of a map: one for each item, or for several where the way costs more than the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeAlias

from treadle.guards import is_awaited
from treadle.pools.future import Future
from treadle.pools.submission import Kind

__all__ = ["Chunk", "Chunked", "Outcome", "Sender", "Single", "Submit", "chunks"]

Item: TypeAlias = tuple[Any, ...]
Chunk: TypeAlias = list[Item]
"""The arguments of one or several calls of a function."""


class Submit(Protocol):
    """How a call gets to its pool."""

    def __call__(
        self, kind: Kind, what: Any, args: tuple[Any, ...], kwargs: dict[str, Any], /
    ) -> Future[Any]:
        """The future of a call."""
        ...


class Outcome(NamedTuple):
    """What came of one item."""

    value: Any = None
    error: BaseException | None = None


class Sender(Protocol):
    """Makes calls of chunks."""

    def send(self, chunk: Chunk) -> Future[Any]:
        """A call."""
        ...

    def outcomes(self, future: Future[Any], count: int) -> Iterable[Outcome]:
        """What came of a chunk of so many items, once its call has ended."""
        ...


def chunks(items: Iterable[Item], size: int) -> Iterator[Chunk]:
    """Items in chunks, the last one smaller."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


class Single:
    """A call for each item."""

    def __init__(self, submit: Submit, kind: Kind, what: Any) -> None:
        self._submit = submit
        self._kind = kind
        self._what = what

    def send(self, chunk: Chunk) -> Future[Any]:
        """A call with its item."""
        return self._submit(self._kind, self._what, chunk[0], {})

    def outcomes(self, future: Future[Any], count: int) -> Iterable[Outcome]:
        """One."""
        error = future.failure
        return (Outcome(future.result()) if error is None else Outcome(error=error),)


class Chunked:
    """A call for several items, which are carried out one after another."""

    def __init__(self, submit: Submit, kind: Kind, what: Any) -> None:
        self._submit = submit
        self._kind = kind
        self._what = what

    def send(self, chunk: Chunk) -> Future[Any]:
        """A call with its items."""
        if self._kind == Kind.FUNCTION:
            return self._submit(Kind.FUNCTION, run_chunk, (self._what, chunk), {})
        return self._submit(Kind.VISIT, visit_chunk, (self._what, chunk), {})

    def outcomes(self, future: Future[Any], count: int) -> Iterable[Outcome]:
        """One of each; all fail where the call itself has."""
        error = future.failure
        if error is not None:
            return (Outcome(error=error),) * count
        ended: list[Outcome] = future.result()
        return ended


def run_chunk(fn: Callable[..., Any], chunk: Chunk) -> Any:
    """The outcomes of a function for each item; an awaitable of them where it is asynchronous."""
    return _awaited(fn, chunk) if is_awaited(fn) else [_outcome(fn, item) for item in chunk]


def visit_chunk(worker: Any, what: str | Callable[..., Any], chunk: Chunk) -> Any:
    """The same of a method, or of a function that is given the worker."""
    if isinstance(what, str):
        return run_chunk(getattr(worker, what), chunk)
    return run_chunk(what, [(worker, *item) for item in chunk])


def _outcome(fn: Callable[..., Any], item: Item) -> Outcome:
    try:
        return Outcome(fn(*item))
    except Exception as error:  # noqa: BLE001 - it is the outcome
        return Outcome(error=error)


async def _awaited(fn: Callable[..., Any], chunk: Chunk) -> list[Outcome]:
    ended: list[Outcome] = []
    for item in chunk:
        try:
            ended.append(Outcome(await fn(*item)))
        except Exception as error:  # noqa: BLE001 - it is the outcome
            ended.append(Outcome(error=error))
    return ended
