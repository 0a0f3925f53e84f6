"""Jobs: a handle on one durable call of a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from treadle.altering import alter
from treadle.arguments import arguments_of
from treadle.durations import Duration, seconds, timestamp
from treadle.errors import InvalidOption
from treadle.hints import missing
from treadle.loopthread import may_block
from treadle.outcome import Progress, outcome, progress_of
from treadle.pools.wrapping import wrap_future
from treadle.ports import (
    Cancel,
    Change,
    Delete,
    Query,
    Reprioritise,
    Reschedule,
    Retry,
)
from treadle.records import FINAL, At, In, JobRecord, JobState
from treadle.watching import find_one, not_found, until_final

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.pools.future import Future
    from treadle.task import Task

__all__ = ["Job"]

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Job(Generic[R_co]):
    """One durable call of a task. The handle holds its id; what it tells, it asks the store.

    Blocking verbs have an awaitable twin with an ``a`` in front; of ``wait`` it is ``await_for``.

    Attributes:
        id: of the job. When a unique key was held, the id of the holder.
        created: whether the enqueue made this job.
        duplicate_of: the holder of the unique key, when there was one.
        replaced: the job that this one has replaced.
    """

    __slots__ = ("_core", "_task", "created", "duplicate_of", "id", "replaced")

    def __init__(
        self,
        core: Core,
        job_id: str,
        task: Task[..., R_co] | None = None,
        *,
        created: bool = True,
        duplicate_of: str | None = None,
        replaced: str | None = None,
    ) -> None:
        self._core = core
        self._task = task
        self.id = job_id
        self.created = created
        self.duplicate_of = duplicate_of
        self.replaced = replaced

    def __repr__(self) -> str:
        name = f" of {self._task.name}" if self._task is not None else ""
        return f"<Job {self.id}{name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.id == self.id and other._core is self._core

    def __hash__(self) -> int:
        return hash(self.id)

    if not TYPE_CHECKING:  # for a type checker every name would exist

        def __getattr__(self, name: str) -> Any:
            raise missing("a job", self, name, _SYNONYMS)

    def _call(self, verb: Callable[[], Coroutine[Any, Any, T]], name: str) -> T:
        twin = "await_for" if name == "wait" else f"a{name}"
        return self._core.call(verb, f"Job.{name}", f"job.{twin}")

    # ------------------------------------------------------------ the result

    async def aresult(self, timeout: Duration | None = None) -> R_co:
        """What the task returned, once the job has ended.

        Args:
            timeout: seconds to wait at most; the job itself goes on.

        Raises:
            JobFailed: it failed; carries the error as data. An exception whose class is in
                ``errors=`` of the task or the app is raised as it was.
            JobCancelled: it was cancelled.
            ResultExpired: it succeeded, and its result is no longer kept.
            JobNotFound: there is no such job, or nothing is known of it any more.
            WaitTimeout: it has not ended in time.
        """
        page = await until_final(self._core, self.id, timeout)
        result: R_co = outcome(self._core, self.id, page, self._task)
        return result

    def result(self, timeout: Duration | None = None) -> R_co:
        """What the task returned, once the job has ended. See :meth:`aresult`."""
        return self._call(lambda: self.aresult(timeout), "result")

    def future(self) -> Future[R_co]:
        """The result as a future, which ends as :meth:`aresult` does. Never blocks.

        To be waited for with others: ``gather([job, call, …])``. Cancelling it ends the waiting;
        the job goes on.
        """
        waiting = self.aresult()
        if may_block():
            return wrap_future(self._core.background.start(waiting))
        return wrap_future(asyncio.get_running_loop().create_task(waiting))

    async def await_for(self, timeout: Duration | None = None) -> JobRecord:
        """The record of the job once it has ended, however it did.

        Raises:
            WaitTimeout: it has not ended in time.
            JobNotFound: there is no such job, or it is no longer kept.
        """
        page = await until_final(self._core, self.id, timeout)
        if not page.records:
            raise not_found(self._core, self.id)
        return page.records[0]

    def wait(self, timeout: Duration | None = None) -> JobRecord:
        """The record of the job once it has ended, however it did. See :meth:`await_for`."""
        return self._call(lambda: self.await_for(timeout), "wait")

    # ------------------------------------------------------------ what is known

    async def arecord(self) -> JobRecord:
        """All that the store has of the job now: times, attempts with their errors, metadata.

        Raises:
            JobNotFound: there is no such job, or it is no longer kept.
        """
        page = await find_one(self._core, self.id)
        if not page.records:
            raise not_found(self._core, self.id)
        return page.records[0]

    def record(self) -> JobRecord:
        """All that the store has of the job now. See :meth:`arecord`."""
        return self._call(self.arecord, "record")

    async def aarguments(self) -> dict[str, Any]:
        """What the call gives each parameter of the task, defaults included.

        When the task is not known here, what was passed, as plain data.

        Raises:
            JobNotFound: there is no such job, or it is no longer kept.
            PayloadError: they cannot be read.
        """
        record = await self.arecord()
        return arguments_of(self._core, record.spec, self._task)

    def arguments(self) -> dict[str, Any]:
        """What the call gives each parameter of the task. See :meth:`aarguments`."""
        return self._call(self.aarguments, "arguments")

    async def astate(self) -> JobState:
        """Where the job is in its life. What is no longer kept has its final state.

        Raises:
            JobNotFound: nothing is known of such a job.
        """
        page = await find_one(self._core, self.id)
        if page.records:
            return page.records[0].state
        gone = page.gone.get(self.id)
        if gone is None or gone.state is None:
            raise not_found(self._core, self.id)
        return gone.state

    def state(self) -> JobState:
        """Where the job is in its life. See :meth:`astate`."""
        return self._call(self.astate, "state")

    async def aprogress(self) -> AsyncIterator[Progress]:
        """What the task says of its progress, until the job has ended.

        Starts with the last word, however late one listens; words that come faster than they
        can be stored are left out.
        """
        said: Progress | None = None
        version = -1
        while True:
            page = await find_one(self._core, self.id, wait=_LOOK_AGAIN, version=version)
            if not page.records:
                if version < 0 and self.id not in page.gone:
                    raise not_found(self._core, self.id)
                return
            record = page.records[0]
            version = record.version
            now = progress_of(record)
            if now is not None and now != said:
                said = now
                yield now
            if record.state in FINAL:
                return

    def progress(self) -> Iterator[Progress]:
        """What the task says of its progress, until the job has ended. See :meth:`aprogress`."""
        updates = self.aprogress()

        async def following() -> Progress | None:
            return await anext(updates, None)

        while (update := self._call(following, "progress")) is not None:
            yield update

    # ------------------------------------------------------------ changes

    async def acancel(self) -> bool:
        """Ask that the job ends. It ends at once unless it runs; then its code is told.

        Returns:
            False when it had ended already.

        Raises:
            JobNotFound: there is no such job.
        """
        return await self._alter(Cancel())

    def cancel(self) -> bool:
        """Ask that the job ends. See :meth:`acancel`."""
        return self._call(self.acancel, "cancel")

    async def aretry(
        self, *, delay: Duration | None = None, run_at: datetime | None = None
    ) -> bool:
        """Run a failed or cancelled job again, with all its attempts.

        Returns:
            False in any other state, or when its unique key has another holder by now.

        Raises:
            JobNotFound: there is no such job.
        """
        return await self._alter(Retry(due=_due(delay, run_at)))

    def retry(self, *, delay: Duration | None = None, run_at: datetime | None = None) -> bool:
        """Run a failed or cancelled job again. See :meth:`aretry`."""
        return self._call(lambda: self.aretry(delay=delay, run_at=run_at), "retry")

    async def areschedule(
        self, *, delay: Duration | None = None, run_at: datetime | None = None
    ) -> bool:
        """Start the job at another time.

        Returns:
            False when it runs or has ended.

        Raises:
            JobNotFound: there is no such job.
        """
        due = _due(delay, run_at)
        if due is None:
            raise InvalidOption(
                "reschedule() needs delay= or run_at=: when is the job to start?",
                option="delay",
                value=None,
            )
        return await self._alter(Reschedule(due=due))

    def reschedule(self, *, delay: Duration | None = None, run_at: datetime | None = None) -> bool:
        """Start the job at another time. See :meth:`areschedule`."""
        return self._call(lambda: self.areschedule(delay=delay, run_at=run_at), "reschedule")

    async def areprioritise(self, priority: int) -> bool:
        """Give the job another priority.

        Returns:
            False when it runs or has ended.

        Raises:
            InvalidOption: it is not a whole number from -100 to 100.
            JobNotFound: there is no such job.
        """
        return await self._alter(Reprioritise(priority=priority))

    def reprioritise(self, priority: int) -> bool:
        """Give the job another priority. See :meth:`areprioritise`."""
        return self._call(lambda: self.areprioritise(priority), "reprioritise")

    async def aagain(self) -> Job[R_co]:
        """A new job of the same call, at once, whatever became of this one.

        It has the options of this one and no history: not its due time, nor the jobs that it
        waited for. Middleware of the enqueue does not see it; what it gave along goes along.

        Raises:
            JobNotFound: there is no such job, or it is no longer kept.
            QueueFull, DuplicateJob: its options refuse it.
        """
        from treadle.followups import again

        return await again(self._core, await self.arecord(), self._task)

    def again(self) -> Job[R_co]:
        """A new job of the same call. See :meth:`aagain`."""
        return self._call(self.aagain, "again")

    async def adelete(self) -> bool:
        """Remove the job.

        Returns:
            False when it runs; cancel it first.

        Raises:
            JobNotFound: there is no such job.
        """
        return await self._alter(Delete())

    def delete(self) -> bool:
        """Remove the job. See :meth:`adelete`."""
        return self._call(self.adelete, "delete")

    async def _alter(self, change: Change) -> bool:
        altered = await alter(self._core, Query(ids=(self.id,)), change)
        if altered.done or altered.asked:
            return True
        if self.id in altered.refused:
            return False
        raise not_found(self._core, self.id)


_LOOK_AGAIN = 30.0
_SYNONYMS = {
    "status": "state", "ready": "state", "done": "state", "successful": "state",
    "is_finished": "state", "is_failed": "state", "get": "result", "return_value": "result",
    "error": "record", "exception": "record", "exc_info": "record", "traceback": "record",
    "info": "record", "refresh": "record", "args": "arguments",
    "kwargs": "arguments", "params": "arguments", "payload": "arguments", "queue": "record",
    "meta": "record",
    "job_id": "id", "task_id": "id", "uuid": "id", "revoke": "cancel", "abort": "cancel",
    "stop": "cancel", "requeue": "retry", "clone": "again", "rerun": "again", "repeat": "again",
     "forget": "delete", "remove": "delete", "join": "wait",
     "enqueued_at": "record", "time_last_queued": "record", "created_at": "record",
}  # fmt: skip
"""Words for the same in other libraries."""


def _due(delay: Duration | None, run_at: datetime | None) -> In | At | None:
    if delay is not None and run_at is not None:
        raise InvalidOption(
            "delay= and run_at= both say when to start; give one of them",
            option="run_at",
            value=run_at,
        )
    if run_at is not None:
        return At(timestamp(run_at, "run_at"))
    return None if delay is None else In(seconds(delay, "delay"))
