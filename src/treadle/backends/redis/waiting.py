"""Waiting for something to claim, for a change of one job, for room in a queue."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.backends.common.waiting import Room
from treadle.backends.redis.decode import bare, record
from treadle.backends.redis.finding import find
from treadle.backends.redis.names import short
from treadle.backends.redis.store import Store
from treadle.backends.redis.wake import Emptied, Hub, Waiter
from treadle.ports import Claim, Page, Query
from treadle.queuenames import Matcher
from treadle.records import JobRecord

__all__ = ["emptied", "still_empty", "wait", "wait_for_room", "watch"]

_LONGEST = 5.0
"""Seconds after which a waiter looks by itself: what was told may have been lost."""
_SUSPECTS_EVERY = 1.0
"""Seconds between two looks at suspects that a claim has passed over."""


def emptied(store: Store, hub: Hub, ask: Claim, notices: int, coming: bytes) -> None:
    """Remember that a claim has left nothing.

    Args:
        notices: how often something was told before it was sent.
        coming: seconds until anything happens by itself.
    """
    until = store.clock.monotonic() + min(_LONGEST, _seconds(coming))
    hub.emptied = Emptied(notices, frozenset(ask.queues), frozenset(ask.exclude), until)


def still_empty(
    store: Store, hub: Hub, queues: Sequence[str], exclude: Sequence[str]
) -> float | None:
    """For how long nothing need be looked for, when a claim has just seen it."""
    seen = hub.emptied
    if seen is None or seen[:3] != (hub.notices, frozenset(queues), frozenset(exclude)):
        return None
    left = seen.until - store.clock.monotonic()
    return left if left > 0 else None


async def wait(
    store: Store, hub: Hub, queues: Sequence[str], timeout: float, exclude: Sequence[str]
) -> None:
    """Return when there may be something to claim."""
    clock = store.clock
    end = clock.monotonic() + timeout
    sleeper = Waiter(matcher=Matcher(queues, exclude))
    names = (len(queues), *queues, len(exclude), *exclude)
    hub.add(sleeper)
    try:
        await hub.listen()
        empty = still_empty(store, hub, queues, exclude)
        if empty is not None:
            await sleeper.sleep(clock, min(timeout, empty))
        # Who was told of a job in one of his queues claims it at once.
        while sleeper.news is None:
            ready, suspects, due = await store.run("peek", *names)
            left = end - clock.monotonic()
            if ready or suspects == 2 or left <= 0 or store.untold.fates:
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
    sleeper = Waiter(room=room)
    hub.add(sleeper)
    try:
        await hub.listen()
        while True:
            told = sleeper.told
            free, due = await store.run("room", room.queue, room.bound)
            left = end - clock.monotonic()
            if free or left <= 0 or store.untold.fates:
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
    sleeper = Waiter(job_id=job_id, ended=query.ended)
    hub.add(sleeper)
    found: JobRecord | None = None
    try:
        await hub.listen_to_jobs()
        told = hub.foreseen(job_id) if query.ended else None
        if told == b"" and sleeper.news is None and not store.untold.fates:
            await sleeper.sleep(clock, min(query.wait, _LONGEST))
        sleeper.news = sleeper.news or told or None
        ended = "1" if query.ended else ""
        while sleeper.news is None:
            reached, *said = await store.run("glimpse", short(job_id), query.version, ended)
            if reached and said:
                found = record(said[0])
            left = end - clock.monotonic()
            if reached or left <= 0 or store.untold.fates:
                break
            await sleeper.sleep(clock, min(left, _LONGEST, _seconds(said[0])))
    finally:
        hub.remove(sleeper)
    if sleeper.news is not None:
        found = bare(job_id, sleeper.news)
    plain = Query(ids=query.ids, wait=query.wait, version=query.version, ended=query.ended)
    if found is not None and query == plain:
        return Page(records=(found,), examined=1)
    return await find(store, query)


def _seconds(due: bytes) -> float:
    return max(0.0, float(due)) if due else _LONGEST
