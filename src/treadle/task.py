"""Tasks: functions with options, and the verbs that make jobs of their calls."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from inspect import Parameter, Signature, iscoroutinefunction, signature
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeGuard,
    TypeVar,
    overload,
)

import msgspec

from treadle.calling import bound_here, check_arguments
from treadle.codec import Shape
from treadle.enqueueing import (
    BoundTask,
    is_bound_task,
    send,
    send_blocking,
    send_many,
    send_many_blocking,
)
from treadle.errors import InvalidCall, InvalidOption, NotOpen, UsageError
from treadle.followups import follow_up
from treadle.guards import is_mapping, is_tuple
from treadle.hints import missing
from treadle.injected import Injected, injected_of
from treadle.mould import Mould
from treadle.naming import task_name
from treadle.options import DeclareOptions, Facts, Options, TaskOptions, read_options

if TYPE_CHECKING:
    from typing import Unpack

    from treadle.core import Core
    from treadle.job import Job
    from treadle.pools.bound import MapOptions
    from treadle.pools.future import Future
    from treadle.pools.mapping import Results
    from treadle.pools.worker import WorkerBuilder
    from treadle.records import NewJob

__all__ = [
    "AsyncTask",
    "AsyncWorkerTask",
    "BoundTask",
    "Decorator",
    "PlainTask",
    "PlainWorkerTask",
    "Task",
    "WorkerDecorator",
    "declare",
    "is_task",
    "task",
    "transplanted",
]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
W = TypeVar("W")
R_co = TypeVar("R_co", covariant=True)
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Registration:
    """What all copies of a task share: the function, its name, its app."""

    def __init__(self, fn: Callable[..., Any], name: str, *, visits: bool = False) -> None:
        self.fn = fn
        self.name = name
        self.is_async = iscoroutinefunction(fn)
        self.injected: tuple[tuple[str, Injected], ...] = injected_of(fn)
        # What no caller gives: with ``visits``, also the worker.
        own = {_worker_parameter(fn, name)} if visits else set[str]()
        self.hidden = frozenset(name for name, _ in self.injected) | own
        self.shape: Shape
        # The task as it was declared, of which the others are copies.
        self.declared: Task[..., Any]
        self.core: Core | None = None

    @functools.cached_property
    def signature(self) -> Signature:
        return signature(self.fn)

    @functools.cached_property
    def facts(self) -> Facts:
        visible = [name for name in self.signature.parameters if name not in self.hidden]
        return Facts(self.name, self.is_async, tuple(visible))


_SYNONYMS = {
    "delay": "enqueue", "apply_async": "enqueue", "send": "enqueue", "defer": "enqueue",
    "kiq": "aenqueue", "send_async": "aenqueue", "defer_async": "aenqueue", "kicker": "options",
    "send_with_options": "options", "configure": "options", "s": "bind", "si": "bind",
    "every": "", "periodic": "", "schedule": "enqueue", "queue": "options", "priority": "options",
    "tags": "options", "meta": "options", "limits": "options", "unique": "options",
}  # fmt: skip
"""Words for the same in other libraries."""


class Task(Generic[P, R_co]):
    """A registered function with its options. Made by ``@app.task`` or ``@treadle.task``.

    Calling it calls the function. ``enqueue`` makes a durable job of the call.
    """

    def __init__(self, registration: Registration, options: TaskOptions) -> None:
        self._registration = registration
        self._options: Options[Self] = Options(
            **msgspec.structs.asdict(options),
            copy=self._with,  # type: ignore[arg-type]  # mypy does not see that it is Self
        )
        self._mould: Mould | None = None
        # What is asked for with every job is a plain attribute.
        self.fn: Callable[..., Any] = registration.fn
        self.name = registration.name
        self.shape: Shape = registration.shape
        self.is_async = registration.is_async
        self.mode = options.mode
        self.worker = options.worker
        # Awaited on the loop of the foreman, with nothing in between.
        self.direct = registration.is_async and options.worker is None
        self.retry = options.retry
        self.breaker = options.breaker
        self.timeout = options.timeout
        self.injected = registration.injected
        wrapper: Any = self
        functools.update_wrapper(wrapper, registration.fn)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    if not TYPE_CHECKING:  # for a type checker every name would exist

        def __getattr__(self, name: str) -> Any:
            # Perhaps before anything is set.
            raise missing(f"task {self.__dict__.get('name')!r}", self, name, _SYNONYMS)

    @property
    def core(self) -> Core | None:
        """The app that it belongs to."""
        return self._registration.core

    @property
    def options(self) -> Options[Self]:
        """Its options; called, a copy with others: ``task.options(priority=10).enqueue(…)``."""
        return self._options

    @property
    def mould(self) -> Mould:
        """Makes the records of its jobs."""
        if self._mould is None:
            self._mould = Mould(
                self.name, self.fn, self.shape, self._options, self._registration.hidden
            )
        return self._mould

    def _with(self, options: Mapping[str, Any]) -> Self:
        fields = read_options(self._registration.facts, options, self._options, call=True)
        return type(self)(self._registration, _replaced(self._options, fields))

    @property
    def signature(self) -> Signature:
        """Of its function."""
        return self._registration.signature

    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Future[R_co]:
        """Call it now, in a pool of this process; no job is made. Never blocks in an event loop.

        The call runs in the mode of the task, with its retry, timeout and limits. Those count in
        this process, and share keys with other tasks of the app, or are the set that the task was
        given. The pool starts with the first call, and ends with the app or the process.

        Raises:
            InvalidCall: the arguments do not fit, or the task needs what only a job has.
            NotOpen: the app was closed.
        """
        bound = bound_here(self)
        check_arguments(self, args, kwargs)
        return bound.submit(*args, **kwargs)

    def map(self, *iterables: Iterable[Any], **options: Unpack[MapOptions]) -> Results[R_co]:
        """Call it now for the items of one iterable, or of several side by side.

        As :meth:`submit` for each; see :meth:`Bound.map <treadle.pools.bound.Bound.map>`.
        """
        return bound_here(self).map(*iterables, **options)

    def starmap(
        self, items: Iterable[Iterable[Any]], **options: Unpack[MapOptions]
    ) -> Results[R_co]:
        """As :meth:`map`, for items that are the arguments of each call: ``[(1, 2), (3, 4)]``."""
        return bound_here(self).starmap(items, **options)

    def bind(self, /, *args: P.args, **kwargs: P.kwargs) -> BoundTask[R_co]:
        """A call to be enqueued with others: ``app.enqueue_many([fetch.bind(url), …])``."""
        return BoundTask(self, args, kwargs)

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """A durable job of this call. Returns when the store has accepted it.

        Raises:
            InvalidCall, NotEncodable, PayloadTooLarge: the arguments cannot be a job's.
            QueueFull, DuplicateJob: the options of the task refuse it.
            OutcomeUnknown: the store did not answer.
            Blocking: an event loop runs here; await ``aenqueue``.
        """
        call = BoundTask(self, args, kwargs)
        return send_blocking(self._home(), call, *self._verb("enqueue"))

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """A durable job of this call. Returns when the store has accepted it.

        Calls that are awaited at the same time are pushed together.

        Raises:
            InvalidCall, NotEncodable, PayloadTooLarge: the arguments cannot be a job's.
            QueueFull, DuplicateJob: the options of the task refuse it.
            OutcomeUnknown: the store did not answer.
        """
        return await send(self._home(), BoundTask(self, args, kwargs))

    def enqueue_many(self, calls: Iterable[Any]) -> list[Job[R_co]]:
        """Jobs of many calls, pushed together.

        Taken, checked and pushed a thousand at a time: a generator of a million calls is never
        held as a whole. What is not accepted raises, and ends it: those of the same thousand
        that do not fit keep the others of it from being pushed.

        Args:
            calls: a tuple of positional arguments, a dict of named ones, or ``task.bind(…)``,
                for each call. The iterable may be a lazy one.

        Raises:
            InvalidCall, NotEncodable, PayloadTooLarge: the arguments of one cannot be a job's.
            EnqueueError: as for ``enqueue``. Each error has an attribute ``jobs``: those that were
                accepted, in order, and ``None`` for others that were pushed beside them.
        """
        return send_many_blocking(self._home(), self._calls(calls), *self._verb("enqueue_many"))

    async def aenqueue_many(self, calls: Iterable[Any]) -> list[Job[R_co]]:
        """Jobs of many calls, pushed together. See :meth:`enqueue_many`."""
        return await send_many(self._home(), self._calls(calls))

    def follow_up(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parent: NewJob,
        others: Sequence[NewJob],
    ) -> tuple[Job[R_co], NewJob]:
        """A job that the end of the present attempt will push; see ``Context.enqueue``."""
        return follow_up(self._home(), BoundTask(self, args, kwargs), parent, others)

    def _calls(self, items: Iterable[Any]) -> Iterator[BoundTask[Any]]:
        for index, item in enumerate(items):
            if is_bound_task(item):
                if item.task._registration is not self._registration:
                    raise InvalidCall(
                        f"item {index} is a call of {item.task.name!r}, not of {self.name!r}; "
                        "app.enqueue_many(…) takes calls of several tasks",
                        task=self.name,
                    )
                yield item
            elif is_tuple(item):
                yield BoundTask(self, item, {})
            elif is_mapping(item):
                yield BoundTask(self, (), dict(item))
            else:
                raise InvalidCall(
                    f"item {index} for task {self.name!r} is {item!r}; give the arguments of each "
                    "call as a tuple such as (1,), a dict, or task.bind(…)",
                    task=self.name,
                )

    def _verb(self, name: str) -> tuple[str, str]:
        """A blocking verb and its twin, as messages name them."""
        short = self.name.rpartition(".")[2]
        return f"{short}.{name}", f"{short}.a{name}"

    def _home(self) -> Core:
        core = self._registration.core
        if core is None:
            raise NotOpen(
                f"task {self.name!r} belongs to no app, so there is no place to enqueue it; "
                "take it in with app.include(…)"
            )
        return core

    def join(self, core: Core) -> None:
        """Become a task of an app. Harmless when it is one already.

        Raises:
            UsageError: it belongs to another app.
        """
        registration = self._registration
        if registration.core is core:
            return
        if registration.core is not None:
            raise UsageError(
                f"task {self.name!r} belongs to another app already, and a task has one; for "
                "tests, point that app elsewhere: app.override(url=…)"
            )
        core.adopt(registration.declared)
        registration.core = core

    def leave(self, core: Core) -> None:
        """Be a task of an app no longer."""
        core.drop(self._registration.declared)
        self._registration.core = None


class PlainTask(Task[P, R_co]):
    """A task of a plain function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function, here and now."""
        result: R_co = self.fn(*args, **kwargs)
        return result


class AsyncTask(Task[P, R_co]):
    """A task of an ``async def`` function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Call the function: a coroutine to be awaited here and now."""
        coroutine: Coroutine[Any, Any, R_co] = self.fn(*args, **kwargs)
        return coroutine


class PlainWorkerTask(Task[P, R_co], Generic[W, P, R_co]):
    """A task of a plain function that is given a worker."""

    def __call__(self, worker: W, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function with a worker, here and now."""
        result: R_co = self.fn(worker, *args, **kwargs)
        return result


class AsyncWorkerTask(Task[P, R_co], Generic[W, P, R_co]):
    """A task of an ``async def`` function that is given a worker."""

    def __call__(
        self, worker: W, /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R_co]:
        """Call the function with a worker: a coroutine to be awaited here and now."""
        coroutine: Coroutine[Any, Any, R_co] = self.fn(worker, *args, **kwargs)
        return coroutine


class WorkerDecorator(Protocol[W]):
    """What ``@task(worker=…)`` gives: jobs have all parameters but the first."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a coroutine is a result, too
        self, fn: Callable[Concatenate[W, P], Coroutine[Any, Any, R]], /
    ) -> AsyncWorkerTask[W, P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[W, P], R], /) -> PlainWorkerTask[W, P, R]: ...


class Decorator(Protocol):
    """What ``@task(…)`` with options gives."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a coroutine is a result, too
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> PlainTask[P, R]: ...


def is_task(value: object) -> TypeGuard[Task[..., Any]]:
    """Whether it came from ``@app.task`` or ``@treadle.task``."""
    return isinstance(value, Task)


def declare(fn: Callable[..., Any], options: Mapping[str, Any], core: Core | None) -> Any:
    """The task of a function.

    Raises:
        InvalidOption: the function cannot be a task, or an option has a value that cannot work.
        UnknownOption: an option that does not exist.
    """
    if is_task(fn):
        raise UsageError(f"{fn.name!r} is a task already; task.options(…) gives a copy of it")
    given = dict(options)
    visits = given.get("worker") is not None
    registration = Registration(fn, task_name(fn, given.get("name"), visits=visits), visits=visits)
    base = TaskOptions(mode="asyncio" if registration.is_async else "thread")
    fields = read_options(registration.facts, given, base, call=False)
    if visits:
        _check_injected(registration, fields["worker"])
    registration.shape = Shape.of(
        fn, skip=registration.hidden, name=registration.name, pickle=fields.get("pickle", False)
    )
    declared = msgspec.structs.replace(base, **fields)
    kind: Any = AsyncTask if registration.is_async else PlainTask
    if visits:
        kind = AsyncWorkerTask if registration.is_async else PlainWorkerTask
    made: Task[..., Any] = kind(registration, declared)
    registration.declared = made
    if core is not None:
        made.join(core)
    return made


def _check_injected(registration: Registration, worker: WorkerBuilder[Any]) -> None:
    mode = worker.pool_options.mode
    if registration.injected and mode in ("process", "ray"):
        name = registration.injected[0][0]
        raise InvalidOption(
            f"task {registration.name!r}: parameter {name!r} is injected where the foreman is, and "
            f"its worker lives elsewhere (mode={mode!r}); let the worker hold what it needs",
            option="worker",
            value=worker,
        )


def transplanted(
    task: Task[..., Any], core: Core, options: Mapping[str, Any], worker: WorkerBuilder[Any]
) -> Task[..., Any]:
    """A task with a worker as one of another app, with workers and some options of that one."""
    registration = copy.copy(task._registration)
    registration.core = None
    fields = read_options(registration.facts, options, task.options, call=True)
    declared = _replaced(task.options, {**fields, "worker": worker})
    registration.declared = made = type(task)(registration, declared)
    made.join(core)
    return made


def _worker_parameter(fn: Callable[..., Any], name: str) -> str:
    """The parameter that is given the worker: the first one."""
    first = next(iter(signature(fn).parameters.values()), None)
    if first is None or first.kind not in _BY_POSITION or first.default is not first.empty:
        raise InvalidOption(
            f"task {name!r} is given a worker as its first argument, so it needs a first parameter "
            "without a default: def scrape(browser: Browser, …)",
            option="worker",
            value=fn,
        )
    return first.name


def _replaced(options: Options[Any], fields: Mapping[str, Any]) -> TaskOptions:
    values = {name: getattr(options, name) for name in TaskOptions.__struct_fields__}
    return TaskOptions(**{**values, **fields})


@overload
def task(  # type: ignore[overload-overlap]  # a coroutine is a result, too
    fn: Callable[P, Coroutine[Any, Any, R]], /
) -> AsyncTask[P, R]: ...
@overload
def task(fn: Callable[P, R], /) -> PlainTask[P, R]: ...
@overload
def task(
    *, worker: type[W] | WorkerBuilder[W], **options: Unpack[DeclareOptions]
) -> WorkerDecorator[W]: ...
@overload
def task(**options: Unpack[DeclareOptions]) -> Decorator: ...
def task(fn: Any = None, /, **options: Any) -> Any:
    """A task without an app, to be taken in by one later: ``app.include(module)``.

    Args:
        fn: the function, when there are no options.
        options: see :class:`~treadle.options.DeclareOptions`.
    """
    if fn is not None:
        return declare(fn, options, None)
    return functools.partial(declare, options=options, core=None)
