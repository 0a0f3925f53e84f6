"""When to claim, how much, and what to do when there is nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from treadle.clock import Clock
from treadle.durations import local_deadline
from treadle.errors import BackendError, LeaseLost
from treadle.failpoints import failpoint
from treadle.foreman.lines import Line, Lines
from treadle.foreman.presence import Presence
from treadle.foreman.waits import either
from treadle.ids import Chance
from treadle.logs import get_logger
from treadle.pools.staff import Staff
from treadle.ports import Backend, Claim, Claimed
from treadle.records import Lease

__all__ = ["Claimer", "Found"]

_log = get_logger("treadle.foreman")
_MOST = 1000
_IDLE = 5.0


class Found(StrEnum):
    """What a claim came to, beside its leases."""

    # All there was to claim at this moment, which may be nothing.
    ALL = "all"
    # There is more to claim, or to make claimable.
    MORE = "more"
    # All there was for workers that are free; for others there may be more.
    PART = "part"
    # The store could not be asked; a pause has passed.
    FAILED = "failed"


class Claimer:
    """Asks the store for jobs on behalf of one foreman.

    Args:
        backend: the store.
        presence: who asks.
        lines: the queues, in the order of each claim.
        lease: seconds.
        suspect_every: seconds after which a foreman that is told of waiting suspects stops
            claiming, so that it comes to hold nothing and can be given one.
        stop: set when nothing more is to be claimed; cuts the pauses between repeats short.
    """

    def __init__(
        self,
        backend: Backend,
        presence: Presence,
        lines: Lines,
        *,
        lease: float,
        suspect_every: float,
        clock: Clock,
        chance: Chance,
        stop: asyncio.Event,
    ) -> None:
        self._backend = backend
        self._presence = presence
        self._lines = lines
        self._lease = lease
        self._suspect_every = suspect_every
        self._clock = clock
        self._chance = chance
        self._stop = stop
        self._request = 0
        self._failures = 0
        self._suspects_since: float | None = None
        self._next_due: float | None = None
        self.held_until = 0.0
        self.alone = False

    @property
    def suspects_wait(self) -> bool:
        """Whether the last claim has passed suspects over, because something was held."""
        return self._suspects_since is not None

    def draining(self) -> bool:
        """Whether to claim nothing until nothing is held, for the sake of a waiting suspect."""
        since = self._suspects_since
        return since is not None and self._clock.monotonic() - since >= self._suspect_every

    async def claim(self, limit: int, holding: int) -> tuple[Found, Sequence[Lease]]:
        """Ask for each line once. ``held_until`` then tells the local deadline of the leases."""
        sent = self._clock.monotonic()
        claimed, whole = await self._ask_all(limit, holding)
        self.held_until = local_deadline(sent, self._lease)
        late = self._clock.monotonic() - self.held_until
        if claimed.leases and late >= 0:
            # This process stood still, or the answer took so long: others may run them by now.
            _log.warning("claim.too_late", jobs=len(claimed.leases), late=round(late, 3))
            return Found.FAILED, ()
        if not whole:
            return Found.FAILED, claimed.leases
        self._remember(claimed)
        if claimed.more:
            return Found.MORE, claimed.leases
        return (Found.ALL if self._lines.complete else Found.PART), claimed.leases

    async def _ask_all(self, limit: int, holding: int) -> tuple[Claimed, bool]:
        """The answers for all lines together, and whether there was one for each."""
        claimed = Claimed()
        given: dict[Staff, int] = {}
        for line in self._lines.round():
            count = len(claimed.leases)
            if count >= limit or (count and claimed.leases[0].suspect):
                break
            room = line.room(limit - count, given)
            if room <= 0:
                self._lines.shut(line)
                continue
            answer = await self._ask(self._claim(line, room, holding + count))
            if answer is None:
                return claimed, False
            if line.staffs:
                for staff in line.staffs:
                    given[staff] = given.get(staff, 0) + len(answer.leases)
                if len(answer.leases) == room:
                    # Whether there is more makes no difference before one of the workers is free.
                    self._lines.shut(line)
                    answer = msgspec.structs.replace(answer, more=False)
            claimed = _together(claimed, answer)
        return claimed, True

    def _claim(self, line: Line, limit: int, holding: int) -> Claim:
        self._request += 1
        return Claim(
            session=self._presence.session,
            request=self._request,
            limit=min(limit, _MOST),
            queues=line.queues,
            exclude=line.exclude,
            lease=self._lease,
            holding=holding,
        )

    async def _ask(self, ask: Claim) -> Claimed | None:
        """The answer of the store, asked again with the same request until it gives one.

        Asked again, it repeats what it answered before, so that a lost reply strands no job. The
        repeats end when a lease given by the first of them could no longer be trusted.
        """
        until = local_deadline(self._clock.monotonic(), self._lease)
        while True:
            try:
                claimed = await self._send(ask)
            except (BackendError, OSError) as error:
                pause = await self._rest(error)
                if self._stop.is_set() or self._clock.monotonic() + pause >= until:
                    return None
            else:
                self._failures = 0 if claimed is not None else self._failures
                return claimed

    async def _send(self, ask: Claim) -> Claimed | None:
        """The answer; ``None`` when the next claim is to be that of another session."""
        failpoint("claim.before_send")
        try:
            claimed = await self._backend.claim(ask)
        except LeaseLost as error:
            await self._presence.reopen()
            await self._rest(error)
            return None
        failpoint("claim.sent_no_reply")
        failpoint("claim.after_reply")
        return claimed

    async def _rest(self, error: Exception) -> float:
        """Wait longer with each failure in a row, or until a stop; how long it was to be."""
        self._failures += 1
        pause = self._chance.uniform(0.0, min(5.0, 0.05 * 2.0 ** min(self._failures, 16)))
        _log.warning("claim.failed", error=repr(error), again_in=round(pause, 3))
        await either(self._clock.sleep(pause), self._stop.wait())
        return pause

    def _remember(self, claimed: Claimed) -> None:
        self._next_due = claimed.next_due
        self.alone = len(claimed.leases) == 1 and claimed.leases[0].suspect
        if not claimed.suspects_wait or self.alone:
            self._suspects_since = None
        elif self._suspects_since is None:
            self._suspects_since = self._clock.monotonic()

    async def idle(self, longest: float = _IDLE) -> None:
        """Wait for something to claim, at the latest until the next job is due."""
        patience = longest * self._chance.uniform(0.8, 1.0)
        if self._next_due is not None:
            patience = max(0.0, min(patience, self._next_due))
        if self._suspects_since is not None:
            patience = min(patience, self._suspect_every)
        try:
            queues, exclude = self._lines.awaited
            await self._backend.wait(queues, patience, exclude)
        except (BackendError, OSError) as error:
            _log.warning("wait.failed", error=repr(error))
            await self._clock.sleep(self._chance.uniform(0.0, 1.0))


def _together(one: Claimed, other: Claimed) -> Claimed:
    """What two lines have answered."""
    if not one.leases and one.next_due is None and not (one.more or one.suspects_wait):
        return other
    dues = [due for due in (one.next_due, other.next_due) if due is not None]
    return Claimed(
        leases=(*one.leases, *other.leases),
        more=one.more or other.more,
        suspects_wait=one.suspects_wait or other.suspects_wait,
        next_due=min(dues, default=None),
    )
