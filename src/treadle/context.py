"""What a task can know and say while it runs: ``ctx: Context = CONTEXT``."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload

import msgspec

from treadle.codec import natural_decode, natural_encode
from treadle.errors import InvalidOption, NotEncodable, NotOpen
from treadle.events import Event
from treadle.injected import Injected
from treadle.logs import Logger, get_logger
from treadle.records import Lease, NewJob, Note

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.job import Job
    from treadle.task import Task

__all__ = ["CONTEXT", "CURRENT", "Attempting", "Context", "Speaker", "current"]

P = ParamSpec("P")
R = TypeVar("R")
_log = get_logger("treadle.task")


class Speaker(Protocol):
    """The part of a channel that a context uses; see :class:`treadle.pools.place.Channel`."""

    @property
    def stopping(self) -> bool: ...
    @property
    def ending(self) -> BaseException | None: ...
    def note(self, note: Note) -> None: ...


class Context:
    """One attempt of one job, as its code sees it. Nothing here ever blocks.

    Args:
        core: the app that runs the job.
        task: its task.
        lease: the right to it.
        headers: of its envelope, read-only.
        channel: to the foreman.
        deadline: when the attempt times out, in seconds since the epoch.
    """

    __slots__ = (
        "_core", "_deadline", "_headers", "_lease", "_log", "_note", "_state", "_task",
        "channel", "follow_ups",
    )  # fmt: skip

    phase = "run"

    def __init__(
        self,
        *,
        core: Core,
        task: Task[Any, Any],
        lease: Lease,
        headers: Mapping[str, str],
        channel: Speaker,
        deadline: float | None = None,
    ) -> None:
        self._core = core
        self._task = task
        self._lease = lease
        self._headers = headers
        self._deadline = deadline
        self._log: Logger | None = None
        self._note: Note | None = None
        self._state: dict[str, Any] | None = None
        self.channel = channel
        # Jobs to be pushed by the settle of a successful attempt.
        self.follow_ups: list[NewJob] = []

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return self._lease.spec.id

    @property
    def task_name(self) -> str:
        """The registered name of the task."""
        return self._lease.spec.task

    @property
    def task(self) -> Task[Any, Any]:
        """The task."""
        return self._task

    @property
    def queue(self) -> str:
        """The queue that the job came from."""
        return self._lease.spec.queue

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1: ``tries + crashes + 1``."""
        return self._lease.attempt

    @property
    def tries(self) -> int:
        """Attempts before this one that ended in an error or a timeout."""
        return self._lease.tries

    @property
    def crashes(self) -> int:
        """Attempts before this one whose process died."""
        return self._lease.crashes

    @property
    def fence(self) -> int:
        """Goes up with each attempt; a store outside can refuse writes with a smaller one."""
        return self._lease.token.fence

    @property
    def idempotency_key(self) -> str:
        """The same in every attempt of this job: for outside services that take one."""
        return f"{self._core.namespace}:{self._lease.spec.id}"

    @property
    def headers(self) -> Mapping[str, str]:
        """What middleware gave along at the enqueue."""
        return self._headers

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the job."""
        return self._lease.spec.tags

    @property
    def meta(self) -> Mapping[str, Any]:
        """The metadata of the job, with what its attempts have added."""
        meta = dict(self._lease.spec.meta)
        for note in (self._lease.note, self._note):
            if note is not None:
                meta.update(note.meta)
        return meta

    @property
    def enqueued_at(self) -> datetime:
        """When the job was accepted, by the clock of the store."""
        return datetime.fromtimestamp(self._lease.created, UTC)

    @property
    def deadline(self) -> datetime | None:
        """When this attempt times out."""
        return None if self._deadline is None else datetime.fromtimestamp(self._deadline, UTC)

    @property
    def stopping(self) -> bool:
        """The foreman is asked to stop: find a good place to end, or a checkpoint."""
        return self.channel.stopping

    @property
    def state(self) -> dict[str, Any]:
        """Free for middleware and dependencies of this attempt."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def log(self) -> Logger:
        """A structured logger that carries the job, the task and the attempt."""
        if self._log is None:
            self._log = _log.bind(job=self.job_id, task=self.task_name, attempt=self.attempt)
        return self._log

    def check(self) -> None:
        """Return, or raise what ends this attempt. Call it in long loops of plain functions.

        Raises:
            JobCancelled: somebody asked for it.
            AttemptTimeout: it ran longer than it may.
            LeaseLost: somebody else has the job now.
        """
        ending = self.channel.ending
        if ending is not None:
            raise ending

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Say how far the work is; whoever follows the job sees the last word.

        Args:
            current: how much is done.
            total: how much there is.
            message: what is being done.

        Raises:
            InvalidOption: not a finite number.
        """
        for name, value in (("current", current), ("total", total)):
            if value is not None and not math.isfinite(value):
                raise InvalidOption(
                    f"progress: {name}={value!r} is not a finite number", option=name, value=value
                )
        before = self._note or Note()
        self._say(msgspec.structs.replace(before, current=current, total=total, message=message))
        bus = self._core.bus
        if bus.wanted("job.progress"):
            data = {"current": current, "total": total, "message": message}
            bus.emit(self._event("job.progress", data))

    def note(self, **meta: Any) -> None:
        """Add small JSON values to the metadata of the job, for people to read.

        Raises:
            NotEncodable: a value is not JSON.
        """
        for name, value in meta.items():
            try:
                msgspec.json.encode(value)
            except (TypeError, ValueError) as error:
                raise NotEncodable(f"metadata {name!r} is not JSON: {error}", path=name) from error
        before = self._note or Note()
        self._say(msgspec.structs.replace(before, meta={**before.meta, **meta}))

    def checkpoint(self, value: Any) -> None:
        """Keep a value for the next attempt, which finds it in ``resumed``.

        Args:
            value: of JSON types, tuples, sets, dates, paths and the like. It replaces the
                checkpoint before.

        Raises:
            NotEncodable: it cannot be carried.
            PayloadTooLarge: it has more than ``max_payload`` bytes.
        """
        try:
            codec = self._core.codec
            bound = codec.binding(self.task_name, self.job_id)
            sealed = codec.seal(natural_encode(value), associated=bound)
        except NotEncodable as error:
            text = f"the checkpoint cannot be stored: {error}"
            raise NotEncodable(text, path=error.path) from error
        before = self._note or Note()
        self._say(msgspec.structs.replace(before, checkpoint=sealed))

    @property
    def resumed(self) -> Any:
        """The checkpoint of the attempt before, or ``None``."""
        note = self._note or self._lease.note
        if note is None or note.checkpoint is None:
            return None
        codec = self._core.codec
        bound = codec.binding(self.task_name, self.job_id)
        return natural_decode(codec.open(note.checkpoint, associated=bound).body)

    def _say(self, note: Note) -> None:
        if note.checkpoint is None and self._lease.note is not None:
            # The store keeps the last note whole: what the attempt before left goes along.
            note = msgspec.structs.replace(
                note,
                checkpoint=self._lease.note.checkpoint,
                meta={**self._lease.note.meta, **note.meta},
            )
        self._note = note
        self.channel.note(note)

    def _event(self, name: str, data: Mapping[str, Any]) -> Event:
        return Event(
            name=name,
            at=self._core.clock.now(),
            job_id=self.job_id,
            task=self.task_name,
            queue=self.queue,
            attempt=self.attempt,
            data=data,
        )

    @overload
    def enqueue(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    @overload
    def enqueue(
        self, task: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]: ...
    @overload
    def enqueue(self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    def enqueue(self, task: Any, /, *args: Any, **kwargs: Any) -> Job[Any]:
        """A follow-up job, pushed in the same step that ends this attempt with success.

        It is checked now and exists only when this attempt succeeds, so a retry does not make
        it twice.

        Args:
            task: a task, ``task.options(…)``, or the function of one.
            args, kwargs: its arguments.
        """
        job, new = self._core.task_of(task).follow_up(args, kwargs)
        self.follow_ups.append(new)
        return job


class _ContextMark(Injected):
    """Stands for the context of the attempt as the default of a parameter."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "CONTEXT"


CONTEXT: Context = cast("Context", _ContextMark())
"""The default of a parameter that wants the :class:`Context`: ``ctx: Context = CONTEXT``."""


class Attempting:
    """An attempt that may be asked for its context, which most never are."""

    __slots__ = ("_context", "_facts")

    def __init__(self, *facts: Any) -> None:
        # core, task, lease, headers, channel, deadline: what makes the context.
        self._facts = facts
        self._context: Context | None = None

    @property
    def context(self) -> Context:
        """The one context of this attempt, made when it is first asked for."""
        if self._context is None:
            core, task, lease, headers, channel, deadline = self._facts
            if deadline is not None:
                deadline += core.clock.now() - core.clock.monotonic()
            self._context = Context(
                core=core,
                task=task,
                lease=lease,
                headers=headers,
                channel=channel,
                deadline=deadline,
            )
        return self._context

    @property
    def follow_ups(self) -> tuple[NewJob, ...]:
        """The jobs that it asked for."""
        return () if self._context is None else tuple(self._context.follow_ups)


CURRENT: ContextVar[Attempting | None] = ContextVar("treadle.context", default=None)
"""The attempt that runs here. Set around the program of a job."""


def current() -> Context:
    """The context of the attempt that this code runs in, however deep.

    Raises:
        NotOpen: no job runs here.
    """
    attempting = CURRENT.get()
    if attempting is None:
        raise NotOpen(
            "no job runs here: treadle.current() works in a task and in what it calls; "
            "a plain call of a task has no context"
        )
    return attempting.context
