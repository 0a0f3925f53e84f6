"""Jobs that follow another one: pushed with the end of an attempt, or the same call once more."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from treadle.context import CURRENT
from treadle.enqueueing import BoundTask, answered, at_once, id_of
from treadle.errors import UsageError
from treadle.ids import derived_id
from treadle.job import Job
from treadle.middleware import Enqueuing, compose
from treadle.mould import check_needs
from treadle.records import In, JobRecord, Keep, NewJob

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.task import Task

__all__ = ["again", "follow_up", "rehearse"]

R = TypeVar("R")


def follow_up(
    core: Core, call: BoundTask[R], parent: NewJob, others: Sequence[NewJob]
) -> tuple[Job[R], NewJob]:
    """A job that somebody else will push, with the end of the attempt that runs now.

    Args:
        core, call: as ever.
        parent: the job that runs.
        others: what is to follow it so far.
    """
    mould = call.task.mould
    if mould.within is not None:
        raise UsageError(
            f"task {call.task.name!r}: a follow-up is pushed with the end of the attempt, not "
            "within=; for a job that is there with the transaction, enqueue it without ctx"
        )
    body = mould.encode(call.args, call.kwargs)
    made: list[NewJob] = []

    async def keep(ctx: Enqueuing) -> Job[Any]:
        payload = mould.seal(core.codec, ctx.job_id, body, ctx.headers)
        made.append(mould.cast(ctx.job_id, payload, call.args, call.kwargs))
        return Job(core, ctx.job_id, call.task)

    ctx = Enqueuing(core, call, _id_of_follow_up(core, call, body, parent, others))
    job = at_once(compose(core.middleware, keep)(ctx), "ctx.enqueue", "task.aenqueue")
    if not made:
        raise UsageError(
            f"a middleware did not pass on the follow-up job of task {call.task.name!r}"
        )
    return job, made[0]


def _id_of_follow_up(
    core: Core, call: BoundTask[Any], body: bytes, parent: NewJob, others: Sequence[NewJob]
) -> str:
    """The id of a follow-up: in another store than its parent the same in every attempt."""
    several, mould = core.store.several, call.task.mould
    if several is None or several.route(mould.queue) == several.route(parent.queue):
        return id_of(core, call)
    check_needs(mould.needs, core.store, call.task.name, mould.queue)
    known = {one.id for one in others}
    said = f"{parent.id} {call.task.name} {mould.queue} ".encode() + body
    for number in count():
        tried = mould.job_id or derived_id(parent.id, said + str(number).encode())
        job_id = core.store.placed(mould.cast(tried, b"", call.args, call.kwargs))
        if mould.job_id is not None or job_id not in known:
            return mould.job_id or job_id
    raise AssertionError("numbers do not end")


async def again(core: Core, record: JobRecord, task: Task[..., R] | None) -> Job[R]:
    """A new job of the call of another one."""
    old, codec = record.spec, core.codec
    outbox = await core.direct_outbox()
    opened = codec.open(old.payload, associated=codec.binding(old.task, old.id))
    attempting = CURRENT.get()
    origin = {} if attempting is None else attempting.descent(at_once=True)
    new = msgspec.structs.replace(
        old,
        id=core.ids.new(),
        payload=b"",
        priority=record.priority,
        due=None,
        # An instant has passed, or has no meaning for another job.
        expires=old.expires if isinstance(old.expires, In) else None,
        after=None,
        flow=None,
        **{"parent": None, "depth": 0, **origin},
    )
    job_id = core.store.placed(new)
    payload = codec.seal(opened.body, opened.headers, associated=codec.binding(old.task, job_id))
    new = msgspec.structs.replace(new, id=job_id, payload=payload)
    eager = core.store.eager
    if eager is not None:
        new = eager.adapted(new)
    job = answered(core, task, new, (await outbox.push((new,)))[0])
    if eager is not None:
        await eager.drain((job.id,))
    return job


async def rehearse(core: Core, record: JobRecord, task: Task[..., R]) -> R:
    """The result of the call of another job, in a store where jobs run at once."""
    # Whatever is kept of the job itself.
    spec = msgspec.structs.replace(record.spec, keep=Keep())
    job = await again(core, msgspec.structs.replace(record, spec=spec), task)
    return await job.aresult()
