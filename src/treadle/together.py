"""Asking several stores at once: shards of one, or those of several backends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

from treadle.clock import Clock

__all__ = ["all_of", "ended", "first_of", "split", "together"]

A = TypeVar("A")
B = TypeVar("B")
K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


async def all_of(asked: Iterable[Awaitable[A]]) -> list[A]:
    """All answers, in order; when some failed, the first failure, once all have ended."""
    answers = await asyncio.gather(*asked, return_exceptions=True)
    good: list[A] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        good.append(answer)
    return good


async def together(one: Awaitable[A], other: Awaitable[B]) -> tuple[A, B]:
    """Both answers; when one failed, its failure, once both have ended."""
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    if isinstance(first, BaseException):
        raise first
    if isinstance(second, BaseException):
        raise second
    return first, second


async def split(
    items: Sequence[T],
    place: Callable[[T], K],
    ask: Callable[[K, list[T]], Awaitable[Sequence[A]]],
) -> list[A]:
    """Ask each store about its own items; the answers in the order of the items.

    Args:
        items: what is asked about.
        place: the store of an item.
        ask: asks one store. Its failure is that of all, once all have answered.
    """
    groups: dict[K, list[int]] = {}
    for at, item in enumerate(items):
        groups.setdefault(place(item), []).append(at)
    if len(groups) == 1:
        [store] = groups
        return list(await ask(store, list(items)))
    parts = await all_of(ask(store, [items[at] for at in ats]) for store, ats in groups.items())
    answers: dict[int, A] = {}
    for ats, part in zip(groups.values(), parts, strict=True):
        answers.update(zip(ats, part, strict=True))
    return [answers[at] for at in range(len(items))]


async def first_of(asked: Iterable[Awaitable[object]]) -> int:
    """The number of the first that ended without an error; the others are cancelled.

    Where all of them fail, the first failure is raised.
    """
    waits = [asyncio.ensure_future(one) for one in asked]
    try:
        pending = set(waits)
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                if one.exception() is None:
                    return waits.index(one)
        waits[0].result()
        raise AssertionError("it has failed")
    finally:
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def ended(clock: Clock, seconds: float, task: asyncio.Future[A]) -> bool:
    """Whether a task ends within so many seconds. Where it does not, it goes on."""
    timer = asyncio.ensure_future(clock.sleep(seconds))
    either: set[asyncio.Future[Any]] = {task, timer}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        await asyncio.gather(timer, return_exceptions=True)
    return task.done()
