"""Waiting for something to claim, for a change of one job, or for room."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import astuple

from treadle.backends.common.horizon import past
from treadle.backends.common.hub import Waiter
from treadle.backends.common.jobrow import FINAL_CODE, OPEN_CODE
from treadle.backends.common.waiting import Room
from treadle.backends.postgres.advance import Horizon, advance
from treadle.backends.postgres.find import find
from treadle.backends.postgres.peek import Seen, peek
from treadle.backends.postgres.reading import Reading
from treadle.backends.postgres.store import Store
from treadle.backends.postgres.wake import Notice
from treadle.ids import Chance
from treadle.ports import Page, Query
from treadle.queuenames import Matcher

__all__ = ["Waiting"]

_LONGEST = 10.0
"""Seconds after which a waiter looks by itself, whatever it was told."""
_DEAF = 0.5
"""The same where no notices arrive."""
_SOON = 0.05
"""The first of the growing pauses of who waits for one job."""
_PIECE, _GENTLY = 500, 0.02
"""Jobs past their time that who has nothing else to do removes at once, and the pause after it."""
_SUSPECTS_EVERY = 1.0
"""Seconds between two looks at suspects that a claim has passed over."""


class Waiting:
    """Those verbs of a store that wait.

    Args:
        store: what is waited for.
        chance: spreads the looks of many processes.
    """

    def __init__(self, store: Store, chance: Chance) -> None:
        self._store = store
        self._clock = store.clock
        self._chance = chance

    async def _ahead(self) -> Horizon:
        """What comes next, with one question."""
        store = self._store
        [seen] = await store.call("horizon", store.now, *astuple(store.since))
        return Horizon(*seen)

    async def pass_time(self) -> Horizon:
        """Move time forward until nothing is due; what comes next."""
        ahead = await self._ahead()
        if not ahead.swept(ahead.now) and self._store.asks_to_sweep():
            # Nobody waits until all are removed; but where nobody claims, nobody else does it.
            ahead = await self._store.write(advance, durable=False)
        # In steps, so that others have their turns between.
        while ahead.reached(ahead.now):
            ahead = await self._store.write(advance, durable=False)
        return ahead

    def _pause(self, instant: float | None, now: float, hears: bool) -> float:
        """Seconds for which a waiter may sleep that has to look at an instant."""
        longest = _LONGEST if hears else _DEAF
        longest *= self._chance.uniform(0.8, 1.0)
        return longest if instant is None else min(longest, max(0.0, instant - now))

    # ------------------------------------------------------------- something to claim

    async def for_jobs(
        self, queues: Sequence[str], timeout: float, exclude: Sequence[str] = ()
    ) -> None:
        """Return when there may be something to claim."""
        store = self._store
        end = self._clock.monotonic() + timeout
        await store.open()
        matcher = Matcher(queues, exclude)
        waiter = Waiter(matcher=matcher)
        store.hub.add(waiter)
        try:
            while not waiter.ready:
                # Before it looks, so that what comes after the look is heard.
                hears = await store.link.local.ears.open()
                ahead, seen = await self._peek(queues, matcher)
                left = end - self._clock.monotonic()
                if seen.ready or left <= 0 or store.untold.fates:
                    return
                pause = min(left, self._pause(seen.next_at, seen.now, hears))
                if await self._sweep(ahead):
                    pause = min(pause, _GENTLY)
                if seen.suspects:
                    # Claims have passed them over. Only who holds nothing gets one, so to return
                    # at once would make the others ask without a pause.
                    end = min(end, self._clock.monotonic() + _SUSPECTS_EVERY)
                    pause = min(pause, _SUSPECTS_EVERY)
                waiter.look_at = seen.now + pause
                await waiter.sleep(self._clock, pause)
        finally:
            store.hub.remove(waiter)

    async def _sweep(self, ahead: Horizon) -> bool:
        """Remove some of what has run out, as nothing else is to be done; whether more is left."""
        if not (past(ahead.keep, ahead.now) or past(ahead.gone, ahead.now)):
            return False
        store = self._store
        since, forget = store.since, store.settings.request_ttl
        values = store.now, forget, _PIECE, since.kept, since.gone
        [swept] = await store.call("sweep_plain", *values)
        store.swept(swept["kept"], swept["gone"])
        return bool(swept["more"])

    async def _peek(self, queues: Sequence[str], matcher: Matcher) -> tuple[Horizon, Seen]:
        ahead = await self._ahead()
        if ahead.reached(ahead.now) or past(ahead.outdated, ahead.now):
            ahead = await self._store.write(advance, durable=False)

        async def look(reading: Reading) -> Seen:
            return await peek(reading, ahead, queues, matcher)

        return ahead, await self._store.read(look, at=ahead.now)

    # ------------------------------------------------------------- room

    async def for_room(self, room: Room, timeout: float) -> None:
        """Return when a queue may be below a bound."""
        store = self._store
        end = self._clock.monotonic() + timeout
        waiter = Waiter(room=room)
        try:
            while True:
                # Before it looks, so that what is freed after the look wakes it.
                store.hub.add(waiter)
                told = waiter.told
                hears = await store.link.local.ears.open()
                if hears:
                    store.announce(store.wants)
                ahead = await self.pass_time()
                held = await store.read(lambda reading: reading.total(room.queue, OPEN_CODE))
                left = end - self._clock.monotonic()
                if held < room.bound or left <= 0 or waiter.ready or store.untold.fates:
                    return
                pause = min(left, self._pause(ahead.next_change, ahead.now, hears))
                waiter.seen = told
                waiter.look_at = ahead.now + pause
                await waiter.sleep(self._clock, pause)
        except BaseException:
            store.hub.give_up(waiter)
            raise
        finally:
            store.hub.remove(waiter)

    # ------------------------------------------------------------- one job

    async def for_job(self, query: Query) -> Page:
        """The page of a job when it has come to what a query waits for."""
        store = self._store
        end = self._clock.monotonic() + query.wait
        await store.open()
        waiter = Waiter(job_id=query.ids[0], ended=query.ended)
        soon = _SOON
        store.hub.add(waiter)
        try:
            while not waiter.ready:
                hears = await store.link.local.ears.open()
                # Those who change it tell other processes only of what these have asked for.
                store.announce(Notice(wants_jobs=((query.ids[0], query.ended),)))
                ahead = await self.pass_time()
                seen = await store.call("watched", query.ids[0], ahead.now)
                left = end - self._clock.monotonic()
                if left <= 0 or not seen or _answers(seen[0], query) or store.untold.fates:
                    break
                pause = min(soon, self._pause(ahead.next_change, ahead.now, hears))
                # It may be ending while the others are being asked.
                soon *= 2
                await waiter.sleep(self._clock, min(left, pause))
            return await store.read(lambda reading: find(reading, query))
        finally:
            store.hub.remove(waiter)


def _answers(seen: tuple[int | None, int | None, int | None], query: Query) -> bool:
    """Whether a job has come to what a query waits for, or is gone."""
    _, state, version = seen
    if state is None or version is None:
        return True
    return state in FINAL_CODE if query.ended else version > query.version
