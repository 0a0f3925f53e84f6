"""Waiting for something to claim, for a change of one job, for room in a queue."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.backends.common.waiting import Room, Sleeper
from treadle.backends.redis.decode import record
from treadle.backends.redis.finding import find
from treadle.backends.redis.names import short
from treadle.backends.redis.store import Store
from treadle.backends.redis.wake import Hub
from treadle.ports import Page, Query
from treadle.queuenames import Matcher

__all__ = ["wait", "wait_for_room", "watch"]

_LONGEST = 5.0
"""Seconds after which a waiter looks by itself: what was told may have been lost."""
_SUSPECTS_EVERY = 1.0
"""Seconds between two looks at suspects that a claim has passed over."""


async def wait(
    store: Store, hub: Hub, queues: Sequence[str], timeout: float, exclude: Sequence[str]
) -> None:
    """Return when there may be something to claim."""
    clock = store.clock
    end = clock.monotonic() + timeout
    sleeper = Sleeper(matcher=Matcher(queues, exclude))
    names = (len(queues), *queues, len(exclude), *exclude)
    hub.add(sleeper)
    try:
        await hub.listen()
        while True:
            ready, suspects, due = await store.run("peek", *names)
            left = end - clock.monotonic()
            if ready or suspects == 2 or left <= 0:
                return
            pause = min(left, _LONGEST, _seconds(due))
            if suspects:
                # A claim has passed them over. Only one that holds nothing gets them, so to
                # return at once would make the others ask without a pause.
                end = min(end, clock.monotonic() + _SUSPECTS_EVERY)
                pause = min(pause, _SUSPECTS_EVERY)
            await sleeper.sleep(clock, pause)
    finally:
        hub.remove(sleeper)


async def wait_for_room(store: Store, hub: Hub, room: Room, timeout: float) -> None:
    """Return when a queue may be below a bound."""
    clock = store.clock
    end = clock.monotonic() + timeout
    sleeper = Sleeper(room=room)
    hub.add(sleeper)
    try:
        await hub.listen()
        while True:
            told = sleeper.told
            free, due = await store.run("room", room.queue, room.bound)
            left = end - clock.monotonic()
            if free or left <= 0:
                return
            sleeper.seen = told
            # Who was woken and finds no room goes to the end of the line.
            hub.add(sleeper)
            await sleeper.sleep(clock, min(left, _LONGEST, _seconds(due)))
    except BaseException:
        hub.give_up(sleeper)
        raise
    finally:
        hub.remove(sleeper)


async def watch(store: Store, hub: Hub, query: Query) -> Page:
    """The one job that a query asks for, once it has come to what the query waits for."""
    clock = store.clock
    end = clock.monotonic() + query.wait
    job_id = query.ids[0]
    sleeper = Sleeper(job_id=job_id, ended=query.ended)
    hub.add(sleeper)
    try:
        await hub.listen()
        ended = "1" if query.ended else ""
        while True:
            reached, *said = await store.run("glimpse", short(job_id), query.version, ended)
            left = end - clock.monotonic()
            if reached or left <= 0:
                break
            await sleeper.sleep(clock, min(left, _LONGEST, _seconds(said[0])))
    finally:
        hub.remove(sleeper)
    if (
        reached
        and said
        and query == Query(ids=query.ids, wait=query.wait, version=query.version, ended=query.ended)
    ):
        return Page(records=(record(said[0]),), examined=1)
    return await find(store, query)


def _seconds(due: bytes) -> float:
    return max(0.0, float(due)) if due else _LONGEST
