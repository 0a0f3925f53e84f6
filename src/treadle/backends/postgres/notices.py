"""What processes tell each other by NOTIFY: sparingly, and never needed for correctness.

Every commit with a NOTIFY in it takes one lock of the whole server, so the steps themselves have
none. What they changed is told afterwards: at once while the whole fleet tells little, because
somebody may be idle, and together with what comes next when it tells much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from treadle.backends.postgres.wake import Notice
from treadle.clock import Clock, Timer

__all__ = ["Notices", "Pace", "pack", "unpack"]

_WORTH = 1 / 300
"""Seconds of silence for each notice that anybody of the namespace has sent."""
_BURST = 4 * _WORTH
"""How many of them are let off: a job is told, asked for, and told to have ended."""
_LONGEST_PAUSE = 0.1
"""Seconds for which nobody is silent longer, however many there are."""
_LONGEST = 7900
"""Bytes of a notice; PostgreSQL takes less than 8,000."""
_EVENTS_MOST = 200
"""Events of one notice; the oldest are dropped beyond."""
_JOBS_MOST = 120
"""Jobs that one notice asks for; of the others its sender hears when it looks by itself."""
_ANYTHING = Notice(changed=None, stirred=True)

_decode = msgspec.json.Decoder(tuple[str, Notice]).decode


def pack(origin: str, notice: Notice) -> str:
    """A notice as it travels."""
    text = msgspec.json.encode((origin, notice))
    while len(text) > _LONGEST and notice.events:
        # Best effort: those that are known first tell most.
        half = notice.events[: len(notice.events) // 2]
        notice = msgspec.structs.replace(notice, events=half)
        text = msgspec.json.encode((origin, notice))
    if len(text) > _LONGEST:
        text = msgspec.json.encode((origin, _ANYTHING))
    return text.decode()


def unpack(text: str) -> tuple[str, Notice]:
    """Who sent a notice, and the notice; what cannot be read may mean anything."""
    try:
        return _decode(text)
    except msgspec.DecodeError:
        return "", _ANYTHING


def _merged(one: Notice, two: Notice) -> Notice:
    times = [at for at in (one.earliest, two.earliest) if at is not None]
    freed = dict(one.freed)
    for queue, n in two.freed.items():
        freed[queue] = freed.get(queue, 0) + n
    unsure = one.changed is None or two.changed is None
    return Notice(
        ready=tuple({*one.ready, *two.ready}),
        changed=None if unsure else tuple({*(one.changed or ()), *(two.changed or ())}),
        ended=tuple({*one.ended, *two.ended}),
        earliest=min(times) if times else None,
        stirred=one.stirred or two.stirred,
        freed=freed,
        events=(*one.events, *two.events)[-_EVENTS_MOST:],
        wants_room=one.wants_room or two.wants_room,
        wants_events=one.wants_events or two.wants_events,
        wants_jobs=(*one.wants_jobs, *two.wants_jobs)[-_JOBS_MOST:],
    )


class Pace:
    """How long a sender is silent after a notice, by how many the whole fleet has sent.

    Each notice is numbered, so who sends one learns how many others were sent since his last. Of
    *n* senders that always have something to tell, each sees *n* go by and is silent for the worth
    of so many. Together they send one for each worth, however many they are.
    """

    def __init__(self) -> None:
        self._debt = 0.0
        self._number: int | None = None
        self._at = 0.0

    def sent(self, number: int | None, now: float) -> float:
        """Seconds to be silent.

        Args:
            number: of the notice just sent; ``None`` when it did not come so far.
            now: the instant.
        """
        others = 0
        if number is not None:
            if self._number is not None:
                others = number - self._number - 1
            self._number = number
        # Time has paid for those of others; the own one is to be paid yet.
        debt = max(0.0, self._debt + others * _WORTH - (now - self._at)) + _WORTH
        self._debt = min(debt, _BURST + _LONGEST_PAUSE)
        self._at = now
        return max(0.0, self._debt - _BURST)


class Notices:
    """Sends the notices of one event loop.

    Args:
        send: carries one to the server, which gives its number.
        clock: of the network, not of the jobs.
    """

    def __init__(self, send: Callable[[Notice], Awaitable[int]], clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self._pace = Pace()
        self._pending: Notice | None = None
        self._timer: Timer | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def tell(self, notice: Notice) -> None:
        """Send a notice, now or with the next ones; none any more once it is closed."""
        if self._closed:
            return
        self._pending = notice if self._pending is None else _merged(self._pending, notice)
        if self._timer is None and self._task is None:
            self._go()

    def _go(self) -> None:
        self._timer = None
        if self._pending is not None:
            notice, self._pending = self._pending, None
            self._task = asyncio.get_running_loop().create_task(self._sent(notice))

    async def _sent(self, notice: Notice) -> None:
        number = None
        try:
            with suppress(Exception):
                number = await self._send(notice)
        finally:
            self._task = None
        pause = self._pace.sent(number, self._clock.monotonic())
        if self._closed:
            return
        if pause > 0:
            self._timer = self._clock.call_later(pause, self._go)
        else:
            self._go()

    async def aclose(self) -> None:
        """Send what is left."""
        self._closed = True
        self._stop_timer()
        if self._task is not None:
            await self._task
        self._go()
        if self._task is not None:
            await self._task

    def terminate(self) -> None:
        """Send nothing any more."""
        self._closed = True
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
