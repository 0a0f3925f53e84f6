"""When to claim, how much, and what to do when there is nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum

from treadle.clock import Clock
from treadle.errors import BackendError
from treadle.failpoints import failpoint
from treadle.foreman.heartbeat import local_deadline
from treadle.foreman.turns import Turns
from treadle.foreman.waits import either
from treadle.ids import Chance
from treadle.logs import get_logger
from treadle.ports import Backend, Claim, Claimed
from treadle.records import Lease, Session

__all__ = ["Claimer", "Found"]

_log = get_logger("treadle.foreman")
_MOST = 1000
_IDLE = 5.0


class Found(StrEnum):
    """What a claim came to, beside its leases."""

    JOBS = "jobs"
    NOTHING = "nothing"
    # The store could not be asked; a pause has passed.
    FAILED = "failed"


class Claimer:
    """Asks the store for jobs on behalf of one session.

    Args:
        backend: the store.
        session: who asks.
        turns: the queues, in the order of each claim.
        lease: seconds.
        suspect_every: seconds after which a foreman that is told of waiting suspects stops
            claiming, so that it comes to hold nothing and can be given one.
        stop: set when nothing more is to be claimed; cuts the pauses between repeats short.
    """

    def __init__(
        self,
        backend: Backend,
        session: Session,
        turns: Turns,
        *,
        exclude: Sequence[str],
        lease: float,
        suspect_every: float,
        clock: Clock,
        chance: Chance,
        stop: asyncio.Event,
    ) -> None:
        self._backend = backend
        self._session = session
        self._turns = turns
        self._exclude = tuple(exclude)
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

    def draining(self) -> bool:
        """Whether to claim nothing until nothing is held, for the sake of a waiting suspect."""
        since = self._suspects_since
        return since is not None and self._clock.monotonic() - since >= self._suspect_every

    async def claim(self, limit: int, holding: int) -> tuple[Found, Sequence[Lease]]:
        """Ask once. ``held_until`` then tells the local deadline of what was given."""
        self._request += 1
        queues = self._turns.next()
        sent = self._clock.monotonic()
        ask = Claim(
            session=self._session,
            request=self._request,
            limit=min(limit, _MOST),
            queues=queues,
            exclude=self._exclude,
            lease=self._lease,
            holding=holding,
        )
        claimed = await self._ask(ask)
        if claimed is None:
            return Found.FAILED, ()
        self.held_until = local_deadline(sent, self._lease)
        self._remember(claimed)
        if claimed.leases:
            return Found.JOBS, claimed.leases
        return (Found.JOBS if claimed.more else Found.NOTHING), ()

    async def _ask(self, ask: Claim) -> Claimed | None:
        """The answer of the store, asked again with the same request until it gives one.

        Asked again, it repeats what it answered before, so that a lost reply strands no job. The
        repeats end when a lease given by the first of them could no longer be trusted.
        """
        until = local_deadline(self._clock.monotonic(), self._lease)
        while True:
            try:
                failpoint("claim.before_send")
                claimed = await self._backend.claim(ask)
                failpoint("claim.sent_no_reply")
                failpoint("claim.after_reply")
            except (BackendError, ConnectionError) as error:
                pause = await self._rest(error)
                if self._stop.is_set() or self._clock.monotonic() + pause >= until:
                    return None
            else:
                self._failures = 0
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
            await self._backend.wait(self._turns.names, patience, self._exclude)
        except (BackendError, ConnectionError) as error:
            _log.warning("wait.failed", error=repr(error))
            await self._clock.sleep(self._chance.uniform(0.0, 1.0))
