"""What tests of an application say: run what is due, move time, look at what was enqueued.

Verbs that block have an awaitable twin with an ``a`` in front, as everywhere in Treadle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

from treadle.arguments import arguments_of
from treadle.durations import Duration, seconds
from treadle.errors import InvalidOption
from treadle.events import Event
from treadle.loopthread import refuse_in_loop
from treadle.ports import EXAMINE_MAX, Query
from treadle.records import JobRecord
from treadle.testing.crashes import crash_of

if TYPE_CHECKING:
    from treadle.app import Treadle
    from treadle.core import Core
    from treadle.task import Task
    from treadle.testing.clock import ManualClock

__all__ = [
    "aadvance",
    "aassert_enqueued",
    "adrain",
    "advance",
    "arefute_enqueued",
    "assert_enqueued",
    "drain",
    "refute_enqueued",
]


async def adrain(app: Treadle, *queues: str) -> list[JobRecord]:
    """Run all jobs that are due, and those that they enqueue, until none is left.

    A retry with a delay is not due; move the clock and drain again.

    Args:
        app: whose jobs.
        queues: names as for a foreman; all by default.

    Returns:
        What ran, each job once, in the order of the starts, as it is afterwards. A job of which
        nothing is kept is left out.
    """
    started: dict[str, None] = {}

    def note(event: Event) -> None:
        if event.job_id is not None:
            started[event.job_id] = None

    app.core.bus.on("job.started", note)
    try:
        crash = crash_of(app.core)
        if crash is not None:
            await crash.drain(app, queues or ("*",))
        else:
            async with app.foreman(burst=True, queues=queues or ("*",)) as foreman:
                await foreman.join()
    finally:
        app.core.bus.off(note)
    return await _records(app.core, list(started))


def drain(app: Treadle, *queues: str) -> list[JobRecord]:
    """Run all jobs that are due until none is left. See :func:`adrain`."""
    return app.core.call(lambda: adrain(app, *queues), "drain", "adrain")


def advance(clock: ManualClock, duration: Duration) -> None:
    """Move a clock on by seconds, a ``timedelta`` or text such as ``"2h"``."""
    refuse_in_loop("advance", "aadvance")
    clock.advance(seconds(duration, "duration"))


async def aadvance(clock: ManualClock, duration: Duration) -> None:
    """Move a clock on, letting what it wakes run at each instant on the way."""
    await clock.aadvance(seconds(duration, "duration"))


class Wanted:
    """What a job must be like.

    Args:
        task: a task, or the function of one.
        args, kwargs: arguments that it must have; others may be there as well.
        fields: of its record or spec, such as ``queue``, ``priority``, ``tags``, ``state``.
        app: whose task it is, where the task does not know.
    """

    def __init__(
        self,
        task: Task[..., Any] | Callable[..., Any] | str,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = {},
        app: Treadle | None = None,
        fields: Mapping[str, Any],
    ) -> None:
        core = app.core if app is not None else getattr(task, "core", None)
        if core is None:
            raise InvalidOption(
                f"it is not known whose task {task!r} is; say so: app=…", option="app", value=None
            )
        self.core: Core = core
        self.task = self.core.task_of(task)
        self._signature = signature(self.task.fn)
        self._arguments = self._signature.bind_partial(*args, **kwargs).arguments
        self._fields = fields
        _check_fields(fields)

    async def found(self) -> tuple[list[JobRecord], list[JobRecord]]:
        """The jobs that are like it, and the other jobs of the task, oldest first."""
        backend = await self.core.ready()
        like: list[JobRecord] = []
        others: list[JobRecord] = []
        cursor = None
        while True:
            page = await backend.find(
                Query(task=self.task.name, oldest_first=True, limit=EXAMINE_MAX, cursor=cursor)
            )
            for record in page.records:
                (like if self._fits(record) else others).append(record)
            cursor = page.cursor
            if cursor is None:
                return like, others

    def arguments(self, record: JobRecord) -> dict[str, Any]:
        """The arguments of a job by name, defaults included."""
        return arguments_of(self.core, record.spec, self.task)

    def _fits(self, record: JobRecord) -> bool:
        if any(_field(record, name) != value for name, value in self._fields.items()):
            return False
        if not self._arguments:
            return True
        actual = self.arguments(record)
        return all(
            name in actual and actual[name] == value for name, value in self._arguments.items()
        )

    def __str__(self) -> str:
        parts = [f"{name}={value!r}" for name, value in self._arguments.items()]
        text = f"{self.task.name}({', '.join(parts)})"
        extra = ", ".join(f"{name}={value!r}" for name, value in self._fields.items())
        return f"{text} with {extra}" if extra else text

    def shown(self, records: Sequence[JobRecord]) -> str:
        """Jobs as lines for people."""
        lines = [self._line(record) for record in records[:20]]
        if len(records) > len(lines):
            lines.append(f"… and {len(records) - len(lines)} more")
        return "\n".join(f"  {line}" for line in lines)

    def _line(self, record: JobRecord) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.arguments(record).items())
        differing = [
            f"{name}={_field(record, name)!r}"
            for name, value in self._fields.items()
            if _field(record, name) != value
        ]
        return " ".join([f"{self.task.name}({arguments})", f"[{record.state}]", *differing])


async def aassert_enqueued(
    task: Task[..., Any] | Callable[..., Any] | str,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] = {},
    times: int | None = None,
    app: Treadle | None = None,
    **fields: Any,
) -> JobRecord:
    """The first job of a task that was enqueued like this; it may have run since.

    Args:
        task: a task, or with ``app`` its function or name.
        args: positional arguments that it must have; others may be there as well.
        kwargs: named ones, alike.
        times: how many such jobs there must be; at least one by default.
        app: whose task it is.
        fields: more that must be equal, by the names of a job's record or of what was pushed:
            ``queue``, ``priority``, ``key``, ``tags``, ``state``, ``due`` …

    Raises:
        AssertionError: there is none, or another number; it shows the jobs of the task.
    """
    wanted = Wanted(task, args=args, kwargs=kwargs, app=app, fields=fields)
    like, others = await wanted.found()
    if times is None and like:
        return like[0]
    if times is not None and len(like) == times and like:
        return like[0]
    number = "none was" if not like else f"{len(like)} were"
    text = f"expected {'a job' if times is None else f'{times} jobs'} {wanted}; {number} enqueued"
    if like or others:
        text += f". Jobs of this task:\n{wanted.shown([*like, *others])}"
    raise AssertionError(text)


async def arefute_enqueued(
    task: Task[..., Any] | Callable[..., Any] | str,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] = {},
    app: Treadle | None = None,
    **fields: Any,
) -> None:
    """No job of a task was enqueued like this. The arguments are those of :func:`aassert_enqueued`.

    Raises:
        AssertionError: there is one; it shows which.
    """
    wanted = Wanted(task, args=args, kwargs=kwargs, app=app, fields=fields)
    like, _ = await wanted.found()
    if like:
        raise AssertionError(f"expected no job {wanted}; there is\n{wanted.shown(like)}")


def assert_enqueued(task: Task[..., Any] | Callable[..., Any] | str, **wanted: Any) -> JobRecord:
    """The first job of a task that was enqueued like this. See :func:`aassert_enqueued`."""
    core = _core(task, wanted)
    return core.call(
        lambda: aassert_enqueued(task, **wanted), "assert_enqueued", "aassert_enqueued"
    )


def refute_enqueued(task: Task[..., Any] | Callable[..., Any] | str, **wanted: Any) -> None:
    """No job of a task was enqueued like this. See :func:`arefute_enqueued`."""
    core = _core(task, wanted)
    core.call(lambda: arefute_enqueued(task, **wanted), "refute_enqueued", "arefute_enqueued")


def _core(task: Task[..., Any] | Callable[..., Any] | str, wanted: Mapping[str, Any]) -> Core:
    return Wanted(task, app=wanted.get("app"), fields={}).core


def _field(record: JobRecord, name: str) -> Any:
    # What alter may have changed stands in the record, above what was pushed.
    return getattr(record if name in JobRecord.__struct_fields__ else record.spec, name)


def _check_fields(fields: Mapping[str, Any]) -> None:
    from treadle.records import NewJob

    known = sorted({*JobRecord.__struct_fields__, *NewJob.__struct_fields__} - {"spec", "payload"})
    for name in fields:
        if name not in known:
            raise InvalidOption(
                f"a job has no field {name!r}; it has {', '.join(known)}",
                option=name,
                value=fields[name],
            )


async def _records(core: Core, ids: list[str]) -> list[JobRecord]:
    backend = await core.ready()
    found: dict[str, JobRecord] = {}
    for start in range(0, len(ids), 100):
        page = await backend.find(Query(ids=tuple(ids[start : start + 100]), limit=100))
        found.update({record.id: record for record in page.records})
    return [found[job_id] for job_id in ids if job_id in found]
