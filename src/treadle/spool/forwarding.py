"""From the spool to the store: in order, by one process at a time, for as long as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from treadle.backends.sqlite.gate import Gate, NoGate, gate_of
from treadle.clock import Clock, SystemClock
from treadle.errors import (
    BackendFull,
    BackendReadOnly,
    BackendStalled,
    BackendUnavailable,
    SchemaMismatch,
)
from treadle.events import Event
from treadle.failpoints import failpoint
from treadle.ids import Chance
from treadle.logs import get_logger
from treadle.ports import Backend, Feature, Query
from treadle.records import NewJob, PushStatus
from treadle.spool.entry import Entry, Place, aged, known_for
from treadle.spool.file import SpoolFile

__all__ = ["Forwarder", "Step"]

_log = get_logger("treadle.spool")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
# Whoever forwards is asked so often whether it still lives.
_LOOK_EVERY = 1.0
_NOT_NOW = (BackendStalled, BackendFull, BackendReadOnly, SchemaMismatch)
"""Nothing was accepted, and that says nothing of the jobs: the store has to be mended."""
_AWAY = (BackendUnavailable, OSError)
"""The same, but what was sent may have been accepted."""

Line = Sequence[tuple[Entry, NewJob]]


class Step(msgspec.Struct):
    """What became of the first jobs of the line."""

    forwarded: int = 0
    refused: int = 0


class Forwarder:
    """Takes the jobs of one place out of a spool, oldest first, and pushes them.

    Args:
        file: the spool.
        place: whose jobs.
        request_ttl: seconds for which a store knows a job again that it no longer keeps.
        clock, chance: pace what is repeated.
        tell: is told of what was forwarded and refused.
    """

    def __init__(
        self,
        file: SpoolFile,
        place: Place,
        *,
        request_ttl: float,
        clock: Clock,
        chance: Chance,
        tell: Callable[[Event], None],
    ) -> None:
        self._file = file
        self._place = place
        self._request_ttl = request_ttl
        self._clock = clock
        self._chance = chance
        self._tell = tell
        self._gate: Gate | None = None
        # It is to end after what it does now.
        self.stopping = False
        self._pausing = False

    def stop(self) -> bool:
        """Ask it to end soon; False when it only waits, and may be cancelled."""
        self.stopping = True
        return not self._pausing

    def close(self) -> None:
        """Let another process forward."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.close()

    def forget(self) -> None:
        """In a forked child: the turn is the parent's, and its file must not be held here."""
        self.close()

    async def run(self, ready: Callable[[], Awaitable[Backend]]) -> None:
        """Return when nothing waits any more, or it was asked to stop.

        Args:
            ready: gives the store, connected for the running loop.
        """
        pause = _FIRST_PAUSE
        while not self.stopping:
            try:
                if not self._file.waits(self._place):
                    return
                if await self.turn(ready) is None:
                    await self._pause(_LOOK_EVERY)
            except Exception as error:  # noqa: BLE001 - jobs wait: whatever it is, it is tried again
                if pause == _FIRST_PAUSE:
                    _log.info("spool.waits", path=self._file.path, reason=str(error))
                await self._pause(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE

    async def _pause(self, seconds: float) -> None:
        self._pausing = True
        try:
            if not self.stopping:
                await self._clock.sleep(seconds * self._chance.uniform(0.5, 1.0))
        finally:
            self._pausing = False

    async def turn(self, ready: Callable[[], Awaitable[Backend]]) -> Step | None:
        """Forward the first jobs; ``None`` when another process does.

        Raises:
            BackendError: the store is away, or has to be mended.
        """
        if not self._has_turn():
            return None
        try:
            return await self._step(await ready())
        finally:
            self._end_turn()

    def _has_turn(self) -> bool:
        if self._gate is None:
            self._gate = gate_of(f"{self._file.path}-forward", SystemClock(), lambda: None)
        # Where there are no such locks several processes forward: what comes twice is known.
        return isinstance(self._gate, NoGate) or self._gate.enter_at_once()

    def _end_turn(self) -> None:
        if self._gate is not None:
            self._gate.leave()

    async def _step(self, backend: Backend) -> Step:
        now = self._clock.now()
        head = await asyncio.to_thread(self._file.head, self._place)
        step, line = Step(), list[tuple[Entry, NewJob]]()
        for entry, job in head:
            if job is None:
                await self._refuse(step, entry, "what is stored of it cannot be read")
            else:
                line.append((entry, aged(job, now - entry.at)))
        if line:
            await self._ask(backend, line[0][0])
            line = await self._certain(step, backend, line, now)
        if line:
            await self._push(step, backend, line)
        return step

    async def _ask(self, backend: Backend, first: Entry) -> None:
        """Return when the store answers: what is sent while it is away is in doubt for ever."""
        if Feature.RECORDS in backend.features:
            await backend.find(Query(ids=(first.id,)))
        else:
            await backend.probe()

    async def _certain(
        self, step: Step, backend: Backend, line: Line, now: float
    ) -> list[tuple[Entry, NewJob]]:
        """Without those that were sent so long ago that the store may have forgotten them."""
        old = {
            entry.id
            for entry, job in line
            if entry.sent is not None
            and now - entry.sent > known_for(job, backend.features, self._request_ttl)
        }
        if not old:
            return list(line)
        unknown = old - await self._known(backend, old)
        for entry, _ in line:
            if entry.id in unknown:
                await self._refuse(
                    step,
                    entry,
                    "it was sent once without an answer, so long ago that the store would not know "
                    "it again: it may have been accepted, and have ended",
                )
        return [(entry, job) for entry, job in line if entry.id not in unknown]

    async def _known(self, backend: Backend, ids: AbstractSet[str]) -> AbstractSet[str]:
        """Those that the store is sure to have, or to have had."""
        if Feature.RECORDS not in backend.features:
            return frozenset()
        page = await backend.find(Query(ids=tuple(ids), limit=len(ids)))
        return {record.spec.id for record in page.records} | set(page.gone)

    async def _push(self, step: Step, backend: Backend, line: Line) -> None:
        fresh = [entry.number for entry, _ in line if entry.sent is None]
        await asyncio.to_thread(self._file.mark, fresh, self._clock.now())
        failpoint("spool.before_send")
        try:
            answers = await backend.push([job for _, job in line])
        except _NOT_NOW:
            await asyncio.to_thread(self._file.mark, fresh, None)
            raise
        except _AWAY:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the others must not wait for it
            if len(line) > 1:
                for one in line:
                    await self._push(step, backend, [one])
            else:
                await self._refuse(step, line[0][0], f"{type(error).__name__}: {error}")
            return
        failpoint("spool.after_send")
        done: list[int] = []
        for (entry, job), answer in zip(line, answers, strict=True):
            if answer.status is PushStatus.FULL:
                await self._refuse(step, entry, f"its queue holds {job.bound} jobs, its bound")
            else:
                done.append(entry.number)
        await asyncio.to_thread(self._file.forwarded, done)
        failpoint("spool.after_delete")
        step.forwarded += len(done)
        _log.info("spool.forwarded", path=self._file.path, jobs=len(done))
        data = {"jobs": len(done), "left": self._file.waits(self._place)}
        self._tell(Event(name="spool.forwarded", at=self._clock.now(), data=data))

    async def _refuse(self, step: Step, entry: Entry, reason: str) -> None:
        step.refused += 1
        await asyncio.to_thread(self._file.refuse, entry.number, reason)
        _log.error("spool.refused", job=entry.id, task=entry.task, reason=reason)
        self._tell(
            Event(
                name="spool.refused",
                at=self._clock.now(),
                job_id=entry.id,
                task=entry.task,
                queue=entry.queue,
                data={"reason": reason},
            )
        )
