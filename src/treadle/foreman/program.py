"""What a place runs for a durable job: decode, inject, call through the middleware, encode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from treadle.context import CURRENT, Attempting, Context
from treadle.depends import in_thread
from treadle.errors import NotEncodable, PayloadError
from treadle.failpoints import armed, failpoint
from treadle.guards import is_awaitable
from treadle.middleware import compose
from treadle.policies.match import AttemptInfo
from treadle.pools.sites.site import Call, Channel, Ended, Invoke

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.depends import Scopes
    from treadle.task import Task

__all__ = ["JobProgram"]


class JobProgram:
    """Runs jobs of the tasks of an app.

    Args:
        core: knows the tasks, the codec and the middleware.
        scopes: the dependencies that live longer than a job.
    """

    def __init__(self, core: Core, scopes: Scopes) -> None:
        self._core = core
        self._scopes = scopes

    async def __call__(self, call: Call, channel: Channel, invoke: Invoke) -> Ended:
        """Run one job to its end. Never raises, except when it is torn down."""
        core = self._core
        task = core.tasks[call.name]
        bound = b"" if core.codec.plain else _bound(core, call)
        try:
            envelope = core.codec.open(call.payload, associated=bound)
            args, kwargs = task.shape.decode(envelope.body)
        except PayloadError as error:
            return Ended(error=error, undecodable=True)
        deadline = call.deadline
        if call.timeout is not None:  # its time begins now
            deadline = core.clock.monotonic() + call.timeout
        attempting = Attempting(
            core, task, call.lease, envelope.headers, channel, deadline, call.term
        )
        CURRENT.set(attempting)  # the task of this attempt has a context of its own
        try:
            if armed():
                failpoint("claim.decoded")
                failpoint("run.before_handler")
            if task.injected or core.middleware:
                value = await self._surrounded(task, attempting.context, args, kwargs, invoke)
            elif task.direct:
                value = await _code(task)(*args, **kwargs)
            else:
                value = await invoke(_code(task), args, kwargs)
            failpoint("run.after_handler")
        # Whatever a task raises, SystemExit and KeyboardInterrupt included, is the end of
        # its attempt and not of the foreman.
        except BaseException as error:  # noqa: BLE001
            if attempting.end():
                return _committed(attempting, error=error)
            return _raised(error, channel)
        if attempting.end():
            return _committed(attempting, value)
        return _returned(task, core, value, attempting, bound)

    async def _surrounded(
        self,
        task: Task[..., Any],
        context: Context,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        invoke: Invoke,
    ) -> Any:
        """The call with its dependencies inside, and the middleware around both."""

        async def endpoint(ctx: Context) -> Any:
            async with AsyncExitStack() as stack:
                # A dependency is not given the worker of the task.
                beside = invoke if task.worker is None else in_thread
                given = await self._scopes.inject(task, ctx, stack, beside)
                given.update(kwargs)
                if task.direct:
                    return await _code(task)(*args, **given)
                return await invoke(_code(task), args, given)

        return await compose(self._core.middleware, endpoint)(context)


def _code(task: Task[..., Any]) -> Callable[..., Any]:
    """What is called for a task: its function, where it runs inside a failpoint."""
    fn: Callable[..., Any] = task.fn
    if not armed():
        return fn

    def inside(*args: Any, **kwargs: Any) -> Any:
        failpoint("run.inside")
        return fn(*args, **kwargs)

    return inside


def _bound(core: Core, call: Call) -> bytes:
    """What the payloads of a durable job are bound to."""
    return b"" if call.lease is None else core.codec.binding(call.name, call.lease.spec.id)


def _committed(
    attempting: Attempting, value: object = None, error: BaseException | None = None
) -> Ended:
    """The end of an attempt whose transaction was its end; what came after it is only said."""
    ctx = attempting.context
    if error is not None:
        ctx.log.error("transaction.error_after_commit", error=repr(error))
    if value is not None and not ctx.has_result:
        ctx.log.warning(
            "transaction.result_dropped",
            hint="the job has ended with its transaction: say ctx.returns(value) in the block",
        )
    return Ended(committed=True, follow_ups=attempting.follow_ups)


def _raised(error: BaseException, channel: Channel) -> Ended:
    if isinstance(error, asyncio.CancelledError):
        if channel.ending is not None:
            return Ended(error=channel.ending)
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise error  # the loop is being torn down
    return Ended(error=error)


def _returned(
    task: Task[..., Any], core: Core, value: Any, attempting: Attempting, bound: bytes
) -> Ended:
    """The success of an attempt. ``None`` is not stored: no result reads as ``None``."""
    retry = task.retry
    try:
        if retry.until:
            rejected = retry.rejects(value, _info(core, attempting.context))
            if rejected is not None:
                return Ended(error=rejected)
        follow_ups = attempting.follow_ups
        if value is None:
            return Ended(follow_ups=follow_ups)
        sealed = core.codec.seal(task.shape.encode_result(value), associated=bound)
    except PayloadError as error:
        return Ended(error=_unawaited(task, value) or error, unsendable=True)
    failpoint("result.serialised")
    return Ended(result=sealed, follow_ups=follow_ups)


def _unawaited(task: Task[..., Any], value: Any) -> PayloadError | None:
    """What is wrong with a result that should have been awaited; ``None`` for any other."""
    kind = type(value).__name__
    if not is_awaitable(value):
        return None
    if isinstance(value, CoroutineType):
        value.close()  # nobody will run it, as the message says
    return NotEncodable(
        f"task {task.name!r}: result: it returned a {kind}, which nobody awaits. Where a plain "
        "decorator surrounds 'async def', make its wrapper 'async def' and await the call in it; "
        "else await it in the task, or give it to asyncio.run(…)",
        path="result",
    )


def _info(core: Core, context: Context) -> AttemptInfo:
    return AttemptInfo(
        attempt=context.attempt,
        elapsed=core.clock.now() - context.enqueued_at.timestamp(),
        task=context.task_name,
        given=context.given,
    )
