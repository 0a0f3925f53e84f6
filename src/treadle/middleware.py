"""What surrounds an enqueue and an attempt: one shape, ``async def mw(ctx, call_next)``.

A middleware sees both ends of a job: ``ctx.phase`` is ``"enqueue"`` in the process that
enqueues, where ``ctx.headers`` can be set, and ``"run"`` where the task runs, where they can
be read. It gives back what ``await call_next(ctx)`` gave, or something else, or raises.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from treadle.errors import InvalidOption
from treadle.guards import is_awaited

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.enqueueing import BoundTask
    from treadle.task import Task

__all__ = ["CallNext", "Enqueuing", "Middleware", "checked", "compose"]

CallNext = Callable[[Any], Awaitable[Any]]
Middleware = Callable[[Any, CallNext], Awaitable[Any]]


class Enqueuing:
    """What a middleware sees while a job is enqueued.

    Args:
        core: the app.
        call: the task and its arguments.
        job_id: the id that the job will have.
    """

    __slots__ = ("_call", "_core", "_state", "headers", "job_id")

    phase = "enqueue"

    def __init__(self, core: Core, call: BoundTask[Any], job_id: str) -> None:
        self._core = core
        self._call = call
        self._state: dict[str, Any] | None = None
        self.job_id = job_id
        # Travels with the job, at most 4 KiB; what runs it reads it as ``ctx.headers``.
        self.headers: dict[str, str] = {}

    @property
    def task(self) -> Task[Any, Any]:
        """The task."""
        return self._call.task

    @property
    def task_name(self) -> str:
        """The registered name of the task."""
        return self._call.task.name

    @property
    def queue(self) -> str:
        """The queue that the job goes to."""
        return self._call.task.options.queue

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments of the call."""
        return self._call.args

    @property
    def kwargs(self) -> dict[str, Any]:
        """The named arguments of the call."""
        return self._call.kwargs

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that the job will have."""
        return self._call.task.options.tags

    @property
    def state(self) -> dict[str, Any]:
        """Free for the middlewares of this enqueue."""
        if self._state is None:
            self._state = {}
        return self._state


def compose(middlewares: Iterable[Middleware], endpoint: CallNext) -> CallNext:
    """``endpoint`` wrapped in middlewares, the first of them outermost.

    Without middlewares it is ``endpoint`` itself, so that nobody pays for nothing.
    """
    call = endpoint
    for middleware in reversed(tuple(middlewares)):
        call = partial(_step, middleware, call)
    return call


def _step(middleware: Middleware, call_next: CallNext, ctx: Any) -> Awaitable[Any]:
    return middleware(ctx, call_next)


def checked(middleware: Middleware) -> Middleware:
    """The middleware, when it has the shape.

    Raises:
        InvalidOption: it is not ``async def``.
    """
    if is_awaited(middleware):
        return middleware
    raise InvalidOption(
        f"middleware {middleware!r} is not asynchronous; write it as "
        "'async def mw(ctx, call_next): return await call_next(ctx)'",
        option="middleware",
        value=middleware,
    )
