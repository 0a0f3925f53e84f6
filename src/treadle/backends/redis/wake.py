"""Who waits in this process, and how they hear of what other processes did."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable
from typing import NamedTuple, Unpack

import msgspec

from treadle.backends.common.waiting import Awaited, Rooms, Sleeper
from treadle.backends.redis.link import Link
from treadle.backends.redis.names import long
from treadle.records import NewJob

__all__ = ["Emptied", "Hub", "Waiter"]


class _Told(msgspec.Struct, array_like=True):
    """What ``lua/notify.lua`` publishes."""

    # 1 when there may be something to claim.
    claim: int
    # Queues that have a job less, once for each.
    rooms: list[str]
    # Queues that have a job more to claim.
    queues: list[str]


_ALONE = 16
"""Jobs pushed one at a time of which it is remembered whether somebody waits for them."""
_DECODER = msgspec.msgpack.Decoder(_Told, strict=False)


class Waiter(Sleeper):
    """A sleeper that may be told so much that it need not look."""

    __slots__ = ("news",)

    def __init__(self, **awaited: Unpack[Awaited]) -> None:
        super().__init__(**awaited)
        # The record of the job it waits for, or nothing but that one of its queues has a job more.
        self.news: bytes | None = None


class Emptied(NamedTuple):
    """That a claim has left nothing of its queues, so that who waits for them need not look."""

    # How often something was told before the claim.
    notices: int
    queues: frozenset[str]
    exclude: frozenset[str]
    # When something may happen without being told.
    until: float


class Hub:
    """Those who wait in this process, each woken in its own loop.

    A sleeper with ``job_id`` is woken for that job (with ``ended`` only by its end), one with
    ``room`` when a job of a queue that it covers has ended, the longest waiting first, any other
    one when there may be something to claim. All are woken when the connection was lost and is
    there again: something may have been said meanwhile. Who waits for a job has a channel of his
    own: what is told there wakes no foreman, and what foremen are told does not wake him.

    Args:
        link: the way to the server.
        prefix: of the channels where the scripts tell what has changed.
    """

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._channel = f"{prefix}wake"
        self._changed = f"{prefix}changed"
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Sleepers] = (
            weakref.WeakKeyDictionary()
        )

    async def listen(self) -> bool:
        """Hear what is told from now on; whether that is so. Harmless when it is heard already.

        Raises:
            NotOpen: the store was closed.
        """
        return await self._link.ears.listen(self._channel, self._sleepers().heard)

    async def listen_to_jobs(self) -> None:
        """The same of changes of jobs."""
        await self._link.ears.listen(self._changed, self._sleepers().heard_change)

    def foresee(self, job: NewJob) -> bool:
        """Whether the end of a job that is pushed now is to be told, for somebody will wait for it.

        So it was with the jobs before it, and who has it told with the push need not ask later.
        """
        hears = self._link.ears.hears(self._changed)
        return hears and self._sleepers().foreseen.push(job)

    def forget(self, job_id: str) -> None:
        """The end of a job is not told after all."""
        self._sleepers().foreseen.jobs.pop(job_id, None)

    def foreseen(self, job_id: str) -> bytes | None:
        """The record of a job whose end is told: ``b""`` before it, ``None`` for any other job."""
        told = self._sleepers().foreseen.take(job_id)
        return told if self._link.ears.hears(self._changed) else None

    @property
    def notices(self) -> int:
        """How often something to claim was told in the running loop; 0 while nothing is heard."""
        return self._sleepers().notices if self._link.ears.hears(self._channel) else 0

    @property
    def emptied(self) -> Emptied | None:
        """What the last claim in the running loop has seen that left nothing."""
        return self._sleepers().emptied

    @emptied.setter
    def emptied(self, seen: Emptied) -> None:
        self._sleepers().emptied = seen

    def add(self, sleeper: Waiter) -> None:
        """Wake this one when it is told of what it waits for."""
        self._sleepers().add(sleeper)

    def remove(self, sleeper: Waiter) -> None:
        """It waits no longer."""
        self._sleepers().remove(sleeper)

    def give_up(self, sleeper: Waiter) -> None:
        """It waits for room no longer, also when it was told of some and has not looked at it."""
        self._sleepers().give_up(sleeper)

    def wake_loop(self) -> None:
        """Wake all who wait in the running loop."""
        self._sleepers().heard(None)
        self._sleepers().heard_change(None)

    def _sleepers(self) -> _Sleepers:
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop)
        if here is None:
            here = self._loops[loop] = _Sleepers()
        return here


class _Foreseen:
    """Jobs that were pushed one at a time, and whether such jobs are waited for."""

    def __init__(self) -> None:
        # What was told of each; ``None`` where nothing will be.
        self.jobs: dict[str, bytes | None] = {}
        self._awaited = False

    def push(self, job: NewJob) -> bool:
        """Whether the end of a job is to be told, which is pushed now."""
        if len(self.jobs) >= _ALONE:
            # Nobody has waited for the one that was pushed longest ago.
            self.jobs.pop(next(iter(self.jobs)))
            self._awaited = False
        # Time changes the others, which nobody tells.
        told = self._awaited and job.due is None and job.expires is None
        self.jobs[job.id] = b"" if told else None
        return told

    def take(self, job_id: str) -> bytes | None:
        """What was told of a job that somebody waits for."""
        if job_id not in self.jobs:
            return None
        self._awaited = True
        return self.jobs.pop(job_id)

    def heard(self, job_id: str, said: bytes) -> None:
        """A job has ended; what is said of it, if that is all."""
        if said and self.jobs.get(job_id) is not None:
            self.jobs[job_id] = said
        else:
            self.jobs.pop(job_id, None)


class _Sleepers:
    """Those of one loop."""

    def __init__(self) -> None:
        self._claims: dict[Waiter, None] = {}
        self._jobs: dict[str, dict[Waiter, None]] = {}
        self._rooms: Rooms[Waiter] = Rooms()
        self.foreseen = _Foreseen()
        self.notices = 0
        self.emptied: Emptied | None = None

    def add(self, sleeper: Waiter) -> None:
        if sleeper.room is not None:
            self._rooms.add(sleeper)
        elif sleeper.job_id is not None:
            self._jobs.setdefault(sleeper.job_id, {})[sleeper] = None
        else:
            self._claims[sleeper] = None

    def give_up(self, sleeper: Waiter) -> None:
        _wake(self._rooms.give_up(sleeper))

    def remove(self, sleeper: Waiter) -> None:
        if sleeper.room is not None:
            self._rooms.remove(sleeper)
            return
        self._claims.pop(sleeper, None)
        others = self._jobs.get(sleeper.job_id or "", {})
        others.pop(sleeper, None)
        if not others:
            self._jobs.pop(sleeper.job_id or "", None)

    def heard(self, said: bytes | None) -> None:
        """Wake whom it concerns; everybody, when something may have been missed."""
        if said is None:
            self.notices += 1
            _wake((*self._claims, *self._rooms.everybody()))
            return
        try:
            told = _DECODER.decode(said)
        except msgspec.MsgspecError:  # of a newer version, which says more
            self.heard(None)
            return
        if told.claim:
            self._stirred(told.queues)
        for queue in told.rooms:
            _wake(self._rooms.freed(queue, 1))

    def _stirred(self, queues: list[str]) -> None:
        self.notices += 1
        for waiter in self._claims:
            matcher = waiter.matcher
            if matcher is not None and any(matcher.place(one) is not None for one in queues):
                waiter.news = b""
            waiter.wake()

    def heard_change(self, said: bytes | None) -> None:
        """Wake who waits for a job, with what was said of it when it has ended."""
        if said is None:
            self.foreseen.jobs.clear()
            _wake([one for line in self._jobs.values() for one in line])
            return
        at = 2 + said[1]
        job_id = long(said[2:at])
        if said[0]:
            self.foreseen.heard(job_id, said[at:])
        for waiter in self._jobs.get(job_id, ()):
            if said[0] or not waiter.ended:
                waiter.news = said[at:] or None
                waiter.wake()


def _wake(sleepers: Iterable[Sleeper]) -> None:
    for sleeper in sleepers:
        sleeper.wake()
