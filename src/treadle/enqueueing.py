"""From calls to jobs: encode, surround with middleware, seal, push, answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar, cast

from treadle.answers import full, handle
from treadle.errors import (
    BackendUnavailable,
    EnqueueError,
    InvalidCall,
    InvalidOption,
    PayloadError,
    UsageError,
)
from treadle.job import Job
from treadle.loopthread import refuse_in_loop
from treadle.middleware import Enqueuing, compose
from treadle.mould import Mould, check_needs
from treadle.records import NewJob, Pushed, PushStatus
from treadle.together import split
from treadle.transactions import transactions_of

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.ports import Transactions
    from treadle.task import Task

__all__ = [
    "BoundTask",
    "answered",
    "at_once",
    "id_of",
    "is_bound_task",
    "send",
    "send_blocking",
    "send_many",
    "send_many_blocking",
]

R = TypeVar("R")
# Looking a member up in its enum costs more than a global name.
_CREATED = PushStatus.CREATED
_CHUNK = 1000
"""Calls that are checked and pushed together."""
_LOOK_EVERY = 5.0
"""Seconds after which an enqueue that waits for room looks by itself."""


class BoundTask(Generic[R]):
    """A task with the arguments of one call, to be enqueued with others."""

    __slots__ = ("args", "kwargs", "task")

    def __init__(self, task: Task[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs

    def __repr__(self) -> str:
        named = [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task.name}({', '.join([*map(repr, self.args), *named])})"


_Encoded = tuple[BoundTask[Any], bytes]
"""A call and its encoded arguments."""
_Push = Callable[["Core", Sequence[_Encoded]], Awaitable[Sequence["Job[Any] | BaseException"]]]


def is_bound_task(value: object) -> TypeGuard[BoundTask[Any]]:
    """Whether it came from ``task.bind(…)``."""
    return isinstance(value, BoundTask)


async def send(core: Core, call: BoundTask[R]) -> Job[R]:
    """The job that a call has become."""
    mould = call.task.mould
    body = mould.encode(call.args, call.kwargs)
    if core.middleware:
        job: Job[R] = await _through(core, call, mould, body)
        return job
    job_id = mould.job_id or (core.ids.new() if core.store.any_id else _placed(core, call))
    new = mould.cast(job_id, mould.seal(core.codec, job_id, body), call.args, call.kwargs)
    return await _push_one(core, call, mould, new)


def id_of(core: Core, call: BoundTask[Any]) -> str:
    """The id of the job that a call becomes: that of the call, or a new one."""
    return call.task.mould.job_id or _placed(core, call)


def _placed(core: Core, call: BoundTask[Any]) -> str:
    """A new id, as the store wants it."""
    core.backend()
    return core.store.placed(call.task.mould.cast(core.ids.new(), b"", call.args, call.kwargs))


def send_blocking(core: Core, call: BoundTask[R], name: str, twin: str) -> Job[R]:
    """The same for code without an event loop.

    Args:
        name: of the blocking verb, for messages.
        twin: what to await instead.
    """
    if call.task.mould.within is None:
        return core.call(lambda: send(core, call), name, twin)
    # Here and now: the connection is used by this thread, which may wait for nobody.
    refuse_in_loop(name, twin)
    job: Job[R] = at_once(send(core, call), name, twin)
    return job


async def send_many(core: Core, calls: Iterable[BoundTask[Any]]) -> list[Job[Any]]:
    """The jobs that calls have become, in order. See :class:`_Many`."""
    many = _Many(core, calls)
    while many.take():
        await many.send()
    return many.jobs


def send_many_blocking(
    core: Core,
    calls: Iterable[BoundTask[Any]],
    name: str,
    twin: str,
) -> list[Job[Any]]:
    """The same for code without an event loop. The calls are taken in its own thread.

    Args:
        name: of the blocking verb, for messages.
        twin: what to await instead.
    """
    refuse_in_loop(name, twin)
    many = _Many(core, calls)
    while many.take():
        if many.within is None:
            core.call(many.send, name, twin)
        else:
            at_once(many.send(), name, twin)
    return many.jobs


class _Many:
    """Calls on their way, so many at a time, so that a million need no more memory than their jobs.

    Those of one time are checked before the first of them is pushed. An error has the attribute
    ``jobs``, with what was accepted, and ``None`` for those beside it that were not.
    """

    def __init__(self, core: Core, calls: Iterable[BoundTask[Any]]) -> None:
        self.jobs: list[Job[Any]] = []
        self._core = core
        self._calls = iter(calls)
        self._chunk: list[BoundTask[Any]] = []
        self._ids: set[str] = set()

    def take(self) -> bool:
        """Whether there are more to send."""
        with self._telling():
            self._chunk = list(islice(self._calls, _CHUNK))
        return bool(self._chunk)

    @property
    def within(self) -> Any:
        """The connection on which those that were taken are pushed, if any."""
        withins = [call.task.mould.within for call in self._chunk]
        first = next((one for one in withins if one is not None), None)
        for call, one in zip(self._chunk, withins, strict=True):
            if one is not first:
                raise InvalidCall(
                    f"{call!r} is not to be pushed on the same connection as the calls beside it; "
                    "give all of them the same within=, or push them apart",
                    task=call.task.name,
                )
        return first

    async def send(self) -> None:
        """Push those that were taken."""
        with self._telling():
            try:
                pairs = [(call, self._encoded(call)) for call in self._chunk]
            except PayloadError as error:
                error.add_note(f"this is item {self._misfit()} of those to enqueue")
                raise
            if not pairs:
                return
            push = _push_through if self._core.middleware else _push_chunk
            if self.within is not None:
                push = _push_chunk_within
            elif self._core.store.several is not None:
                push = partial(_push_apart, push)
            self.jobs.extend(_all_or_why(self.jobs, await push(self._core, pairs)))

    def _encoded(self, call: BoundTask[Any]) -> bytes:
        mould = call.task.mould
        if mould.job_id is not None:
            _check_id(mould.job_id, self._ids)
        return mould.encode(call.args, call.kwargs)

    def _misfit(self) -> int:
        """Which of all calls was the first that cannot be encoded; looked for only then."""
        for at, call in enumerate(self._chunk):
            try:
                call.task.mould.encode(call.args, call.kwargs)
            except PayloadError:
                return len(self.jobs) + at
        raise AssertionError("one of them was refused")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not hasattr(error, "jobs"):
                # Not all exceptions of others take attributes.
                with suppress(AttributeError):
                    error.jobs = list(self.jobs)  # type: ignore[attr-defined]
            raise


def _all_or_why(
    before: Sequence[Job[Any]], answers: Sequence[Job[Any] | BaseException]
) -> list[Job[Any]]:
    """The jobs, when all were accepted; else the first reason is raised."""
    jobs: list[Job[Any]] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            accepted = [None if isinstance(one, BaseException) else one for one in answers]
            with suppress(AttributeError):
                answer.jobs = [*before, *accepted]  # type: ignore[attr-defined]
            raise answer
        jobs.append(answer)
    return jobs


def at_once(coroutine: Any, name: str, twin: str) -> Any:
    """The result of a coroutine that does not wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise UsageError(
        f"a middleware, or an asynchronous connection, waits for something while {name}() "
        f"enqueues, which never blocks; use 'await {twin}(…)', or do not wait in the middleware"
    )


async def _through(core: Core, call: BoundTask[Any], mould: Mould, body: bytes) -> Any:
    """One call through the middleware."""

    async def push(ctx: Enqueuing) -> Job[Any]:
        payload = mould.seal(core.codec, ctx.job_id, body, ctx.headers)
        new = mould.cast(ctx.job_id, payload, call.args, call.kwargs)
        return await _push_one(core, call, mould, new)

    ctx = Enqueuing(core, call, id_of(core, call))
    return await compose(core.middleware, push)(ctx)


async def _push_one(core: Core, call: BoundTask[R], mould: Mould, new: NewJob) -> Job[R]:
    if mould.within is not None:
        return _only(await _push_within(core, (call,), (new,)))
    outbox = core.store.outbox or await core.outbox()
    if not mould.spooled and core.store.spool is not None:
        outbox = await core.direct_outbox()
    if mould.needs is not None:
        mould.check(core.store)
    eager = core.store.eager
    if eager is not None:
        new = eager.adapted(new)
    answer = (await outbox.push((new,)))[0]
    if answer.status is _CREATED and not core.bus.heard:
        job = Job(core, new.id, call.task)
    elif answer.status is PushStatus.FULL:
        job = answered(core, call.task, new, await _when_there_is_room(core, mould, new))
    else:
        job = answered(core, call.task, new, answer)
    if eager is not None:
        await eager.drain((job.id,))
    return job


async def _push_through(
    core: Core, chunk: Sequence[_Encoded]
) -> Sequence[Job[Any] | BaseException]:
    """What has become of each call, all of which pass through the middleware at once."""
    sent = (_through(core, call, call.task.mould, body) for call, body in chunk)
    # To the end, also when one is refused: the others are on their way.
    ended: list[Job[Any] | BaseException] = await asyncio.gather(*sent, return_exceptions=True)
    return ended


async def _push_apart(
    push: _Push, core: Core, chunk: Sequence[_Encoded]
) -> Sequence[Job[Any] | BaseException]:
    """What has become of each call, where there are several stores: none fails for another."""
    several = core.store.several
    assert several is not None, "asked for it"

    def place(one: _Encoded) -> str:
        return several.route(one[0].task.mould.queue)

    async def ask(_: str, some: list[_Encoded]) -> Sequence[Job[Any] | BaseException]:
        try:
            return await push(core, some)
        except Exception as error:  # noqa: BLE001  it is the answer to each of them
            return [error] * len(some)

    return await split(chunk, place, ask)


async def _push_chunk_within(
    core: Core, chunk: Sequence[_Encoded]
) -> Sequence[Job[Any] | BaseException]:
    """What has become of each call, in a transaction of the caller."""
    if core.middleware:
        # One after the other: they share a connection.
        return [await _through(core, call, call.task.mould, body) for call, body in chunk]
    calls = [call for call, _ in chunk]
    news: list[NewJob] = []
    for call, body in chunk:
        mould, job_id = call.task.mould, id_of(core, call)
        news.append(
            mould.cast(job_id, mould.seal(core.codec, job_id, body), call.args, call.kwargs)
        )
    return await _push_within(core, calls, news)


async def _push_within(
    core: Core, calls: Sequence[BoundTask[Any]], news: Sequence[NewJob]
) -> Sequence[Job[Any] | BaseException]:
    """What has become of each call. Nobody is told: the caller may roll back."""
    for call in calls:
        mould = call.task.mould
        check_needs(mould.needs, core.store, call.task.name, mould.queue)
    if core.store.several is None:
        backend = transactions_of(core, calls[0].task.name)
    else:
        # It says itself which of them has which jobs, and what they share.
        backend = cast("Transactions", core.store.backend())
    answers = await backend.push_within(calls[0].task.mould.within, news)
    jobs: list[Job[Any] | BaseException] = []
    for call, new, answer in zip(calls, news, answers, strict=True):
        try:
            jobs.append(handle(core, call.task, new, answer))
        except EnqueueError as error:
            jobs.append(error)
    return jobs


def _only(answers: Sequence[Job[R] | BaseException]) -> Job[R]:
    answer = answers[0]
    if isinstance(answer, BaseException):
        raise answer
    return answer


async def _push_chunk(core: Core, chunk: Sequence[_Encoded]) -> Sequence[Job[Any] | BaseException]:
    """What has become of each call, pushed together."""
    outbox = core.store.outbox or await core.outbox()
    if core.store.spool is not None and not all(call.task.mould.spooled for call, _ in chunk):
        outbox = await core.direct_outbox()
    codec, new_id, any_id = core.codec, core.ids.new, core.store.any_id
    news: list[NewJob] = []
    for call, body in chunk:
        mould = call.task.mould
        if mould.needs is not None:
            mould.check(core.store)
        job_id = mould.job_id or (new_id() if any_id else _placed(core, call))
        news.append(mould.cast(job_id, mould.seal(codec, job_id, body), call.args, call.kwargs))
    eager = core.store.eager
    if eager is not None:
        news = list(map(eager.adapted, news))
    answers = await outbox.push(news)
    jobs: list[Job[Any] | BaseException] = []
    silent = not core.bus.wanted("job.enqueued")
    for (call, _), new, answer in zip(chunk, news, answers, strict=True):
        if silent and answer.status is _CREATED:
            jobs.append(Job(core, new.id, call.task))
            continue
        try:
            full = answer.status is PushStatus.FULL
            final = await _when_there_is_room(core, call.task.mould, new) if full else answer
            jobs.append(answered(core, call.task, new, final))
        except EnqueueError as error:
            jobs.append(error)
    if eager is not None and not any(isinstance(one, EnqueueError) for one in jobs):
        await eager.drain(tuple(job.id for job in jobs if isinstance(job, Job)))
    return jobs


async def _when_there_is_room(core: Core, mould: Mould, new: NewJob) -> Pushed:
    """The answer to a job whose queue is full, after waiting for room where that is wanted."""
    if not mould.waits_for_room:
        raise full(new)
    assert new.bound is not None
    outbox = await core.direct_outbox()
    while True:
        try:
            # Not for ever: who was told of room and is gone by then has told nobody else.
            await core.store.backend().wait_for_room(new.queue, new.bound, _LOOK_EVERY)
        except (BackendUnavailable, ConnectionError):
            # The push that follows repeats itself, or says what is wrong.
            await core.clock.sleep(core.ids.chance.uniform(0.0, 1.0))
        answer = (await outbox.push((new,)))[0]
        if answer.status is not PushStatus.FULL:
            return answer


def answered(core: Core, task: Task[..., R] | None, new: NewJob, answer: Pushed) -> Job[R]:
    """The handle for what the store said; those who listen are told."""
    job = handle(core, task, new, answer)
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
