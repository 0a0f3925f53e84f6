"""Waiting until a queue has room for another job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from treadle.backends.common.hub import Waiter
from treadle.backends.common.jobrow import OPEN_CODE
from treadle.backends.common.waiting import Room
from treadle.backends.sqlite.store import Store

__all__ = ["wait_for_room"]


async def wait_for_room(
    store: Store,
    room: Room,
    timeout: float,
    pass_time: Callable[[], Awaitable[float]],
) -> None:
    """Return when the queue may be below the bound.

    Args:
        store: where the queue is.
        room: what is waited for.
        timeout: seconds after which it returns in any case.
        pass_time: moves time forward, and gives the seconds until it has to be done again.
    """
    end = store.clock.monotonic() + timeout
    waiter = Waiter(room=room)
    try:
        while True:
            # Before it looks, so that what is freed after the look wakes it.
            store.hub.add(waiter)
            told = waiter.told
            pause = await pass_time()
            held = await store.read(lambda reading: reading.total(room.queue, OPEN_CODE))
            left = end - store.clock.monotonic()
            if held < room.bound or left <= 0 or waiter.ready or store.untold.fates:
                return
            waiter.seen = told
            waiter.look_at = store.clock.now() + min(left, pause)
            await waiter.sleep(store.clock, min(left, pause))
    except BaseException:
        store.hub.give_up(waiter)
        raise
    finally:
        store.hub.remove(waiter)
