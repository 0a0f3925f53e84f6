"""From calls to jobs: encode, surround with middleware, seal, push, answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar

from treadle.errors import DuplicateJob, EnqueueError, InvalidOption, QueueFull, UsageError
from treadle.job import Job
from treadle.middleware import Enqueuing, compose
from treadle.mould import Mould, check_features
from treadle.records import NewJob, OnConflict, Pushed, PushStatus

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.task import Task

__all__ = ["Call", "follow_up", "is_call", "send", "send_many"]

R = TypeVar("R")
_CHUNK = 1000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5


class Call(Generic[R]):
    """A task with the arguments of one call, to be enqueued with others."""

    __slots__ = ("args", "kwargs", "task")

    def __init__(self, task: Task[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs

    def __repr__(self) -> str:
        named = [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task.name}({', '.join([*map(repr, self.args), *named])})"


def is_call(value: object) -> TypeGuard[Call[Any]]:
    """Whether it came from ``task.bind(…)``."""
    return isinstance(value, Call)


async def send(core: Core, call: Call[R]) -> Job[R]:
    """The job that a call has become."""
    mould = call.task.mould
    body = mould.encode(call.args, call.kwargs)
    if core.middleware:
        job: Job[R] = await _through(core, call, mould, body)
        return job
    job_id = mould.job_id or core.ids.new()
    new = mould.cast(job_id, mould.seal(core.codec, job_id, body), call.args, call.kwargs)
    return await _push_one(core, call, mould, new)


async def send_many(core: Core, calls: Sequence[Call[Any]]) -> list[Job[Any]]:
    """The jobs that calls have become, in order. All are checked before the first is pushed.

    Raises:
        EnqueueError: some were not accepted; its attribute ``jobs`` has those that were, and
            ``None`` for the others.
    """
    pairs = iter(_encoded(calls))
    jobs: list[Job[Any]] = []
    while chunk := list(islice(pairs, _CHUNK)):
        if core.middleware:
            sent = (_through(core, call, call.task.mould, body) for call, body in chunk)
            jobs.extend(await asyncio.gather(*sent))
        else:
            jobs.extend(await _push_chunk(core, chunk, jobs))
    return jobs


def _encoded(calls: Sequence[Call[Any]]) -> list[tuple[Call[Any], bytes]]:
    """The calls with their encoded arguments, all of them checked."""
    pairs: list[tuple[Call[Any], bytes]] = []
    ids: set[str] = set()
    for call in calls:
        mould = call.task.mould
        if mould.job_id is not None:
            _check_id(mould.job_id, ids)
        pairs.append((call, mould.encode(call.args, call.kwargs)))
    return pairs


def follow_up(core: Core, call: Call[R]) -> tuple[Job[R], NewJob]:
    """A job that somebody else will push, with the end of the attempt that runs now."""
    mould = call.task.mould
    body = mould.encode(call.args, call.kwargs)
    made: list[NewJob] = []

    async def keep(ctx: Enqueuing) -> Job[Any]:
        payload = mould.seal(core.codec, ctx.job_id, body, ctx.headers)
        made.append(mould.cast(ctx.job_id, payload, call.args, call.kwargs))
        return Job(core, ctx.job_id, call.task)

    ctx = Enqueuing(core, call, mould.job_id or core.ids.new())
    job = _at_once(compose(core.middleware, keep)(ctx))
    if not made:
        raise UsageError(
            f"a middleware did not pass on the follow-up job of task {call.task.name!r}"
        )
    return job, made[0]


def _at_once(coroutine: Any) -> Any:
    """The result of a coroutine that does not wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise UsageError(
        "a middleware waits for something while ctx.enqueue() enqueues, which never blocks; "
        "use 'await task.aenqueue(…)' in this task, or do not wait in the middleware"
    )


async def _through(core: Core, call: Call[Any], mould: Mould, body: bytes) -> Any:
    """One call through the middleware."""

    async def push(ctx: Enqueuing) -> Job[Any]:
        payload = mould.seal(core.codec, ctx.job_id, body, ctx.headers)
        new = mould.cast(ctx.job_id, payload, call.args, call.kwargs)
        return await _push_one(core, call, mould, new)

    ctx = Enqueuing(core, call, mould.job_id or core.ids.new())
    return await compose(core.middleware, push)(ctx)


async def _push_one(core: Core, call: Call[R], mould: Mould, new: NewJob) -> Job[R]:
    outbox = core.store.outbox or await core.outbox()
    if mould.needs:
        check_features(mould.needs, core.store.backend(), new.task)
    eager = core.store.eager
    if eager is not None:
        new = eager.adapted(new)
    answer = (await outbox.push((new,)))[0]
    if answer.status is PushStatus.FULL:
        answer = await _when_there_is_room(core, mould, new)
    job = _answered(core, call, new, answer)
    if eager is not None:
        await eager.drain((job.id,))
    return job


async def _push_chunk(
    core: Core, chunk: Sequence[tuple[Call[Any], bytes]], before: Sequence[Job[Any]]
) -> list[Job[Any]]:
    outbox = core.store.outbox or await core.outbox()
    codec, new_id = core.codec, core.ids.new
    news: list[NewJob] = []
    for call, body in chunk:
        mould = call.task.mould
        if mould.needs:
            check_features(mould.needs, core.store.backend(), call.task.name)
        job_id = mould.job_id or new_id()
        news.append(mould.cast(job_id, mould.seal(codec, job_id, body), call.args, call.kwargs))
    eager = core.store.eager
    if eager is not None:
        news = list(map(eager.adapted, news))
    answers = await outbox.push(news)
    jobs: list[Job[Any] | None] = []
    refused: EnqueueError | None = None
    silent = not core.bus.wanted("job.enqueued")
    for (call, _), new, answer in zip(chunk, news, answers, strict=True):
        if silent and answer.status is PushStatus.CREATED:
            jobs.append(Job(core, new.id, call.task))
            continue
        try:
            full = answer.status is PushStatus.FULL
            final = await _when_there_is_room(core, call.task.mould, new) if full else answer
            jobs.append(_answered(core, call, new, final))
        except EnqueueError as error:
            refused = refused or error
            jobs.append(None)
    if refused is not None:
        refused.jobs = [*before, *jobs]  # type: ignore[attr-defined]
        raise refused
    accepted = [job for job in jobs if job is not None]
    if eager is not None:
        await eager.drain(tuple(job.id for job in accepted))
    return accepted


async def _when_there_is_room(core: Core, mould: Mould, new: NewJob) -> Pushed:
    """The answer to a job whose queue is full, after waiting for room where that is wanted."""
    if not mould.waits_for_room:
        raise QueueFull(
            f"queue {new.queue!r} holds {new.bound} jobs, its bound; try later, run more "
            "foremen, or let the enqueue wait with on_full='wait'",
            queue=new.queue,
            bound=new.bound,
        )
    pause = _FIRST_PAUSE
    outbox = await core.outbox()
    while True:
        # No store tells when a queue has room: it is asked again, less and less often.
        await core.clock.sleep(pause * core.ids.chance.uniform(0.5, 1.0))
        answer = (await outbox.push((new,)))[0]
        if answer.status is not PushStatus.FULL:
            return answer
        pause = min(pause * 2, _LONGEST_PAUSE)


def _answered(core: Core, call: Call[R], new: NewJob, answer: Pushed) -> Job[R]:
    """The handle for what the store said."""
    task, status = call.task, answer.status
    if status is PushStatus.CREATED:
        job = Job(core, new.id, task)
    elif status is PushStatus.EXISTS:
        # An id that was made for this call is known only by a push of ours whose reply was lost.
        job = Job(core, new.id, task, created=task.mould.job_id is None)
    elif status is PushStatus.REPLACED:
        job = Job(core, new.id, task, replaced=answer.of)
    else:
        unique = new.unique
        if unique is not None and unique.on_conflict is OnConflict.ERROR:
            raise DuplicateJob(
                f"job {answer.of} of the unique key {unique.key!r} is not finished; wait for it, "
                "or choose another on_conflict",
                key=unique.key,
                holder=answer.of,
            )
        job = Job(core, answer.of or new.id, task, created=False, duplicate_of=answer.of)
    if job.created:
        core.tell("job.enqueued", new)
    return job


def _check_id(job_id: str, seen: set[str]) -> None:
    if job_id in seen:
        raise InvalidOption(
            f"several calls have the id {job_id!r}; bind each with its own: "
            "task.options(id=…).bind(…)",
            option="id",
            value=job_id,
        )
    seen.add(job_id)
