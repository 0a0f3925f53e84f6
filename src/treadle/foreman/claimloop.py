"""The working day of a foreman: claim, start, wait, until a stop is asked for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from treadle.clock import Clock
from treadle.errors import BreakerOpen
from treadle.foreman.attempts import Attempts
from treadle.foreman.claimer import Claimer, Found
from treadle.foreman.lines import Lines
from treadle.foreman.recycle import Recycling
from treadle.foreman.status import Status
from treadle.foreman.tally import Tally
from treadle.foreman.waits import either
from treadle.policies.breaker import Outcome, Pass
from treadle.policies.gate import Gate

__all__ = ["ClaimLoop"]

_ASKED = frozenset({Found.ALL, Found.PART})


class ClaimLoop:
    """Claims as many jobs as there are free places, and starts them.

    Args:
        claimer: asks the store.
        attempts: takes the leases.
        tally: knows what is not settled yet.
        lines: know for which jobs there is a worker.
        status: says when to stop.
        gate: of the breaker.
        recycling: knows when the process has lived long enough.
        concurrency: places.
        burst: end by itself when there is nothing left to claim.
        probing: told that the breaker lets one job through.
    """

    def __init__(
        self,
        claimer: Claimer,
        attempts: Attempts,
        tally: Tally,
        status: Status,
        lines: Lines,
        *,
        gate: Gate,
        recycling: Recycling,
        clock: Clock,
        concurrency: int,
        burst: bool,
        probing: Callable[[], None],
    ) -> None:
        self._claimer = claimer
        self._attempts = attempts
        self._tally = tally
        self._status = status
        self._lines = lines
        self._gate = gate
        self._recycling = recycling
        self._clock = clock
        self.concurrency = concurrency
        self._burst = burst
        self._probing = probing

    async def run(self) -> None:
        """Return when a stop was asked for, or with ``burst`` when nothing is left."""
        attempts, claimer, status = self._attempts, self._claimer, self._status
        while not status.stopping:
            # Before looking: what changes while the store is asked must not be overlooked.
            status.changed.clear()
            free = self._free_places()
            held = len(attempts.running) + self._tally.unsettled
            if free <= 0 or (held and (claimer.alone or claimer.draining())):
                await self._until_changed()
                continue
            leave = self._gate.admit()
            if not isinstance(leave, Pass):
                await self._held_back(leave)
                continue
            found, leases = await self._claim(free, held, leave)
            if leases or found is Found.MORE:
                # A store in memory answers without waiting; the jobs must get their turn, and which
                # workers are free is known once all have begun.
                await attempts.in_turn.begun(self._clock)
            elif self._burst and not held and found is Found.ALL:
                status.stop("nothing is left")
                return
            # Beside a suspect nothing is claimed; when it ends, the next one may have its turn.
            if found in _ASKED and leases < free and not claimer.alone:
                await self._idle()
            self._recycle()

    async def _claim(self, free: int, held: int, leave: Pass) -> tuple[Found, int]:
        """Claim once and start what was given; how many jobs that was."""
        if leave.probe:
            self._probing()
            free = 1
        found, leases = await self._claimer.claim(free, held)
        until, start = self._claimer.held_until, self._attempts.start
        for lease in leases:
            start(lease, until, leave)
        if leave.probe and not leases:
            self._gate.report(leave, Outcome.NEUTRAL)
        return found, len(leases)

    def _begun(self) -> int:
        return self._tally.finished + self._tally.unsettled + len(self._attempts.running)

    def _free_places(self) -> int:
        free = self.concurrency - len(self._attempts.running)
        if self._recycling.max_jobs is not None:
            free = min(free, self._recycling.max_jobs - self._begun())
        return free

    async def _until_changed(self) -> None:
        """Wait until an attempt ends, a verdict is answered, or a stop is asked for."""
        await self._status.changed.wait()
        self._recycle()

    async def _idle(self) -> None:
        """Wait until there may be something to claim, or a stop is asked for.

        Attempts that end meanwhile make no claim worth while, unless they had a worker: there were
        free places before, and what their verdicts make ready the store tells.
        """
        status = self._status
        hint = asyncio.get_running_loop().create_task(self._hint())
        try:
            while not (hint.done() or status.stopping or self._worth_a_claim()):
                status.changed.clear()
                await status.changed.wait()
                self._recycle()
        finally:
            # One that has ended needs no turn of the loop, for which the claim would wait.
            if not hint.done():
                hint.cancel()
                await asyncio.wait({hint})

    async def _hint(self) -> None:
        """Say that something has changed when there may be something to claim."""
        try:
            await self._claimer.idle()
        except Exception:  # noqa: BLE001 - the claim that follows meets the same, and says it
            return
        finally:
            self._status.changed.set()

    def _worth_a_claim(self) -> bool:
        """A worker is free, or nothing is held any more, for which a suspect or a burst waits."""
        if self._lines.reopened:
            return True
        if self._attempts.running or self._tally.unsettled:
            return False
        return self._burst or self._claimer.suspects_wait

    async def _held_back(self, pause: float | None) -> None:
        """The breaker is open: wait out its pause, or the probe; or stop with its last trip."""
        if pause is None:
            reason = "the breaker has tripped for the last time"
            self._status.quit(reason, BreakerOpen(reason, retry_after=math.inf))
        elif pause == math.inf:
            await self._until_changed()
        else:
            await either(self._clock.sleep(pause), self._status.asked.wait())

    def _recycle(self) -> None:
        reason = self._recycling.reason(self._begun())
        if reason is not None:
            self._status.recycle(reason)
