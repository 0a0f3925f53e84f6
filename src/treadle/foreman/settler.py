"""Verdicts on their way to the store, in batches, without timers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain

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
_NAMED = 100
"""Jobs that one line of the log names."""
_UNANSWERED = Settled.UNANSWERED


class Settler:
    """Sends what has ended whenever the store is free.

    Verdicts that end while the store is busy go together in the next call; one that ends alone
    goes at once. A store that cannot be reached is asked again with growing, jittered pauses: the
    verdicts are kept, and settled twice they change nothing. Where it is one of several that is
    away, its verdicts are repeated beside those of the others.

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
        # Those that the store was sent last, until it answers.
        self._sent: list[Settlement] = []
        self._sender: asyncio.Task[None] | None = None
        # With what one of several stores has not answered.
        self._repeats: dict[asyncio.Task[None], list[Settlement]] = {}

    def put(self, settlement: Settlement) -> None:
        """Send it with the next batch."""
        self._waiting.append(settlement)
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send())

    async def flush(self) -> None:
        """Return when everything put before has been answered."""
        while self._sender is not None:
            await asyncio.shield(self._sender)
        while self._repeats:
            await asyncio.wait(set(self._repeats))

    async def aclose(self) -> None:
        """Give up what the store has not answered; the leases lapse, and the jobs run again."""
        repeated = list(self._repeats.values())
        senders = {*self._repeats, *(() if self._sender is None else (self._sender,))}
        if senders:
            for sender in senders:
                sender.cancel()
            await asyncio.wait(senders)
            left = chain(self._sent, *repeated, self._waiting)
            ids = [end.token.job_id for end in left]
            for start in range(0, len(ids), _NAMED):
                named = ids[start : start + _NAMED]
                _log.error(
                    "settle.given_up",
                    jobs=len(named),
                    ids=",".join(named),
                    hint="the store did not answer; what it did not hear of runs again",
                )

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                self._sent = batch
                answers = await self._settle(batch)
                self._sent = []
                left = self._told(batch, answers)
                if left:
                    self._repeat_soon(left)
        finally:
            self._sender = None

    def _told(self, batch: list[Settlement], answers: Sequence[Settled]) -> list[Settlement]:
        """Pass answers on; what has none yet."""
        if _UNANSWERED not in answers:
            self._answered(batch, answers)
            return []
        pairs = list(zip(batch, answers, strict=True))
        answered = [pair for pair in pairs if pair[1] is not _UNANSWERED]
        if answered:
            self._answered([end for end, _ in answered], [answer for _, answer in answered])
        return [end for end, answer in pairs if answer is _UNANSWERED]

    def _repeat_soon(self, left: list[Settlement]) -> None:
        repeat = asyncio.get_running_loop().create_task(self._repeat(left))
        self._repeats[repeat] = left
        repeat.add_done_callback(self._repeats.pop)

    async def _repeat(self, left: list[Settlement]) -> None:
        failures = 0
        while left:
            failures += 1
            await self._clock.sleep(self._pause(failures))
            left = self._told(left, await self._settle(left))

    def _pause(self, failures: int) -> float:
        return self._chance.uniform(0.0, min(5.0, 0.05 * 2.0 ** min(failures, 16)))

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
                pause = self._pause(failures)
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
