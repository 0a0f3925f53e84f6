"""What a task can know and say while it runs: ``ctx: Context = CONTEXT``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload

import msgspec

from treadle.arguments import arguments_of, call_of
from treadle.codec import natural_decode, natural_encode
from treadle.codec.small import encoded_meta, remark
from treadle.durations import moment
from treadle.errors import NotEncodable, NotOpen, Unsupported, UsageError
from treadle.events import Event
from treadle.guards import finite
from treadle.injected import Injected
from treadle.logs import Logger, get_logger, tell_where
from treadle.ports import Feature, Settlement, Unit
from treadle.records import Lease, NewJob, Note
from treadle.transactions import Transaction, check_follow_ups
from treadle.verdicts import Done

if TYPE_CHECKING:
    from typing import Unpack

    from treadle.core import Core
    from treadle.job import Job
    from treadle.locks.lock import Lock, LockOptions
    from treadle.task import Task

__all__ = ["CONTEXT", "CURRENT", "Attempting", "Context", "Speaker", "current"]

P = ParamSpec("P")
R = TypeVar("R")
_log = get_logger("treadle.task")
# They are one step of the store, which holds up all others meanwhile.
_MOST_FOLLOW_UPS = 1000


class Speaker(Protocol):
    """The part of a channel that a context uses; see :class:`treadle.pools.sites.site.Channel`."""

    @property
    def stopping(self) -> bool: ...
    @property
    def ending(self) -> BaseException | None: ...
    def note(self, note: Note) -> None: ...
    def committing(self, yes: bool) -> None: ...


class Context:
    """One attempt of one job, as its code sees it. Nothing here ever blocks.

    Args:
        core: the app that runs the job.
        task: its task.
        lease: the right to it.
        headers: of its envelope, read-only.
        channel: to the foreman.
        deadline: when the attempt times out, in seconds since the epoch.
        term: seconds for which the lease is granted each time.
    """

    __slots__ = (
        "_core", "_deadline", "_headers", "_lease", "_log", "_note", "_result", "_state", "_task",
        "_term", "channel", "committed", "follow_ups", "over",
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
        term: float = 30.0,
    ) -> None:
        self._core = core
        self._task = task
        self._lease = lease
        self._term = term
        # Sealed, for the transaction.
        self._result: bytes | None = None
        # Its transaction was the end of the attempt.
        self.committed = False
        # Its code has returned or raised: what it says from now on would reach nobody.
        self.over = False
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
    def parent(self) -> str | None:
        """The id of the job whose attempt has enqueued this one."""
        return self._lease.spec.parent

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
    def arguments(self) -> dict[str, Any]:
        """What the call gives each parameter of the task, defaults included.

        Read from the payload each time it is asked for.
        """
        return arguments_of(self._core, self._lease.spec, self._task)

    def given(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the call, by position and by name, as they were sent."""
        return call_of(self._core, self._lease.spec, self._task)

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
        return moment(self._lease.created)

    @property
    def deadline(self) -> datetime | None:
        """When this attempt times out."""
        return None if self._deadline is None else moment(self._deadline)

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

    def lock(self, name: str, **options: Unpack[LockOptions]) -> Lock:
        """A lock of the app that runs the job: ``with ctx.lock("reports") as fence``.

        See :meth:`Treadle.lock`. A block in plain code waits, as does ``acquire()``.
        """
        from treadle.locks.lock import Lock

        return Lock(self._core, name, **options)

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Say how far the work is; whoever follows the job sees the last word.

        Args:
            current: how much is done.
            total: how much there is.
            message: what is being done; the first 1,000 characters are kept.

        Raises:
            InvalidOption: not a finite number.
        """
        current = finite(current, "current")
        total = None if total is None else finite(total, "total")
        message = remark(message)
        before = self._note or Note()
        self._say(msgspec.structs.replace(before, current=current, total=total, message=message))
        bus = self._core.bus
        if bus.wanted("job.progress"):
            data = {"current": current, "total": total, "message": message}
            bus.emit(self._event("job.progress", data))

    def note(self, **meta: Any) -> None:
        """Add small JSON values to the metadata of the job, for people to read.

        Raises:
            NotEncodable: a value is not JSON, or all of them have more than 16 KiB.
            UsageError: the attempt has ended.
        """
        self._check_going("ctx.note()")
        before = self._note or Note()
        together = {**before.meta, **meta}
        encoded_meta(together)
        self._say(msgspec.structs.replace(before, meta=together))

    def checkpoint(self, value: Any) -> None:
        """Keep a value for the next attempt, which finds it in ``resumed``.

        Args:
            value: of JSON types, tuples, sets, dates, paths and the like. It replaces the
                checkpoint before.

        Raises:
            NotEncodable: it cannot be carried.
            PayloadTooLarge: it has more than ``max_payload`` bytes.
            UsageError: the attempt has ended.
        """
        self._check_going("ctx.checkpoint()")
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
        body = self._core.codec.body_of(note.checkpoint, self.task_name, self.job_id)
        return natural_decode(body)

    def transaction(self) -> Transaction:
        """A transaction of the store that ends this attempt with success, or does nothing.

        ``with ctx.transaction() as connection:`` in plain functions, ``async with`` in others.
        What is written through the connection, the success of the job, the value given to
        :meth:`returns` and the jobs of :meth:`enqueue` are committed together when the block is
        left. A block that raises, or a lease that was lost, rolls back all of it. Compute before
        it: it may take a sixth of the lease. What follows it is not part of the job any more.

        Raises:
            Unsupported: the backend, or the place, has no such transactions.
            TransactionTooLong: it took longer, and was rolled back.
            LeaseLost: another foreman has the job now. It was rolled back.
        """
        self._check_open("ctx.transaction()")
        if self._task.mode == "ray":
            raise Unsupported(
                "a job on a Ray actor has no ctx.transaction(): its connection would be on another "
                "machine than its foreman; use mode='thread', 'asyncio' or 'process'",
                backend=self._core.url,
                feature=Feature.TRANSACTIONS.value,
            )
        return Transaction(
            self._core,
            self._term / 6,
            "ctx.transaction()",
            queue=self.queue,
            ending=self._end_with,
            outcome=self._ended_with,
        )

    def returns(self, value: Any) -> None:
        """Say in a transaction what the result of the job is: the function returns too late.

        Raises:
            NotEncodable: it does not fit the annotation.
            PayloadTooLarge: it has more than ``max_payload`` bytes.
        """
        self._check_open("ctx.returns()")
        codec, task = self._core.codec, self._task
        bound = b"" if codec.plain else codec.binding(self.task_name, self.job_id)
        self._result = codec.seal(task.shape.encode_result(value), associated=bound)

    @property
    def has_result(self) -> bool:
        """Whether :meth:`returns` was given a value."""
        return self._result is not None

    def _check_open(self, what: str) -> None:
        if self.committed:
            raise UsageError(
                f"{what} comes too late: the attempt has ended with its ctx.transaction()"
            )
        self._check_going(what)

    def _check_going(self, what: str) -> None:
        if self.over:
            raise UsageError(
                f"{what} comes too late: attempt {self.attempt} of job {self.job_id} has ended. "
                "A thread or task that outlives the function it came from enqueues by "
                "task.enqueue(…), or is waited for by that function"
            )

    def _end_with(self, unit: Unit) -> None:
        """Have the commit end this attempt.

        Raises:
            Unsupported: a follow-up is for another store, which shares no commit with this one.
        """
        check_follow_ups(self._core, self.queue, self.follow_ups)
        unit.ends.append(
            Settlement(
                token=self._lease.token,
                verdict=Done(result=self._result),
                follow_ups=tuple(self.follow_ups),
                note=self._note,
            )
        )

    def _ended_with(self, committed: bool) -> None:
        self.committed = committed
        self.channel.committing(committed)

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

        Raises:
            UsageError: the attempt has 1,000 of them already, or the job is the last of
                ``max_depth`` that have each enqueued the next one, or the attempt has ended.
        """
        self._check_open("ctx.enqueue()")
        if len(self.follow_ups) >= _MOST_FOLLOW_UPS:
            raise UsageError(
                f"job {self.job_id} has {_MOST_FOLLOW_UPS:,} follow-ups, all of which are pushed "
                "in one step with its end, so it can have no more. Enqueue many without ctx, by "
                "task.enqueue_many(…), or let a follow-up enqueue the rest"
            )
        job, new = self._core.task_of(task).follow_up(
            args, kwargs, self._lease.spec, self.follow_ups
        )
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

    __slots__ = ("_context", "_facts", "_over")

    def __init__(self, *facts: Any) -> None:
        # core, task, lease, headers, channel, deadline, term: what makes the context.
        self._facts = facts
        self._context: Context | None = None
        self._over = False

    def end(self) -> bool:
        """Its code has returned or raised; whether its transaction was the end of it before."""
        self._over = True
        context = self._context
        if context is None:
            return False
        context.over = True
        return context.committed

    @property
    def context(self) -> Context:
        """The one context of this attempt, made when it is first asked for."""
        if self._context is None:
            core, task, lease, headers, channel, deadline, term = self._facts
            if deadline is not None:
                deadline += core.clock.now() - core.clock.monotonic()
            self._context = Context(
                core=core,
                task=task,
                lease=lease,
                headers=headers,
                channel=channel,
                deadline=deadline,
                term=term,
            )
            self._context.over = self._over
        return self._context

    def descent(self, *, at_once: bool) -> dict[str, Any]:
        """What a job that its code enqueues says of where it comes from: ``parent``, ``depth``.

        Args:
            at_once: it has no delay.

        Raises:
            UsageError: it would be one too many of those that have each enqueued the next one.
        """
        if not self._facts:
            return {}  # a call that is no job
        core, _, lease, *_ = self._facts
        depth = lease.spec.depth + 1 if at_once else 0
        if depth >= core.settings.max_depth:
            raise UsageError(
                f"job {lease.spec.id} is the last of {depth:,} that have each enqueued the next "
                "one without a delay, so it cannot enqueue another. If they are not to end, give "
                "each a delay=; if they are more, set max_depth= of the app"
            )
        return {"parent": lease.spec.id, "depth": depth}

    def is_of(self, core: Core) -> bool:
        """Whether it is that of a job of an app."""
        return bool(self._facts) and self._facts[0] is core

    @property
    def fields(self) -> Mapping[str, Any]:
        """What the log lines of its code carry; a call that is no job has no id."""
        if not self._facts:
            ctx = self.context
            return {"task": ctx.task_name, "attempt": ctx.attempt}
        _, task, lease, *_ = self._facts
        return {"job": lease.spec.id, "task": task.name, "attempt": lease.attempt}

    @property
    def follow_ups(self) -> tuple[NewJob, ...]:
        """The jobs that it asked for."""
        return () if self._context is None else tuple(self._context.follow_ups)


CURRENT: ContextVar[Attempting | None] = ContextVar("treadle.context", default=None)
"""The attempt that runs here. Set around the program of a job."""


def _where() -> Mapping[str, Any]:
    attempting = CURRENT.get()
    return {} if attempting is None else attempting.fields


tell_where(_where)


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
