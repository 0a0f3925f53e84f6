"""Jobs on their way to the store: together when they come together, again when it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from treadle.clock import Clock
from treadle.errors import BackendUnavailable, OutcomeUnknown
from treadle.failpoints import failpoint
from treadle.fates import Fate, fates_of
from treadle.ids import Chance
from treadle.logs import get_logger
from treadle.records import NewJob, Pushed
from treadle.together import split

if TYPE_CHECKING:
    from treadle.ports import Backend

__all__ = ["Outbox", "Outboxes", "Pushes", "Repeats", "Sender"]

_log = get_logger("treadle.enqueue")
_MOST = 1000
# What a store answers when no job has ended by itself.
_LIST: Any = list
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


class Repeats:
    """Pushes jobs until the store answers, or gives up.

    A reply can get lost, so a push is repeated with the same ids, which the store knows again.
    It remembers them for ``request_ttl``; after that a repeat could make a job twice.

    Args:
        backend: connected for the running loop.
        clock, chance: pace the repeats.
        patience: seconds after the first push during which it is repeated.
        hear: told of the jobs that ended by themselves.
        name: of the store, for messages.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        clock: Clock,
        chance: Chance,
        patience: float,
        hear: Callable[[Sequence[Fate]], object],
        name: str = "the store",
    ) -> None:
        self._backend = backend
        self._name = name
        self._clock = clock
        self._chance = chance
        self._patience = patience
        self._hear = hear

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """The answers of the store, in order.

        Raises:
            OutcomeUnknown: it did not answer within the patience.
        """
        began = self._clock.monotonic()
        pause = _FIRST_PAUSE
        while True:
            try:
                failpoint("enqueue.before_send")
                answers = await self._backend.push(jobs)
                failpoint("enqueue.sent_no_reply")
            except (BackendUnavailable, OSError) as error:
                delay = pause * self._chance.uniform(0.5, 1.0)
                if self._clock.monotonic() + delay - began > self._patience:
                    raise _unknown(jobs, self._name, self._patience, error) from error
                if pause == _FIRST_PAUSE:
                    _log.warning("enqueue.repeated", jobs=len(jobs), error=str(error))
            else:
                failpoint("enqueue.after_reply")
                if type(answers) is not _LIST and (fates := fates_of(answers)):
                    self._hear(fates)
                return answers
            await self._clock.sleep(delay)
            pause = min(pause * 2, _LONGEST_PAUSE)


def _unknown(
    jobs: Sequence[NewJob], name: str, patience: float, error: BaseException
) -> OutcomeUnknown:
    first = jobs[0].id
    more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    return OutcomeUnknown(
        f"{name} did not answer for {patience:g} s ({error}); whether job {first}{more} was "
        "accepted is not known. Look it up with app.job(id), or enqueue again with the same id: "
        "task.options(id=…)",
        job_id=first,
    )


class Pushes(Protocol):
    """What an outbox hands its jobs to."""

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """The answers, in order."""
        ...


class Outbox:
    """Sends the jobs of one event loop whenever the store is free.

    What is enqueued while the store is busy goes together in the next push; a job alone goes
    at once, in the task of its caller. There is no timer.
    """

    def __init__(self, way: Pushes) -> None:
        self._way = way
        self._busy = False
        self._waiting: list[_Parcel] = []
        self._sender: asyncio.Task[None] | None = None

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """The answers of the store, in order."""
        if self._busy:
            parcel = _Parcel(jobs)
            self._waiting.append(parcel)
            return await parcel.answer
        self._busy = True
        try:
            return await self._way.push(jobs)
        finally:
            self._go_on()

    async def idle(self) -> None:
        """Return when all that was put has been answered."""
        while self._sender is not None and not self._sender.done():
            await asyncio.wait({self._sender})

    def _go_on(self) -> None:
        if self._waiting:
            self._sender = asyncio.get_running_loop().create_task(self._send())
        else:
            self._busy = False

    async def _send(self) -> None:
        sending: list[_Parcel] = []
        try:
            while self._waiting:
                sending = self._take()
                await self._push(sending)
        finally:
            for parcel in (*sending, *self._waiting):
                parcel.answer.cancel()  # only when the loop is being torn down
            self._waiting.clear()
            self._busy = False

    def _take(self) -> list[_Parcel]:
        """Parcels for one push. Whoever was cancelled while waiting is left out."""
        taken: list[_Parcel] = []
        size = index = 0
        for index, parcel in enumerate(self._waiting, 1):  # noqa: B007
            if not parcel.answer.done():
                taken.append(parcel)
                size += len(parcel.jobs)
            if size >= _MOST:
                break
        del self._waiting[:index]
        return taken

    async def _push(self, parcels: list[_Parcel]) -> None:
        try:
            answers = await self._way.push([job for one in parcels for job in one.jobs])
        except Exception as error:  # noqa: BLE001 - each caller gets it
            if len(parcels) > 1 and not isinstance(error, OutcomeUnknown):
                # One may be the reason: the others must not pay for it.
                for parcel in parcels:
                    await self._push([parcel])
                return
            for parcel in parcels:
                parcel.fail(error)
            return
        at = 0
        for parcel in parcels:
            parcel.succeed(answers[at : at + len(parcel.jobs)])
            at += len(parcel.jobs)


class Outboxes:
    """Sends the jobs of one event loop to several stores, so that none waits for another's.

    Args:
        boxes: by the name of the store.
        route: the name of the store of a queue.
    """

    def __init__(self, boxes: Mapping[str, Outbox], route: Callable[[str], str]) -> None:
        self._boxes = boxes
        self._route = route

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """The answers of the stores, in order; the first failure, once all have answered."""
        return await split(
            jobs,
            lambda job: self._route(job.queue),
            lambda name, some: self._boxes[name].push(some),
        )

    async def idle(self) -> None:
        """Return when all that was put has been answered."""
        for box in self._boxes.values():
            await box.idle()


Sender = Outbox | Outboxes
"""What sends the jobs of one event loop."""


class _Parcel:
    """Jobs of one caller, who waits for the answer."""

    __slots__ = ("answer", "jobs")

    def __init__(self, jobs: Sequence[NewJob]) -> None:
        self.jobs = jobs
        self.answer: asyncio.Future[Sequence[Pushed]] = asyncio.get_running_loop().create_future()

    def succeed(self, answers: Sequence[Pushed]) -> None:
        if not self.answer.done():
            self.answer.set_result(answers)

    def fail(self, error: Exception) -> None:
        if self.answer.done():
            return
        if isinstance(error, OutcomeUnknown):
            mine = OutcomeUnknown(str(error), job_id=self.jobs[0].id)
            mine.__cause__ = error.__cause__
            error = mine
        self.answer.set_exception(error)
