"""Verdicts on their way to the store, in batches, without timers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from treadle.clock import Clock
from treadle.errors import BackendError
from treadle.failpoints import armed, failpoint
from treadle.ids import Chance
from treadle.logs import get_logger
from treadle.ports import Jobs, Settlement
from treadle.records import Settled
from treadle.verdicts import Again

__all__ = ["Settler"]

_log = get_logger("treadle.foreman")
_MOST = 1000


class Settler:
    """Sends what has ended whenever the store is free.

    Verdicts that end while the store is busy go together in the next call; one that ends alone
    goes at once. A store that cannot be reached is asked again with growing, jittered pauses: the
    verdicts are kept, and settled twice they change nothing.

    Args:
        jobs: the store.
        answered: told the settlements and their answers.
        clock, chance: pace the repeats.
    """

    def __init__(
        self,
        jobs: Jobs,
        answered: Callable[[Sequence[Settlement], Sequence[Settled]], None],
        *,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._jobs = jobs
        self._answered = answered
        self._clock = clock
        self._chance = chance
        self._waiting: list[Settlement] = []
        self._sender: asyncio.Task[None] | None = None

    def put(self, settlement: Settlement) -> None:
        """Send it with the next batch."""
        self._waiting.append(settlement)
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send())

    async def flush(self) -> None:
        """Return when everything put before has been answered."""
        while self._sender is not None:
            await asyncio.shield(self._sender)

    async def aclose(self) -> None:
        """Give up what the store has not answered; the leases lapse, and the jobs run again."""
        sender = self._sender
        if sender is not None:
            sender.cancel()
            await asyncio.wait({sender})
            _log.error("settle.given_up", hint="the store did not answer; these jobs run again")

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                answers = await self._settle(batch)
                self._answered(batch, answers)
        finally:
            self._sender = None

    async def _settle(self, batch: list[Settlement]) -> Sequence[Settled]:
        failures = 0
        while True:
            try:
                _pass("before_send", batch)
                answers = await self._jobs.settle(batch)
                _pass("sent_no_reply", batch)
                _pass("after_reply", batch)
            except (BackendError, OSError) as error:
                failures += 1
                pause = self._chance.uniform(0.0, min(5.0, 0.05 * 2.0 ** min(failures, 16)))
                _log.warning("settle.failed", jobs=len(batch), error=repr(error), again_in=pause)
                await self._clock.sleep(pause)
            # Not the store's word but a fault in it: the leases lapse and the jobs run again,
            # which is better than a foreman that settles nothing more.
            except Exception:  # noqa: BLE001
                _log.exception("settle.broken", jobs=len(batch))
                return [Settled.LOST] * len(batch)
            else:
                return answers


def _pass(step: str, batch: Sequence[Settlement]) -> None:
    """The failpoints of a settle: of an acknowledgement, of a retry, or both."""
    if armed():
        retries = sum(type(end.verdict) is Again for end in batch)
        if retries < len(batch):
            failpoint(f"ack.{step}")
        if retries:
            failpoint(f"retry.{step}")
